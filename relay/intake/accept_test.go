package intake

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/caddyrelay/caddyrelay/relay"
)

func TestBodyIsTheDataByteForByte(t *testing.T) {
	for _, body := range []string{
		`{"order":42}`,
		" {\r\n\t\"b\" : 1.50e+0 ,\"a\":[ ] } \n",
		`null`, `0`, `-0.0`, `"text"`, `true`, `[]`, `{}`,
		`{"html":"<&>","u":"é","sep":"` + "\u2028" + `","surrogate":"\ud83d","slash":"\/"}`,
		`12345678901234567890123456789012345678901234567890.000`,
	} {
		s := newSetup(t)
		answer := s.accept(t, ask{path: "/v1/events/order.paid", body: body})
		p := s.engine.last(t)
		equal(t, "data", string(p.Event.Data), body)
		equal(t, "answer", answer, accepted{ID: relay.FormatID(1, 7), Type: "order.paid", Matched: []string{}})
		equal(t, "key", p.Key, (*relay.Key)(nil))
	}
}

func TestEnvelopeDataByteForByte(t *testing.T) {
	for _, data := range []string{
		`{"order":42}`, "{\r\n\t\"b\" : 1.50e+0 ,\"a\":[ ] }", `null`, `0`, `"t\u0065xt \ud83d"`, `[1 , 2]`, `{"type":"inner","data":1}`,
	} {
		for _, body := range []string{
			`{"type":"order.paid","data":` + data + `}`,
			`{"data":` + data + `,"type":"order.paid"}`,
			"\n{ \"data\" :\t" + data + " , \"\\u0074ype\" : \"order.paid\" }\n",
		} {
			s := newSetup(t)
			s.accept(t, ask{path: "/v1/events", body: body})
			e := s.engine.last(t).Event
			equal(t, "data", string(e.Data), data)
			equal(t, "type", e.Type, "order.paid")
			equal(t, "content type", e.ContentType, "application/json")
		}
	}
}

func TestEnvelopeAttributes(t *testing.T) {
	s := newSetup(t, func(o *Options) { o.DefaultSource = "/default" })
	s.accept(t, ask{path: "/v1/events", body: `{"type":"a","data":1,"id":"i-1","source":"/shop","subject":"order/42","time":"2026-11-21T22:23:59.5+02:00"}`})
	p := s.engine.last(t)
	equal(t, "event", *p.Event, relay.Event{
		Type: "a", Data: []byte("1"), SourceID: "i-1", Source: "/shop", Subject: "order/42",
		Time: time.Date(2026, 11, 21, 20, 23, 59, 5e8, time.UTC), ContentType: "application/json",
	})
	equal(t, "kind", p.Key.Kind, relay.KeyEnvelope)
	equal(t, "key", p.Key.Text, "i-1")

	// What serialisers make of fields that are not set is as good as nothing.
	s.accept(t, ask{path: "/v1/events", body: `{"type":"a","data":1,"id":null,"source":"","subject":null,"time":null}`})
	p = s.engine.last(t)
	equal(t, "event", *p.Event, relay.Event{Type: "a", Data: []byte("1"), Source: "/default", ContentType: "application/json"})
	equal(t, "key", p.Key, (*relay.Key)(nil))
}

