package payload

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"
)

// read makes of a value what encoding/json would.
func read(v Value) any {
	switch v.Kind() {
	case jsontext.KindNull:
		return nil
	case jsontext.KindTrue, jsontext.KindFalse:
		return v.Kind() == jsontext.KindTrue
	case jsontext.KindNumber:
		return json.Number(v.Text())
	case jsontext.KindString:
		return v.Text()
	case jsontext.KindBeginArray:
		list := make([]any, 0, v.Len())
		for e := range v.Elements() {
			list = append(list, read(e))
		}
		return list
	case jsontext.KindBeginObject:
		members := make(map[string]any, v.Len())
		for name := range v.Members() {
			e, ok := v.Member(name)
			if !ok {
				panic("a member is not found by its name: " + name)
			}
			members[name] = read(e)
		}
		return members
	default:
		return fmt.Errorf("of kind %v", v.Kind())
	}
}

func wideObject(members int) string {
	var text strings.Builder
	for i := range members {
		fmt.Fprintf(&text, `, "m%d": %d`, i, i)
	}
	return "{" + strings.TrimPrefix(text.String(), ",") + "}"
}

var documentTexts = []string{
	`{"a":{"b.c":"dot","\u0064":"esc","":"empty"},"n":-1.50e3,"l":[[],["x"]],"t":true,"z":null,"o":{},"s":"\u00e9\n\\"}`,
	" \t\r\n[ 1 , \"\\\"]\" , {\n\"a\" : [ ] } , false ]\n", `"\\\\\""`, `null`, `-0`, `[]`, `{}`, `""`, `"\ud800"`,
	`{"a":"}","b":"]","c":"\"","d":"\\","e":{"f":"{"}}`, wideObject(manyMembers), wideObject(manyMembers - 1),
	`{"\u0061":1,"b":{"\"":2}}`,
}

func TestDocumentReadsWhatIsThere(t *testing.T) {
	d := OpenDocument([]byte(documentTexts[0]))
	defer d.Close()
	for path, want := range map[string]string{
		`a.b\.c`: "dot", "a.d": "esc", "n": "-1.50e3", "l.1.0": "x", "t": "true", "z": "null", "o": "{}", "s": "é\n\\",
		"a.b": "", "l.2": "", "l.x": "", "l.1.1": "", "l.-1": "", "n.x": "", "missing": "", "l.00001.0": "x", "l.99999999999": "",
	} {
		names, err := ParsePath(path)
		if err != nil {
			t.Fatal(err)
		}
		v, ok := d.Lookup(names)
		if ok != (want != "") || ok && (v.Text() != want || string(v.Plain()) != want) {
			t.Errorf("%s: found %v", path, ok)
		}
	}
}

func TestDocumentsAreTakenApartOnce(t *testing.T) {
	d := OpenDocument([]byte(documentTexts[0]))
	defer d.Close()
	path := Path{"l", "1", "0"}
	d.Lookup(path)
	if n := testing.AllocsPerRun(100, func() { d.Lookup(path) }); n != 0 {
		t.Errorf("a lookup allocates %v times", n)
	}
	if before := len(d.nodes); before != len(read(d.Root()).(map[string]any))+1+2+1 {
		t.Errorf("%d values were read", before)
	}
}

func FuzzDocument(f *testing.F) {
	for _, text := range documentTexts {
		f.Add([]byte(text))
	}
	for _, text := range []string{`{"`, `{"a`, `{"a"`, `{"a":`, `[`, `[1`, `"`, `"\`, `{]`, `[}`, `,`, ``, `{"a":,}`, `[:]`, `{"a"}`, "\xff"} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		d := OpenDocument(text)
		defer d.Close()
		if !utf8.Valid(text) || !jsontext.Value(text).IsValid(Lenient...) {
			walk(d.Root()) // it has only not to panic
			return
		}
		decoder := json.NewDecoder(bytes.NewReader(text))
		decoder.UseNumber()
		var want any
		if err := decoder.Decode(&want); err != nil {
			t.Skip(err)
		}
		if got := read(d.Root()); fmt.Sprintf("%#v", got) != fmt.Sprintf("%#v", want) {
			t.Fatalf("%s is read as\n%#v\nwant\n%#v", text, got, want)
		}
	})
}

func walk(v Value) {
	_, _, _ = v.Kind(), v.Text(), v.Plain()
	v.At("a")
	v.At("0")
	for e := range v.Elements() {
		walk(e)
	}
	for _, e := range v.Members() {
		walk(e)
	}
}

// benchmarkText is an event of a kibibyte.
var benchmarkText = func() []byte {
	var text strings.Builder
	text.WriteString(`{"sys":{"type":"Entry","id":"7Gh2","space":{"sys":{"type":"Link","linkType":"Space","id":"s1"}},` +
		`"environment":{"sys":{"id":"master","type":"Link"}},"contentType":{"sys":{"type":"Link","id":"page"}}},"fields":{`)
	for i := 0; text.Len() < 985; i++ {
		fmt.Fprintf(&text, `"f%d":{"en-US":"value %d"},`, i, i)
	}
	text.WriteString(`"z":1},"total":100.5}`)
	return []byte(text.String())
}()

func BenchmarkDocument(b *testing.B) {
	for name, path := range map[string]Path{
		"early": {"sys", "contentType", "sys", "id"}, "late": {"total"}, "none": {"sys", "nothing"},
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			b.SetBytes(int64(len(benchmarkText)))
			for b.Loop() {
				d := OpenDocument(benchmarkText)
				d.Lookup(path)
				d.Close()
			}
		})
	}
	b.Run("again", func(b *testing.B) {
		d := OpenDocument(benchmarkText)
		defer d.Close()
		b.ReportAllocs()
		for b.Loop() {
			d.Lookup(Path{"sys", "contentType", "sys", "id"})
		}
	})
}
