package intake

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/caddyrelay/caddyrelay/relay"
)

// Every type of the table is what some request is answered with.
func TestEveryProblemHappens(t *testing.T) {
	for _, p := range ProblemTypes() {
		t.Run(p.Slug, func(t *testing.T) {
			o, ok := occurrences[p.Slug]
			if !ok {
				t.Fatal("nothing here makes it happen")
			}
			s, a := o.setup(t)
			w, r := httptest.NewRecorder(), o.request(a)
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
			s.elsewhere(o, a)
		})
	}
}

// elsewhere puts the same question to all paths. What they answer must be in the OpenAPI
// document, against which it is held, and is what that must have seen at the end.
func (s *setup) elsewhere(o occurrence, a ask) {
	if s.engine.inspect == nil && a.method != http.MethodGet {
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
		s.ServeHTTP(httptest.NewRecorder(), o.request(a))
	}
}

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