func TestContentTypes(t *testing.T) {
	for _, ct := range []string{
		"application/json", "application/json; charset=utf-8", "Application/JSON", "application/json;charset",
		"application/vnd.contentful.management.v1+json", "application/vnd.phraseanet.event+json; charset=utf-8", "text/x+json",
	} {
		s := newSetup(t)
		s.accept(t, ask{path: "/v1/events/a", header: "Content-Type: " + ct, body: `1`})
		equal(t, "content type", s.engine.last(t).Event.ContentType, ct)
		s.accept(t, ask{path: "/v1/events", header: "Content-Type: " + ct, body: `{"type":"a","data":1}`})
		equal(t, "content type", s.engine.last(t).Event.ContentType, "application/json")
	}
	for _, ct := range []string{
		"none", "", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "text/plain", "text/json",
		"application/xml", "application/jsonp", "json", "/", ";;", "application/json, application/json",
		"application/" + strings.Repeat("x", 300) + "+json",
	} {
		for _, path := range []string{"/v1/events/a", "/v1/events"} {
			s := newSetup(t)
			p := s.refused(t, ask{path: path, header: "Content-Type: " + ct, body: `1`}, 415, "unsupported-media-type")
			if !strings.Contains(p.Detail, "curl --json") {
				t.Errorf("%q: the mend is missing: %s", ct, p.Detail)
			}
		}
	}
	s := newSetup(t)
	s.refused(t, ask{path: "/v1/events/a", header: "content-type: application/json", body: `1`}, 415, "unsupported-media-type") // twice
	s.refused(t, ask{path: "/v1/events/a", header: "Content-Type: application/x-ndjson", body: `1`}, 415, "unsupported-media-type")
	// With the type in the path, the body is the data whatever it looks like.
	s.accept(t, ask{path: "/v1/events/a", header: "Content-Type: application/cloudevents+json", body: `{"id":"x"}`})

	w := s.do(ask{path: "/v1/events/a", header: "Content-Type: text/plain", body: `1`})
	equal(t, "Accept", w.Header().Get("Accept"), "application/json")
	w = s.do(ask{path: "/v1/events", header: "Content-Type: text/plain", body: `1`})
	equal(t, "Accept", w.Header().Get("Accept"), "application/json, application/cloudevents+json, application/cloudevents-batch+json, application/x-ndjson")
}

func TestContentEncodingIsRefused(t *testing.T) {
	s := newSetup(t)
	for _, coding := range []string{"gzip", "br", "deflate", "identity, gzip", "zstd"} {
		s.refused(t, ask{path: "/v1/events/a", header: "Content-Encoding: " + coding, body: `1`}, 415, "content-encoding")
	}
	s.accept(t, ask{path: "/v1/events/a", header: "Content-Encoding: Identity", body: `1`})
}

func TestTypes(t *testing.T) {
	s := newSetup(t)
	for path, typ := range map[string]string{
		"/v1/events/order.paid":   "order.paid",
		"/v1/events/a%2Fb":        "a/b",
		"/v1/events/a%2fb%23":     "a/b#",
		"/v1/events/a%252Fb":      "a%2Fb", // decoded once
		"/v1/events/%7Eo+p":       "~o+p",
		"/v1/events/Entry.Save":   "Entry.Save",
		"/v1/events/relays.x":     "relays.x",
		`/v1/events/a%22%5Cb`:     `a"\b`,
		"/v1/events/urn:x:y;v=1?": "urn:x:y;v=1",
	} {
		answer := s.accept(t, ask{path: path, body: `1`})
		equal(t, path, s.engine.last(t).Event.Type, typ)
		equal(t, path, answer.Type, typ)
	}
	for _, typ := range []string{"relay.egress.changed", "Relay.x", "a..b", ".a", "a.", "a%20b", "a%00", "%C3%A9", strings.Repeat("a", 256)} {
		s.refused(t, ask{path: "/v1/events/" + typ, body: `1`}, 422, "invalid-type")
	}
	for _, typ := range []string{"relay.egress.changed", "a..b", "a b", "é", strings.Repeat("a", 256)} {
		p := s.refused(t, ask{path: "/v1/events", body: fmt.Sprintf(`{"type":%q,"data":1}`, typ)}, 422, "invalid-envelope")
		equal(t, "pointer", p.Errors[0].Pointer, "/type")
	}
}

func TestPathsAndMethods(t *testing.T) {
	s := newSetup(t)
	for _, path := range []string{"/", "/v1", "/v1/", "/v1/event", "/v1/events/", "/v1/events/a/b", "/v1/events//a", "//v1/events", "/v2/events", "/livez/", "/console"} {
		s.refused(t, ask{path: path, body: `1`}, 404, "not-found")
		s.refused(t, ask{path: path, method: "GET"}, 404, "not-found")
	}
	for path, allow := range map[string]string{"/v1/events": "POST", "/v1/events/a": "GET, HEAD, POST"} {
		for _, method := range []string{"PUT", "PATCH", "DELETE", "OPTIONS"} {
			w := s.do(ask{method: method, path: path, body: `1`})
			equal(t, method+" "+path, problemOf(t, w).slug(), "method-not-allowed")
			equal(t, "Allow", w.Header().Get("Allow"), allow)
		}
	}
	equal(t, "GET", problemOf(t, s.do(ask{method: "GET", path: "/v1/events"})).slug(), "method-not-allowed")
	// Only what was posted counts as a rejected event.
	for _, reason := range s.tally.rejected {
		equal(t, "reason", reason, "not-found")
	}
}

