package intake

import (
	"os"
	"strings"
	"testing"

	"github.com/caddyrelay/caddyrelay/relay"
)

func fixture(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile("testdata/" + name)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestPhraseanet(t *testing.T) {
	s := newSetup(t, func(o *Options) { o.TypeFrom, o.KeyFrom = AcceptPhraseanet() })

	// As documented: "name", no identifier.
	body := fixture(t, "phraseanet_documented.json")
	s.accept(t, ask{path: "/v1/events", header: "User-Agent: Phraseanet/4.1.22 (Harbour)", body: body})
	p := s.engine.last(t)
	equal(t, "type", p.Event.Type, "new_feed_entry")
	equal(t, "data", string(p.Event.Data), body)
	equal(t, "key", p.Key, (*relay.Key)(nil))

	// As sent, with either of its content types.
	body = fixture(t, "phraseanet_sent.json")
	for _, ct := range []string{"application/json", "application/vnd.phraseanet.event+json"} {
		s.engine.known = nil
		s.accept(t, ask{path: "/v1/events", header: "Content-Type: " + ct, body: body})
		p = s.engine.last(t)
		equal(t, "type", p.Event.Type, "new_feed_entry")
		equal(t, "data", string(p.Event.Data), body)
		equal(t, "content type", p.Event.ContentType, ct)
		equal(t, "kind", p.Key.Kind, relay.KeyFrom)
		equal(t, "key", p.Key.Text, "90210")
	}
	if !s.accept(t, ask{path: "/v1/events", header: "Content-Type: application/vnd.phraseanet.event+json", body: body}).Duplicate {
		t.Error("the repeat is no duplicate")
	}
	// The body that it sends when a feed entry is gone.
	detail := s.refused(t, ask{path: "/v1/events", body: "null"}, 422, "invalid-envelope").Detail
	if !strings.Contains(detail, "the path event of the body, the path name of the body") {
		t.Error(detail)
	}
}

func TestContentful(t *testing.T) {
	s := newSetup(t, func(o *Options) { o.TypeFrom, o.KeyFrom = AcceptContentful() })
	body, header := fixture(t, "contentful_entry_publish.json"), fixture(t, "contentful_entry_publish.headers")
	s.accept(t, ask{path: "/v1/events", header: header, body: body})
	p := s.engine.last(t)
	equal(t, "type", p.Event.Type, "ContentManagement.Entry.publish")
	equal(t, "data", string(p.Event.Data), body)
	equal(t, "content type", p.Event.ContentType, "application/vnd.contentful.management.v1+json")
	equal(t, "kind", p.Key.Kind, relay.KeyFrom)
	equal(t, "key", p.Key.Text, "0f0e0d0c0b0a09080706050403020100ffeeddccbbaa99887766554433221100")

	// Its second attempt differs in a header only.
	again := strings.Replace(header, "Attempt: 1", "Attempt: 2", 1)
	if !s.accept(t, ask{path: "/v1/events", header: again, body: body}).Duplicate {
		t.Error("the second attempt is no duplicate")
	}
	p422 := s.refused(t, ask{path: "/v1/events", header: "X-Contentful-Topic: a b", body: body}, 422, "invalid-type")
	if !strings.Contains(p422.Detail, "type_from or accept") {
		t.Error(p422.Detail)
	}
}

func TestTypeFromStandsBeforeTheEnvelope(t *testing.T) {
	s := newSetup(t, func(o *Options) { o.TypeFrom = []Locator{{Path: "meta.kind"}, {Path: "items.1.kind"}} })
	for _, c := range []struct{ body, typ, data string }{
		{`{"meta":{"kind":"m"},"type":"e","data":1}`, "m", `{"meta":{"kind":"m"},"type":"e","data":1}`},
		{`{"items":[{"kind":"x"},{"kind":"second"}]}`, "second", ""},
		{`{"meta":{},"items":[0,{"kind":"b"}]}`, "b", ""},
		{`{"type":"e","data":1}`, "e", "1"},
	} {
		if c.data == "" {
			c.data = c.body
		}
		s.accept(t, ask{path: "/v1/events", body: c.body})
		equal(t, "type", s.engine.last(t).Event.Type, c.typ)
		equal(t, "data", string(s.engine.last(t).Event.Data), c.data)
	}
	// What is found must be a string; then the envelope is tried.
	for _, body := range []string{`{"meta":{"kind":7}}`, `{"meta":{"kind":null}}`, `{"meta":{"kind":""}}`, `{"meta":"kind"}`, `{"items":[{"kind":"x"}]}`, `[]`} {
		s.refused(t, ask{path: "/v1/events", body: body}, 422, "invalid-envelope")
	}
	s.refused(t, ask{path: "/v1/events", body: `{"meta":{"kind":"m"},}`}, 400, "malformed-json")
	s.refused(t, ask{path: "/v1/events", body: `{"meta":{"kind":"m","kind":"n"}}`}, 400, "duplicate-name")
	// The path names the type, whatever the body has.
	s.accept(t, ask{path: "/v1/events/p", body: `{"meta":{"kind":"m"}}`})
	equal(t, "type", s.engine.last(t).Event.Type, "p")
	// 65 levels are right for an envelope only.
	nest := strings.Repeat("[", 64) + strings.Repeat("]", 64)
	s.refused(t, ask{path: "/v1/events", body: `{"meta":{"kind":"m"},"x":` + nest + `}`}, 400, "too-deep")
}

func TestParseLocator(t *testing.T) {
	for _, c := range []struct {
		kind, arg string
		want      Locator
	}{
		{"header", "x-event-type", Locator{Header: "x-event-type"}},
		{"json", "meta.kind", Locator{Path: "meta.kind"}},
		{"json", `a\.b.c`, Locator{Path: `a\.b.c`}},
	} {
		got, err := ParseLocator(c.kind, c.arg)
		if err != nil {
			t.Error(err)
		}
		equal(t, c.arg, got, c.want)
	}
	for _, c := range []struct{ kind, arg, want string }{
		{"heder", "X", "did you mean header?"},
		{"body", "X", "neither header nor json"},
		{"header", "", "missing"},
		{"header", "X Event", "no name of a header field"},
		{"header", "X:", "no name of a header field"},
		{"json", "", "missing"},
		{"json", "a..b", "empty segment"},
		{"json", ".a", "empty segment"},
		{"json", "a.", "empty segment"},
	} {
		if _, err := ParseLocator(c.kind, c.arg); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s %q: %v", c.kind, c.arg, err)
		}
	}
}
