package intake

import (
	"encoding/hex"
	"strings"
	"testing"

	"github.com/caddyrelay/caddyrelay/relay"
)

func TestIdempotencyKeyForms(t *testing.T) {
	long := strings.Repeat("k", 255)
	for value, want := range map[string]string{
		"abc": "abc", `"abc"`: "abc", `"abc";v=1`: "abc", `"a\"\\b"`: `a"\b`, `a"b`: `a"b`, "0": "0", "a,b": "a,b", long: long, `"` + long + `"`: long,
		"0199f3c2-7d0e-7c31-9a4e-3f1f0b0f7a11": "0199f3c2-7d0e-7c31-9a4e-3f1f0b0f7a11",
		"order 42":                             "order 42",
		`"order 42"`:                           "order 42",
		`" "`:                                  " ",
	} {
		s := newSetup(t)
		s.accept(t, ask{path: "/v1/events/a", header: "Idempotency-Key: " + value, body: "1"})
		key := s.engine.last(t).Key
		equal(t, value, key.Text, want)
		equal(t, "kind", key.Kind, relay.KeyHeader)
	}
	for _, header := range []string{
		"Idempotency-Key:", `Idempotency-Key: ""`, `Idempotency-Key: "a`, `Idempotency-Key: "`, `Idempotency-Key: "a" "b"`, `Idempotency-Key: "a", "b"`,
		"Idempotency-Key: a\tb", "Idempotency-Key: a\x80", "Idempotency-Key: " + long + "k", `Idempotency-Key: "` + long + `k"`,
		`Idempotency-Key: "a\n"`, "Idempotency-Key: a\nIdempotency-Key: a",
	} {
		s := newSetup(t)
		p := s.refused(t, ask{path: "/v1/events/a", header: header, body: "1"}, 400, "invalid-idempotency-key")
		equal(t, "header", p.Errors[0].Header, "Idempotency-Key")
	}
}

func TestKeyPrecedence(t *testing.T) {
	s := newSetup(t, func(o *Options) {
		o.KeyFrom = []Locator{{Header: "X-Key"}, {Path: "data.k"}, {Path: "k"}}
	})
	for _, c := range []struct {
		path, header, body string
		kind               relay.KeyKind
		text, sourceID     string
	}{
		{"/v1/events", "Idempotency-Key: h\nX-Key: x", `{"type":"a","id":"i","data":{"k":"d"}}`, relay.KeyHeader, "h", "i"},
		{"/v1/events", "X-Key: x", `{"type":"a","id":"i","data":{"k":"d"}}`, relay.KeyEnvelope, "i", "i"},
		{"/v1/events", "X-Key: x", `{"type":"a","data":{"k":"d"}}`, relay.KeyFrom, "x", ""},
		{"/v1/events", "", `{"type":"a","data":{"k":"d"}}`, relay.KeyFrom, "d", ""},
		{"/v1/events/a", "", `{"k":17.50}`, relay.KeyFrom, "17.50", ""},
		{"/v1/events/a", "X-Key: ", `{"k":17}`, relay.KeyFrom, "17", ""},
		{"/v1/events/a", "", `{"k":""}`, 0, "", ""},
		{"/v1/events/a", "", `{"k":null}`, 0, "", ""},
		{"/v1/events/a", "", `{"k":true}`, 0, "", ""},
		{"/v1/events/a", "", `{"k":{"k":1}}`, 0, "", ""},
		{"/v1/events/a", "", `[]`, 0, "", ""},
	} {
		c.body = strings.Replace(c.body, "{", "{ ", 1)
		s.engine.known = nil
		s.accept(t, ask{path: c.path, header: c.header, body: c.body})
		p := s.engine.last(t)
		got := relay.Key{}
		if p.Key != nil {
			got = *p.Key
		}
		if got.Kind != c.kind || got.Text != c.text || p.Event.SourceID != c.sourceID {
			t.Errorf("%+v: kind %d, %q, source id %q", c, got.Kind, got.Text, p.Event.SourceID)
		}
	}
	for _, body := range []string{`{"k":"` + strings.Repeat("k", 256) + `"}`, `{"k":"a\nb"}`} {
		p := s.refused(t, ask{path: "/v1/events/a", body: body}, 422, "invalid-key")
		if !strings.Contains(p.Detail, "the path k of the body") {
			t.Error(p.Detail)
		}
	}
}