func TestNarrowing(t *testing.T) {
	s := newSetup(t)
	s.accept(t, ask{path: "/v1/events/a", header: "Relay-Subscriptions: crm ,, billing,crm\nRelay-Subscriptions:\tlast", body: `1`})
	equal(t, "only", s.engine.last(t).Event.Only, []string{"crm", "billing", "last"})
	s.accept(t, ask{path: "/v1/events/a", body: `1`})
	equal(t, "only", s.engine.last(t).Event.Only, []string(nil))
	for _, empty := range []string{"", " , ,"} {
		s.refused(t, ask{path: "/v1/events/a", header: "Relay-Subscriptions: " + empty, body: `1`}, 422, "unknown-subscription")
	}
	s.engine.fails = fmt.Errorf("publishing: %w", &relay.UnknownSubscriptionError{Name: "cmr"})
	p := s.refused(t, ask{path: "/v1/events/a", header: "Relay-Subscriptions: cmr", body: `1`}, 422, "unknown-subscription")
	equal(t, "errors", p.Errors, []fault{{Header: "Relay-Subscriptions", Detail: `"cmr" is not a subscription`}})
}

func TestManyNarrowingNamesAreCheap(t *testing.T) {
	var b strings.Builder
	for i := range 200_000 {
		fmt.Fprintf(&b, "%x,", i)
	}
	began := time.Now()
	names, _ := parseNarrowing([]string{b.String()})
	if took := time.Since(began); len(names) != 200_000 || took > quadratic {
		t.Fatalf("%d names in %v", len(names), took)
	}
}

func TestStoreErrors(t *testing.T) {
	const secret = "/var/lib/relay/000001.vlog"
	three := 3
	for _, c := range []struct {
		err    error
		status int
		slug   string
		retry  string
		fits   *int
	}{
		{relay.ErrFull, 503, "store-full", "30", nil},
		{relay.ErrBroken, 503, "store-failed", "10", nil},
		{relay.ErrClosed, 503, "not-ready", "5", nil},
		{context.DeadlineExceeded, 503, "not-ready", "5", nil},
		{relay.ErrKeyReused, 422, "key-reused", "", nil},
		{&relay.KeyReusedError{Item: -1}, 422, "key-reused", "", nil},
		{&relay.BatchTooLargeError{Fits: 3}, 413, "batch-too-large", "", &three},
		{errors.New("surprise"), 500, "internal-error", "", nil},
	} {
		core, logs := observer.New(zap.ErrorLevel)
		s := newSetup(t, func(o *Options) { o.Logger = zap.New(core) })
		s.engine.fails = fmt.Errorf("%s: %w", secret, c.err)
		w := s.do(ask{path: "/v1/events/a", body: `1`})
		equal(t, "Retry-After", w.Header().Get("Retry-After"), c.retry)
		if strings.Contains(w.Body.String(), secret) {
			t.Errorf("%v: the answer leaks the cause", c.err)
		}
		p := problemOf(t, w)
		equal(t, "status", p.Status, c.status)
		equal(t, "slug", p.slug(), c.slug)
		equal(t, "fits", p.Fits, c.fits)
		if c.status >= 500 && logs.FilterMessage("cannot take events").Len() != 1 {
			t.Errorf("%v: not logged", c.err)
		}
	}
}

func TestRefusesBeforeReadingTheBodyWhileTheStoreIsDown(t *testing.T) {
	s := newSetup(t)
	s.engine.down = relay.ErrFull
	r := ask{path: "/v1/events/a"}.request()
	r.Body = panicReader{}
	w := httptest.NewRecorder()
	s.ServeHTTP(w, r)
	equal(t, "slug", problemOf(t, w).slug(), "store-full")
	equal(t, "rejected", s.tally.rejected, []string{"store-full"})
}

