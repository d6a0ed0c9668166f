package expression

import (
	"bytes"
	"encoding/json"
	"testing"
	"unicode/utf8"

	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/caddyrelay/caddyrelay/relay/payload"
)

// decoded is another way from JSON to CEL: all of it, through Go's values.
func decoded(v any) ref.Val {
	switch v := v.(type) {
	case json.Number:
		return number(v.String())
	case []any:
		elements := make([]ref.Val, len(v))
		for i, e := range v {
			elements[i] = decoded(e)
		}
		return types.NewRefValList(types.DefaultTypeAdapter, elements)
	case map[string]any:
		members := make(map[ref.Val]ref.Val, len(v))
		for name, e := range v {
			members[types.String(name)] = decoded(e)
		}
		return types.NewRefValMap(types.DefaultTypeAdapter, members)
	}
	return types.DefaultTypeAdapter.NativeToValue(v)
}

// FuzzValues: what is read as far as it is asked for is what is decoded whole.
func FuzzValues(f *testing.F) {
	for _, text := range []string{sample, `[]`, `{"a":{"b":[1,2.5,null,true,"x",{}]}}`, `-0`, `1e400`, `"\ud83d\ude00"`, `{"\u0061":1}`} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		d := payload.OpenDocument(text)
		defer d.Close()
		got := toCEL(d.Root())
		if !utf8.Valid(text) || !jsontext.Value(text).IsValid(payload.Lenient...) {
			return // it has only not to panic
		}
		decoder := json.NewDecoder(bytes.NewReader(text))
		decoder.UseNumber()
		var value any
		if err := decoder.Decode(&value); err != nil {
			t.Skip(err)
		}
		want := decoded(value)
		if types.Equal(got, want) != types.True || types.Equal(want, got) != types.True || got.Type() != want.Type() {
			t.Fatalf("%s is read as %v; want %v", text, got.Value(), want.Value())
		}
	})
}

func TestContainersConvert(t *testing.T) {
	e := open(t, sample)
	for text, want := range map[string]bool{
		`type(event.data) == map && type(event.data.tags) == list`: true,
		`dyn(event.data.tags) == ["vip", "eu"]`:                    true,
		`event.data.tags.join(",") == "vip,eu"`:                    true,
		`event.data.items.flatten().size() == 2`:                   true,
		`event.data.tags.slice(0, 1) == ["vip"]`:                   true,
		`event.data.tags.sort()[0] == "eu"`:                        true,
		`lists.range(3) == [0, 1, 2]`:                              true,
		`event.data.customer == event.data.customer`:               true,
		`event.data.tags == event.data.none`:                       false,
		`event.data.items[0] in event.data.items`:                  true,
		`event.data.items == event.data.tags`:                      false,
		`event.data.customer == event.data.tags`:                   false,
		`event.data.empty == event.data.none`:                      false,
	} {
		if got, err := compiled(t, text).Match(e); got != want || err != nil {
			t.Errorf("%s: %v, %v", text, got, err)
		}
	}
}
