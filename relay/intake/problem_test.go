package intake

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/caddyrelay/caddyrelay/relay"
)

// Every type of the table is what some request is answered with.
func TestEveryProblemHappens(t *testing.T) {
	refuses := func(err error) func(*setup) { return func(s *setup) { s.engine.fails = err } }
	fails := func(err error) func(*setup) {
		return func(s *setup) {
			s.engine.fails = err
			s.engine.inspect = func(string) (*relay.Event, []relay.Delivery, error) { return nil, nil, err }
		}
	}
	token := func(o *Options) { o.Tokens = []string{"t"} }
	keyFrom := func(o *Options) { o.KeyFrom = []Locator{{Path: "k"}, {Path: "data.k"}} }
	cases := map[string]struct {
		ask     ask
		options func(*Options)
		engine  func(*setup)
		body    io.Reader
	}{
		"not-found":              {ask: ask{path: "/v1"}},
		"no-such-event":          {ask: ask{method: "GET", path: "/v1/events/evt_0"}},
		"method-not-allowed":     {ask: ask{method: "PUT", path: "/v1/events"}},
		"unauthorized":           {ask: ask{path: "/v1/events"}, options: token},
		"not-local":              {ask: ask{path: "/v1/events", local: lan}},
		"foreign-host":           {ask: ask{path: "/v1/events", host: "attacker.example"}},
		"foreign-origin":         {ask: ask{path: "/v1/events", header: "Origin: null"}},
		"unsupported-media-type": {ask: ask{path: "/v1/events", header: "Content-Type: text/plain"}},
		"content-encoding":       {ask: ask{path: "/v1/events", header: "Content-Encoding: gzip"}},
		"body-too-large":         {ask: ask{path: "/v1/events", body: strings.Repeat("1", DefaultMaxEventSize+1)}},
		"body-unreadable":        {body: errReader{io.ErrUnexpectedEOF}},
		"body-too-slow":          {body: errReader{os.ErrDeadlineExceeded}},
		"too-many-fields":        {ask: ask{path: "/v1/events/a", header: manyFields(101)}},
		"too-much-at-once": {ask: ask{path: "/v1/events/a", body: "1"}, engine: func(s *setup) {
			fill(s.budget, ask{path: "/"}.request().RemoteAddr, 64<<10)
		}},
		"busy":                    {ask: ask{path: "/v1/events/a", body: "1"}, engine: func(s *setup) { s.budget.used.Store(s.budget.size) }},
		"malformed-json":          {ask: ask{path: "/v1/events/a", body: "{"}},
		"duplicate-name":          {ask: ask{path: "/v1/events/a", body: `{"a":1,"a":1}`}},
		"too-deep":                {ask: ask{path: "/v1/events/a", body: strings.Repeat("[", 65)}},
		"not-utf-8":               {ask: ask{path: "/v1/events/a", body: "\"\xff\""}},
		"invalid-idempotency-key": {ask: ask{path: "/v1/events/a", header: "Idempotency-Key: a b"}},
		"invalid-key":             {ask: ask{path: "/v1/events/a", body: `{"k":"\n"}`}, options: keyFrom},
		"invalid-type":            {ask: ask{path: "/v1/events/a..b"}},
		"invalid-envelope":        {ask: ask{path: "/v1/events", body: "{}"}},
		"invalid-cloudevent":      {ask: ask{path: "/v1/events", header: structured, body: "{}"}},
		"invalid-batch":           {ask: ask{path: "/v1/events", header: ndjson, body: "{}"}},
		"invalid-data":            {ask: ask{path: "/v1/events/order.paid", body: "{}"}, options: withSchema(t, `{"required":["id"]}`)},
		"unknown-subscription":    {ask: ask{path: "/v1/events/a", header: "Relay-Subscriptions: x", body: "1"}, engine: refuses(&relay.UnknownSubscriptionError{Name: "x"})},
		"key-reused":              {ask: ask{path: "/v1/events/a", body: "1"}, engine: refuses(relay.ErrKeyReused)},
		"batch-too-large":         {ask: ask{path: "/v1/events/a", body: "1"}, engine: refuses(&relay.BatchTooLargeError{})},
		"store-full":              {ask: ask{path: "/v1/events/a", body: "1"}, engine: func(s *setup) { s.engine.down = relay.ErrFull }},
		"store-failed":            {ask: ask{path: "/v1/events/a", body: "1"}, engine: fails(relay.ErrBroken)},
		"not-ready":               {ask: ask{path: "/v1/events/a", body: "1"}, engine: fails(relay.ErrClosed)},
		"internal-error":          {ask: ask{path: "/v1/events/a", body: "1"}, engine: fails(io.ErrNoProgress)},
	}
	for _, p := range ProblemTypes() {
		t.Run(p.Slug, func(t *testing.T) {
			c, ok := cases[p.Slug]
			if !ok {
				t.Fatal("nothing here makes it happen")
			}
			var options []func(*Options)
			if c.options != nil {
				options = append(options, c.options)
			}
			s := newSetup(t, options...)
			if c.engine != nil {
				c.engine(s)
			}
			if c.body != nil {
				c.ask = ask{path: "/v1/events/a"}
			}
			r := c.ask.request()
			if c.body != nil {
				r.Body = io.NopCloser(c.body)
			}
			w := httptest.NewRecorder()
			s.ServeHTTP(w, r)
			got := problemOf(t, w)
			equal(t, "type", got.Type, p.URI())
			equal(t, "title", got.Title, p.Title)
			equal(t, "status", got.Status, p.Status)
			if r.Method == http.MethodPost {
				equal(t, "reason", s.tally.rejected, []string{p.Slug})
			}
			if (p.Status == 503 || p.Status == 429) && w.Header().Get("Retry-After") == "" {
				t.Error("no Retry-After")
			}
			// A refusal is never empty of advice, and never ends half-way.
			if !strings.HasSuffix(got.Detail, ".") {
				t.Errorf("detail %q", got.Detail)
			}
			s.elsewhere(c.ask, c.body)
		})
	}
}