func TestWaitsForTheEngine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		started := make(chan struct{})
		var s *setup
		s = newSetup(t, func(o *Options) {
			o.Engine = func(ctx context.Context) (Engine, error) {
				select {
				case <-started:
					return s.engine, nil
				case <-ctx.Done():
					return nil, ctx.Err()
				}
			}
		})
		began := time.Now()
		s.refused(t, ask{path: "/v1/events/a", body: `1`}, 503, "not-ready")
		equal(t, "waited", time.Since(began), readyWait)
		time.AfterFunc(time.Second, func() { close(started) })
		s.accept(t, ask{path: "/v1/events/a", body: `1`})
	})
}

func TestAnEngineThatHangsIsA503(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSetup(t, func(o *Options) {
			o.Engine = func(context.Context) (Engine, error) { return hanging{}, nil }
		})
		for _, method := range []string{"POST", "GET"} {
			began := time.Now()
			s.refused(t, ask{method: method, path: "/v1/events/a", body: `1`}, 503, "not-ready")
			if waited := time.Since(began); waited >= 10*time.Second {
				t.Errorf("%s: answered after %v", method, waited)
			}
		}
	})
}

// hanging is an engine whose store does not answer.
type hanging struct{}

func (hanging) Publish(ctx context.Context, _ []relay.Publication, _ *relay.Key) ([]relay.Receipt, error) {
	<-ctx.Done()
	return nil, ctx.Err()
}

func (hanging) Inspect(ctx context.Context, _ string) (*relay.Event, []relay.Delivery, error) {
	<-ctx.Done()
	return nil, nil, ctx.Err()
}

func (hanging) Err() error { return nil }

func TestMissingReceiptIsNoSuccess(t *testing.T) {
	s := newSetup(t)
	s.engine.receipts = func([]relay.Receipt) []relay.Receipt { return nil }
	equal(t, "slug", problemOf(t, s.do(ask{path: "/v1/events/a", body: `1`})).slug(), "internal-error")
}

func TestFailuresAreLoggedOnceASecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		core, logs := observer.New(zap.InfoLevel)
		s := newSetup(t, func(o *Options) { o.Logger = zap.New(core) })
		s.engine.down = relay.ErrBroken
		for range 100 {
			s.do(ask{path: "/v1/events/a", body: `1`})
		}
		time.Sleep(time.Second)
		s.do(ask{path: "/v1/events/a", body: `1`})
		s.do(ask{path: "/v1/events/a", header: "Content-Type: text/plain"}) // the sender's fault
		all := logs.All()
		if len(all) != 2 {
			t.Fatalf("%d messages", len(all))
		}
		equal(t, "held back", all[1].ContextMap()["more_since_last"], int64(99))
	})
}

func TestAcceptHasNoGuard(t *testing.T) {
	s := newSetup(t, func(o *Options) { o.Tokens = []string{"t"} })
	for typ, body := range map[string]string{"order.paid": `1`, "": `{"type":"order.paid","data":1}`} {
		r := httptest.NewRequest(http.MethodPost, "/relay/events", strings.NewReader(body))
		r.Header.Set("Content-Type", "application/json")
		w := httptest.NewRecorder()
		s.Accept(w, r, typ)
		equal(t, "status", w.Code, http.StatusAccepted)
	}
	equal(t, "took", s.tally.took, 2)
}

func TestNewChecksOptions(t *testing.T) {
	engine := func(context.Context) (Engine, error) { return nil, nil }
	for want, o := range map[string]Options{
		"engine is missing": {},
		"max_event_size":    {Engine: engine, MaxEventSize: relay.MaxDataSize + 1},
		"1 to ":             {Engine: engine, MaxEventSize: -1},
		"token is empty":    {Engine: engine, Tokens: []string{"a", " "}},
		"max_batch":         {Engine: engine, MaxBatch: 10_001},
		"is -1 events":      {Engine: engine, MaxBatch: -1},
		"any port will do":  {Engine: engine, Hosts: []string{"relay.example.com:8080"}},
		"not a host name":   {Engine: engine, Hosts: []string{""}},
		"default_source":    {Engine: engine, DefaultSource: "a\nb"},
		"type_from":         {Engine: engine, TypeFrom: []Locator{{}}},
		"key_from":          {Engine: engine, KeyFrom: []Locator{{Header: "a", Path: "b"}}},
	} {
		if _, err := New(o); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
	if _, err := New(Options{Engine: engine, MaxEventSize: relay.MaxDataSize}); err != nil {
		t.Error(err)
	}
}
