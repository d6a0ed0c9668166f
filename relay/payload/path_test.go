package payload

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/go-json-experiment/json/jsontext"
)

func TestLookup(t *testing.T) {
	const body = `{"a":{"b.c":"dot","\u0064":"esc","":"empty"},"n":-1.50e3,"l":[[],["x"]],"t":true,"z":null,"o":{},"s":"\u00e9\n"}`
	for path, want := range map[string]string{
		`a.b\.c`: "dot", "a.d": "esc", "n": "-1.50e3", "l.1.0": "x", "t": "true", "z": "null", "o": "{}", "s": "é\n",
		"a.b": "", "l.2": "", "l.x": "", "l.1.1": "", "l.-1": "", "n.x": "", "missing": "", "l.00001.0": "x", "l.99999999999": "",
	} {
		names, err := ParsePath(path)
		if err != nil {
			t.Fatal(err)
		}
		got, kind := Lookup([]byte(body), names)
		if got != want || (kind == 0) != (want == "") {
			t.Errorf("%s: %q (%s)", path, got, kind)
		}
	}
}

// A path of another language would be that of a member with a strange name, and lead nowhere in
// silence: what was to be filtered or hidden would not be.
func TestPathsOfOtherLanguagesAreRefused(t *testing.T) {
	for path, want := range map[string]string{
		"$": "JSONPath", "$.a": "JSONPath", "$[0]": "JSONPath", "/a/b": "JSON Pointer", "items[0].sku": "items.0.sku", "a[*]": "brackets",
		`a["b.c"]`: "brackets", "a['b']": "brackets", "a[0][1]": "brackets", "[0]": "brackets", "a[-1]": "brackets",
	} {
		if _, err := ParsePath(path); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v; want %s", path, err, want)
		}
	}
	const body = `{"$":1,"/a":2,"a[0]":3,"$schema":4,"a/b":5,"x[y]":6}`
	for path, want := range map[string]string{
		`\$`: "1", `\/a`: "2", `a\[0]`: "3", "$schema": "4", "a/b": "5", "x[y]": "6",
	} {
		names, err := ParsePath(path)
		if err != nil {
			t.Errorf("%s: %v", path, err)
			continue
		}
		if got, _ := Lookup([]byte(body), names); got != want {
			t.Errorf("%s: %q, want %s", path, got, want)
		}
	}
}

func FuzzLookup(f *testing.F) {
	f.Add("a.b", []byte(`{"a":{"b":"c"}}`))
	f.Add("0.1", []byte(`[["x",1e2]]`))
	f.Add(`a\.b`, []byte(`{"a.b":null}`))
	f.Add("a", []byte(`{"a":"\ud800"}`))
	f.Fuzz(func(t *testing.T, path string, body []byte) {
		names, err := ParsePath(path)
		if err != nil {
			return
		}
		got, kind := Lookup(body, names)
		if !jsontext.Value(body).IsValid(Lenient...) {
			return // it has only not to panic
		}
		want, found := follow(t, body, names)
		if found != (kind != 0) {
			t.Fatalf("%q in %s: %q, %v", path, body, got, found)
		}
		if kind == jsontext.KindString && want != any(got) || kind == jsontext.KindNumber && want != any(json.Number(got)) {
			t.Fatalf("%q in %s: %q, want %v", path, body, got, want)
		}
	})
}

// follow is another way to look up a path.
func follow(t *testing.T, body []byte, names []string) (any, bool) {
	t.Helper()
	d := json.NewDecoder(strings.NewReader(string(body)))
	d.UseNumber()
	var v any
	if err := d.Decode(&v); err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		switch at := v.(type) {
		case map[string]any:
			var ok bool
			if v, ok = at[name]; !ok {
				return nil, false
			}
		case []any:
			index := 0
			for _, c := range []byte(name) {
				if c < '0' || c > '9' {
					return nil, false
				}
				index = min(index*10+int(c-'0'), 1<<31)
			}
			if index >= len(at) {
				return nil, false
			}
			v = at[index]
		default:
			return nil, false
		}
	}
	return v, true
}