// elsewhere puts the same question to all paths. What they answer must be in the OpenAPI
// document, against which it is held, and is what that must have seen at the end.
func (s *setup) elsewhere(a ask, body io.Reader) {
	if s.engine.inspect == nil && a.method == "" {
		s.engine.inspect = func(string) (*relay.Event, []relay.Delivery, error) {
			return &relay.Event{ID: "evt_0", Type: "a", ContentType: "application/json", Accepted: time.Unix(1, 0)}, nil, nil
		}
	}
	for _, to := range []struct{ method, path string }{
		{"POST", "/v1/events"},
		{"POST", "/v1/events/order.paid"},
		{"GET", "/v1/events/evt_0"},
		{"HEAD", "/v1/events/evt_0"},
		{"GET", "/v1/event-types"},
		{"HEAD", "/v1/event-types"},
		{"HEAD", "/readyz"},
	} {
		a := a
		a.method, a.path = to.method, to.path
		if to.path == "/v1/events" && json.Valid([]byte(a.body)) {
			a.body = `{"type":"order.paid","data":` + a.body + `}`
		}
		r := a.request()
		if body != nil && to.method == "POST" {
			r.Body = io.NopCloser(body)
		}
		s.ServeHTTP(httptest.NewRecorder(), r)
	}
}

type errReader struct{ err error }

func (r errReader) Read([]byte) (int, error) { return 0, r.err }

func TestProblemTable(t *testing.T) {
	slug := regexp.MustCompile(`^[a-z0-9]+(-[a-z0-9]+)*$`)
	seen := map[string]bool{}
	for _, p := range ProblemTypes() {
		if !slug.MatchString(p.Slug) || p.Title == "" || p.Description == "" || p.Status < 400 || seen[p.Slug] {
			t.Errorf("%+v", p)
		}
		seen[p.Slug] = true
	}
}

// What a request says comes back cut short, and cannot break the JSON.
func TestProblemsDoNotEchoMuch(t *testing.T) {
	long := strings.Repeat("x\"\\<é", 50_000)
	for _, a := range []ask{
		{path: "/v1/events", host: long},
		{path: "/v1/events", header: "Origin: " + long},
		{path: "/v1/events", header: "Sec-Fetch-Site: " + long},
		{path: "/v1/events", header: "X-Forwarded-" + strings.Repeat("x", 100_000) + ": 1"},
		{path: "/v1/events", header: "Content-Type: " + long},
		{path: "/v1/events", header: "Content-Encoding: " + long},
		{path: "/v1/events", header: "Idempotency-Key: " + long},
		{path: "/v1/" + strings.Repeat("x", 100_000)},
		{path: "/v1/events/" + strings.Repeat("x", 100_000)},
		{path: "/v1/events/" + strings.Repeat(".", 250)},
		{path: "/v1/events", body: `{"` + strings.Repeat("x", 100_000) + `":1}`},
		{path: "/v1/events", body: `{"time":"` + strings.Repeat("x", 100_000) + `"}`},
		{path: "/v1/events/a", body: `{"` + strings.Repeat("x", 100_000) + `":x}`},
		{path: "/v1/events", header: "ce-id: x\nce-" + long[:1000] + ": " + long},
		{path: "/v1/events", header: structured, body: `{"` + strings.Repeat("x", 100_000) + `":[]}`},
		{path: "/v1/events", header: structured, body: ce("1", `"datacontenttype":"`+strings.Repeat("x", 100_000)+`"`)},
		{path: "/v1/events", header: ndjson, body: strings.Repeat(`{"`+strings.Repeat("x", 100_000)+`":1}`+"\n", 20)},
	} {
		w := newSetup(t).do(a)
		if n := w.Body.Len(); n > 2500 {
			t.Errorf("%.40q: %d bytes", a.path+a.header+a.body, n)
		}
		problemOf(t, w)
	}
}
