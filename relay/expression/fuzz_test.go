package expression

import (
	"strings"
	"testing"
)

// FuzzCompile: no text makes compiling or evaluating panic, or take long.
func FuzzCompile(f *testing.F) {
	for _, text := range []string{
		`event.source == "/shop" && event.data.total > 100`, `event.data.items.exists(i, i.sku == "a")`,
		`has(event.data.a.b) ? event.data.a.b : event.data.c`, `event.typ`, `'`, `"\xff"`, `{`, `[`, `a.b.c(`, "\n\t", "b'\xff'",
		`event.data.?x.orValue(1) == 1`, `response.json.sys.revision >= event.data.sys.revision`, `event.data.matches("(")`,
		`cel.bind(x, event.data, x + x)`, strings.Repeat("!", 300) + "true", strings.Repeat("-", 300) + "1", `1+2*3%4`,
		`event.data[event.data[event.data]]`, `relay.Event{id: "x"}`, `optional.of(event).?id`,
	} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		for _, make := range []func(string) (*Expression, error){Compile, CompileUntil} {
			x, err := make(text)
			if err != nil {
				if err.Error() == "" {
					t.Error("an error without a text")
				}
				continue
			}
			e := open(t, sample)
			_, _ = x.Match(e)
			_, _ = x.MatchResponse(e, &Response{Status: 200, Body: []byte(`{"a":[1]}`)})
			_, _ = x.Match(&Event{})
		}
	})
}