func TestRepeatsAnswerTheFirstAnswer(t *testing.T) {
	const body = `{"type":"order.paid","id":"i-1","data":{"order":42}}`
	for _, c := range []struct {
		name        string
		first, then ask
		reused      bool
	}{
		{"header", ask{path: "/v1/events/a", header: "Idempotency-Key: k", body: "1"}, ask{path: "/v1/events/a", header: `Idempotency-Key: "k"`, body: "1"}, false},
		{"envelope id", ask{path: "/v1/events", body: body}, ask{path: "/v1/events", body: body}, false},
		{"order of the names", ask{path: "/v1/events", header: "Relay-Subscriptions: a, b", body: body}, ask{path: "/v1/events", header: "Relay-Subscriptions: b,a,b", body: body}, false},
		{"another body", ask{path: "/v1/events", body: body}, ask{path: "/v1/events", body: body + " "}, true},
		{"another type", ask{path: "/v1/events/a", header: "Idempotency-Key: k", body: "1"}, ask{path: "/v1/events/b", header: "Idempotency-Key: k", body: "1"}, true},
		{"another content type", ask{path: "/v1/events/a", header: "Idempotency-Key: k", body: "1"}, ask{path: "/v1/events/a", header: "Idempotency-Key: k\nContent-Type: text/x+json", body: "1"}, true},
		{"narrowed", ask{path: "/v1/events", body: body}, ask{path: "/v1/events", header: "Relay-Subscriptions: a", body: body}, true},
		{"narrowed otherwise", ask{path: "/v1/events", header: "Relay-Subscriptions: ab", body: body}, ask{path: "/v1/events", header: "Relay-Subscriptions: a,b", body: body}, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newSetup(t)
			first := s.accept(t, c.first)
			if c.reused {
				s.refused(t, c.then, 422, "key-reused")
				return
			}
			again := s.accept(t, c.then)
			first.Duplicate = true
			equal(t, "answer", again, first)
			equal(t, "published", len(s.engine.published), 1)
		})
	}
}

func TestKindsOfKeysDoNotCollide(t *testing.T) {
	s := newSetup(t, func(o *Options) { o.KeyFrom = []Locator{{Path: "k"}} })
	s.accept(t, ask{path: "/v1/events/a", header: "Idempotency-Key: x", body: "1"})
	s.accept(t, ask{path: "/v1/events", body: `{"type":"a","id":"x","data":1}`})
	s.accept(t, ask{path: "/v1/events/a", body: `{"k":"x"}`})
	equal(t, "published", len(s.engine.published), 3)
}

// A reload that changes the default source must not turn a repeat into a conflict.
func TestDigestLeavesOutTheDefaultSource(t *testing.T) {
	sum := func(source string) [32]byte {
		s := newSetup(t, func(o *Options) { o.DefaultSource = source })
		s.accept(t, ask{path: "/v1/events/a", header: "Idempotency-Key: k", body: "1"})
		equal(t, "source", s.engine.last(t).Event.Source, source)
		return s.engine.last(t).Key.Sum
	}
	equal(t, "sum", sum("/new"), sum("/old"))
}

// The digest is stored: another value would turn repeats over an upgrade into conflicts.
func TestDigestStaysAsItIs(t *testing.T) {
	sum := digest(&relay.Event{Type: "order.paid", Source: "/shop", ContentType: "application/json", Only: []string{"crm", "billing"}}, []byte(`{"order":42}`))
	// printf '\0\0\0\12order.paid\0\0\0\5/shop\0\0\0\20application/json\0\0\0\2\0\0\0\7billing\0\0\0\3crm\0\0\0\14{"order":42}' | sha256sum
	equal(t, "sum", hex.EncodeToString(sum[:]), "349fa999876ad2d7ab694a911c8c17608210a06f4a8f04033541e85e677b5e08")
}

func FuzzIdempotencyKey(f *testing.F) {
	for _, s := range []string{"abc", `"abc"`, `"a\"b"`, `"a";p=1`, `""`, `"`, "a b", "é", ":YQ==:", "?1", strings.Repeat("x", 256)} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, value string) {
		key, err := parseIdempotencyKey([]string{value})
		if err != nil {
			return
		}
		if len(key) < 1 || len(key) > 255 || strings.ContainsFunc(key, func(r rune) bool { return r < ' ' || r > '~' }) {
			t.Fatalf("%q from %q", key, value)
		}
		// Quoted, it is the same key.
		quoted := `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(key) + `"`
		if again, err := parseIdempotencyKey([]string{quoted}); err != nil || again != key {
			t.Fatalf("%q, then %q (%v)", key, again, err)
		}
	})
}
