package intake

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/caddyrelay/caddyrelay/relay/spelling"
)

func TestEnvelopeFaults(t *testing.T) {
	for _, c := range []struct {
		body   string
		faults []string // "pointer: part of the detail"
	}{
		{`{}`, []string{"/type: missing", "/data: missing; send null"}},
		{`{"data":1}`, []string{"/type: missing"}},
		{`{"type":null,"data":1}`, []string{"/type: missing"}},
		{`{"type":"","data":1}`, []string{"/type: missing"}},
		{`{"type":"a"}`, []string{"/data: missing"}},
		{`{"type":7,"data":1}`, []string{"/type: must be a string"}},
		{`{"type":["a"],"data":1}`, []string{"/type: must be a string"}},
		{`{"type":"a b","data":1}`, []string{"/type: byte 0x20"}},
		{`{"type":"relay.x","data":1}`, []string{"/type: reserved"}},
		{`{"type":"a","dta":1}`, []string{`/dta: did you mean "data"?`, "/data: missing"}},
		{`{"Type":"a","data":1}`, []string{`/Type: did you mean "type"?`, "/type: missing"}},
		{`{"type":"a","data":1,"sorce":"/x","timme":"x"}`, []string{`/sorce: did you mean "source"?`, `/timme: did you mean "time"?`}},
		{`{"type":"a","data":1,"payload":2}`, []string{"/payload: it has type, data, id, source, subject, time"}},
		{`{"type":"a","data":1,"a/b~c":2}`, []string{"/a~1b~0c: not a member"}},
		{`{"type":"a","data":1,"":2}`, []string{"/: not a member"}},
		{`{"type":"a","data":1,"id":""}`, []string{"/id: has 0 characters"}},
		{`{"type":"a","data":1,"id":7}`, []string{"/id: must be a string"}},
		{`{"type":"a","data":1,"id":"` + strings.Repeat("é", 256) + `"}`, []string{"/id: has 256 characters; 1 to 255"}},
		{`{"type":"a","data":1,"id":"a\u0000"}`, []string{"/id: U+0000"}},
		{`{"type":"a","data":1,"source":"a\r\nb"}`, []string{"/source: U+000D"}},
		{`{"type":"a","data":1,"subject":"` + strings.Repeat("x", 2049) + `"}`, []string{"/subject: at most 2048"}},
		{`{"type":"a","data":1,"subject":{}}`, []string{"/subject: must be a string"}},
		{`{"type":"a","data":1,"time":"yesterday"}`, []string{`/time: "yesterday" is not RFC 3339`}},
		{`{"type":"a","data":1,"time":"2026-11-21"}`, []string{"/time: RFC 3339"}},
		{`{"type":"a","data":1,"time":"2026-11-21T20:23:59"}`, []string{"/time: RFC 3339"}},
		{`{"type":"a","data":1,"time":""}`, []string{"/time: RFC 3339"}},
		{`{"type":"a","data":1,"time":1763756639}`, []string{"/time: must be a string"}},
	} {
		s := newSetup(t)
		p := s.refused(t, ask{path: "/v1/events", body: c.body}, 422, "invalid-envelope")
		if len(p.Errors) != len(c.faults) {
			t.Errorf("%s: %+v", c.body, p.Errors)
			continue
		}
		for i, want := range c.faults {
			pointer, detail, _ := strings.Cut(want, ": ")
			if p.Errors[i].Pointer != pointer || !strings.Contains(p.Errors[i].Detail, detail) {
				t.Errorf("%s: %+v, want %s", c.body, p.Errors[i], want)
			}
		}
	}
}

func TestEnvelopeIsAnObject(t *testing.T) {
	s := newSetup(t)
	for _, body := range []string{`[]`, `[{"type":"a","data":1}]`, `null`, `"a"`, ` 1 `} {
		p := s.refused(t, ask{path: "/v1/events", body: body}, 422, "invalid-envelope")
		if !strings.Contains(p.Detail, "/v1/events/{type}") {
			t.Error(p.Detail)
		}
	}
}

func TestEnvelopeThatIsNoJSON(t *testing.T) {
	s := newSetup(t)
	for body, slug := range map[string]string{
		``:                                    "malformed-json",
		`{`:                                   "malformed-json",
		`{"type"`:                             "malformed-json",
		`{"type":`:                            "malformed-json",
		`{"type":"a"`:                         "malformed-json",
		`{"type":"a","data":{]}`:              "malformed-json",
		`{"type":"a","data":1}}`:              "malformed-json",
		`{"type":"a","data":1} {}`:            "malformed-json",
		`{"type":"a","data":1,}`:              "malformed-json",
		`{type:"a"}`:                          "malformed-json",
		`[1,]`:                                "malformed-json",
		`{"type":"a","data":1,"data":2}`:      "duplicate-name",
		`{"type":"a","data":1,"d\u0061ta":2}`: "duplicate-name",
		`{"type":"a","data":{"x":1,"x":1}}`:   "duplicate-name",
		`{"x":1,"x":1}`:                       "duplicate-name",
		"{\"type\":\"\xff\",\"data\":1}":      "not-utf-8",
	} {
		s.refused(t, ask{path: "/v1/events", body: body}, 400, slug)
	}
}

func TestManyFaultsAreCutShort(t *testing.T) {
	var b strings.Builder
	for i := range 1000 {
		fmt.Fprintf(&b, `"x%d":1,`, i)
	}
	s := newSetup(t)
	p := s.refused(t, ask{path: "/v1/events", body: `{` + b.String() + `"data":1}`}, 422, "invalid-envelope")
	equal(t, "faults", len(p.Errors), maxFaults)
	if !strings.HasPrefix(p.Detail, "1001 things") {
		t.Error(p.Detail)
	}
}

func TestNearest(t *testing.T) {
	for word, want := range map[string]string{
		"typ": "type", "TYPE": "type", "tpye": "type", "dat": "data", "date": "data", "Id": "id", "sources": "source", "subjekt": "subject",
		"x": "", "event": "", "name": "", "key": "", "payload": "", "to": "", "": "", strings.Repeat("type", 9): "",
	} {
		equal(t, word, spelling.Nearest(word, members), want)
	}
}

func FuzzEnvelope(f *testing.F) {
	for _, s := range []string{
		`{"type":"a","data":{"b":[1]},"id":"i","source":"/s","subject":"x","time":"2026-11-21T20:23:59Z"}`, `{"data":null,"type":"\u0061"}`, `{}`, `[]`,
		`{"type":"a","data":1}x`, `{"\ud800":1}`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		kept := slices.Clone(body)
		e, ref := parseEnvelope(body)
		if !slices.Equal(body, kept) {
			t.Fatal("the body was changed")
		}
		valid := checkJSON(body, maxDepth+1) == nil
		switch {
		case ref == nil && !valid:
			t.Fatal("taken, but no JSON")
		case ref != nil && (ref.kind == problemEnvelope) != valid:
			t.Fatalf("%+v, valid %v", ref, valid)
		case ref == nil && (e.typ == "" || checkJSON(e.data, maxDepth) != nil):
			t.Fatalf("%+v", e)
		case ref == nil && cap(e.data) != len(e.data):
			t.Fatal("an append to the data would write into the body")
		}
	})
}
