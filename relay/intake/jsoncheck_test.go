package intake

import (
	"bytes"
	"encoding/json"
	"io"
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

func TestWhatIsNoJSON(t *testing.T) {
	nest := func(n int) string { return strings.Repeat("[", n) + strings.Repeat("]", n) }
	for _, c := range []struct {
		body, slug, pointer string
		offset              int // -1: none
	}{
		{``, "malformed-json", "", -1},
		{` `, "malformed-json", "", -1},
		{"\n\n", "malformed-json", "", -1},
		{`{`, "malformed-json", "", 1},
		{`{"a":[1,`, "malformed-json", "/a", 8},
		{`{"a":"b`, "malformed-json", "/a", 7},
		{`{"a":{"b":nul}}`, "malformed-json", "/a/b", 13},
		{`{"a":[1,2,x]}`, "malformed-json", "/a/2", 10},
		{`{'a':1}`, "malformed-json", "", 1},
		{`{"a":1,}`, "malformed-json", "", 7},
		{`[1,]`, "malformed-json", "/1", 3},
		{`01`, "malformed-json", "", 1},
		{`NaN`, "malformed-json", "", 0},
		{"\"a\nb\"", "malformed-json", "", 2},
		{`"\x"`, "malformed-json", "", 1},
		{`{"a":1}{"a":2}`, "malformed-json", "", 7},
		{"{\"a\":1}\n \t{\"a\":2}\n", "malformed-json", "", 10},
		{`1 x`, "malformed-json", "", 2},
		{`[]]`, "malformed-json", "", 2},
		{`null,`, "malformed-json", "", 4},
		{`{"a":1,"b":{"c":1,"c":2}}`, "duplicate-name", "/b/c", 18},
		{`{"a":1,"\u0061":2}`, "duplicate-name", "/a", 7},
		{"{\"a\":\"x\xff\"}", "not-utf-8", "/a", 7},
		{"[1,2,\"\xc0\xaf\"]", "not-utf-8", "/2", 6},
		{"\"\xed\xa0\x80\"", "not-utf-8", "", 1},
		{"\xef\xbb\xbf{}", "not-utf-8", "", -1},
		{"\xff\xfe{\x00}\x00", "not-utf-8", "", -1},
		{"\xfe\xff\x00{\x00}", "not-utf-8", "", -1},
		{"{\x00}\x00", "not-utf-8", "", -1},
		{"\x00{\x00}", "not-utf-8", "", -1},
		{"\x00", "not-utf-8", "", -1},
		{nest(65), "too-deep", strings.Repeat("/0", 64), 64},
		{`{"a":` + nest(64) + `}`, "too-deep", "/a" + strings.Repeat("/0", 63), 68},
	} {
		s := newSetup(t)
		p := s.refused(t, ask{path: "/v1/events/a", body: c.body}, 400, c.slug)
		offset, pointer := -1, ""
		if len(p.Errors) == 1 {
			pointer = p.Errors[0].Pointer
			if p.Errors[0].Offset != nil {
				offset = *p.Errors[0].Offset
			}
		}
		if offset != c.offset || pointer != c.pointer {
			t.Errorf("%.40q: at %d, %q; want %d, %q (%s)", c.body, offset, pointer, c.offset, c.pointer, p.Detail)
		}
	}
	s := newSetup(t)
	s.accept(t, ask{path: "/v1/events/a", body: nest(64)})
	s.accept(t, ask{path: "/v1/events/a", body: `{"a":"` + strings.Repeat(`[{\"`, 100) + `"}`})
	// Data in an envelope may be as deep as data by itself.
	s.accept(t, ask{path: "/v1/events", body: `{"type":"a","data":` + nest(64) + `}`})
	s.refused(t, ask{path: "/v1/events", body: `{"type":"a","data":` + nest(65) + `}`}, 400, "too-deep")
}

func TestNamesTheEncoding(t *testing.T) {
	s := newSetup(t)
	for body, want := range map[string]string{
		"\xef\xbb\xbf{}":       "byte order mark",
		"\xff\xfe{\x00}\x00":   "UTF-16",
		"\x00\x00\x00{":        "UTF-16 or UTF-32",
		"{\"a\":\"caf\xe9\"}}": "0xe9 at byte 9",
	} {
		p := s.refused(t, ask{path: "/v1/events/a", body: body}, 400, "not-utf-8")
		if !strings.Contains(p.Detail, want) {
			t.Errorf("%q: %s", body, p.Detail)
		}
	}
}

// quadratic is what only a cost that grows with the square of the input exceeds, also
// under the race detector on a busy machine.
const quadratic = 15 * time.Second

// What a sender chooses must not make the check expensive.
func TestBombsAreCheap(t *testing.T) {
	const size = 1000 << 10
	for name, body := range map[string]string{
		"brackets":      strings.Repeat("[", size),
		"objects":       strings.Repeat(`{"a":`, size/5),
		"quotes":        strings.Repeat(`"`, size),
		"backslashes":   `"` + strings.Repeat(`\`, size),
		"escaped":       `"` + strings.Repeat(`\"`, size/2),
		"many names":    "{" + strings.Repeat(`"a":1,`, size/6),
		"unclosed":      `{"a":"` + strings.Repeat("x", size),
		"empty objects": "[" + strings.Repeat("{},", size/3),
		"long name":     `{"` + strings.Repeat("x", size/2) + `":[1,2,x]}`,
	} {
		began := time.Now()
		ref := checkJSON([]byte(body), maxDepth)
		took := time.Since(began)
		if ref == nil {
			t.Errorf("%s: no refusal", name)
		}
		if took > quadratic {
			t.Errorf("%s: %v", name, took)
		}
		for _, f := range ref.faults {
			if len(f.Pointer) > 1024 || len(f.Detail) > 1024 || len(ref.detail) > 1024 {
				t.Errorf("%s: an answer of %d bytes", name, len(f.Pointer)+len(f.Detail)+len(ref.detail))
			}
		}
	}
}

func FuzzCheckJSON(f *testing.F) {
	for _, s := range []string{
		`{"a":[1,2.5e-7,"\u00e9\ud83d\ude00",null,true,false,{}]}`, `{"a":1,"a":2}`, "\"\xff\"", `"\ud800"`, ` [ ] `, `{"a":{"b":[[[[]]]]}}`, `"\\\""`,
		strings.Repeat("[", 65) + strings.Repeat("]", 65), "\xef\xbb\xbf1", "1\x00", `{"\ud800":1,"\ud801":2}`, `["\"[[",{"]":"\\"}]`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		kept := bytes.Clone(body)
		ref := checkJSON(body, maxDepth)
		if !bytes.Equal(body, kept) {
			t.Fatal("the body was changed")
		}
		depth, twice, ambiguous := walk(body)
		right := json.Valid(body) && utf8.Valid(body) && depth <= maxDepth && !twice
		if ambiguous {
			return // names with lone surrogates, which read the same
		}
		if right != (ref == nil) {
			t.Fatalf("%q: refused %v; valid %v, UTF-8 %v, depth %d, twice %v", body, ref, json.Valid(body), utf8.Valid(body), depth, twice)
		}
		if ref != nil {
			for _, fault := range ref.faults {
				if fault.Offset != nil && (*fault.Offset < 0 || *fault.Offset > len(body)) {
					t.Fatalf("offset %d of %d", *fault.Offset, len(body))
				}
			}
		}
	})
}

// walk judges depth and repeated names by another decoder.
func walk(body []byte) (depth int, twice, ambiguous bool) {
	type level struct {
		names map[string]bool // nil in an array
		value bool            // a value is next, not a name
	}
	var stack []level
	d := json.NewDecoder(bytes.NewReader(body))
	d.UseNumber()
	for {
		token, err := d.Token()
		if err != nil {
			_ = err == io.EOF
			return depth, twice, ambiguous
		}
		top := len(stack) - 1
		if name, ok := token.(string); ok && top >= 0 && stack[top].names != nil && !stack[top].value {
			twice = twice || stack[top].names[name]
			ambiguous = ambiguous || strings.Contains(name, "\uFFFD")
			stack[top].names[name] = true
			stack[top].value = true
			continue
		}
		if top >= 0 {
			stack[top].value = false
		}
		switch token {
		case json.Delim('{'):
			stack = append(stack, level{names: map[string]bool{}})
		case json.Delim('['):
			stack = append(stack, level{})
		case json.Delim('}'), json.Delim(']'):
			stack = stack[:top]
		}
		depth = max(depth, len(stack))
	}
}

func BenchmarkCheckJSON(b *testing.B) {
	body := sample(1 << 10)
	b.SetBytes(int64(len(body)))
	b.ReportAllocs()
	for b.Loop() {
		if checkJSON(body, maxDepth) != nil {
			b.Fatal("refused")
		}
	}
}

func BenchmarkDepthBomb(b *testing.B) {
	body := bytes.Repeat([]byte("["), DefaultMaxEventSize)
	b.ReportAllocs()
	for b.Loop() {
		if checkJSON(body, maxDepth) == nil {
			b.Fatal("taken")
		}
	}
}
