package console_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/net/html"

	"github.com/caddyrelay/caddyrelay/caddymodule/console"
	"github.com/caddyrelay/caddyrelay/relay"
	"github.com/caddyrelay/caddyrelay/relay/filter"
	"github.com/caddyrelay/caddyrelay/relay/topic"
	"github.com/caddyrelay/caddyrelay/storage/storagetest"
)

// world is a console of an engine on a store in memory.
type world struct {
	t      *testing.T
	engine *relay.Relay
	active *relay.Plan
	setup  *setup
	// answers is what each subscription's endpoint says.
	answers map[string]func() (*http.Response, error)
	options console.Options
	site    console.Site
}

// setup is a configuration.
type setup struct {
	names    []string
	warnings []string
	regions  []console.Region
	engine   *relay.Relay
}

func (*setup) Version() string             { return "v1.2.3" }
func (s *setup) Warnings() []string        { return s.warnings }
func (s *setup) Regions() []console.Region { return s.regions }
func (s *setup) Names() []string           { return s.names }

// Draft knows names only.
func (*setup) Draft(text string) (*relay.Subscription, error) {
	if strings.Contains(text, "wrong") {
		return nil, errors.New("something is <wrong>")
	}
	return &relay.Subscription{Name: "draft"}, nil
}

func (s *setup) Publish(ctx context.Context, typ string, data []byte) (string, error) {
	if typ == "refused" {
		return "", errors.New("the intake refuses it")
	}
	receipts, err := s.engine.Publish(ctx, []relay.Publication{{Event: &relay.Event{Type: typ, ContentType: "application/json", Data: data}}}, nil)
	if err != nil {
		return "", err
	}
	return receipts[0].ID, nil
}

func (s *setup) Subscription(name string) (console.Subscription, bool) {
	for _, n := range s.names {
		if n == name {
			return console.Subscription{
				URL: "https://example.com/{env.HOOK}", Warning: "",
				Settings: []console.Setting{
					{Word: "topics", Values: []string{"order.*"}, From: "subscription"},
					{Word: "secret_header", Values: []string{"X-Key ***"}, From: "subscription"},
					{Word: "sign", Values: []string{"standard secret={env.SECRET}"}, From: "defaults"},
					{Word: "header", From: "built-in"},
				},
			}, true
		}
	}
	return console.Subscription{}, false
}

func answer(status int, body string) func() (*http.Response, error) {
	return func() (*http.Response, error) {
		return &http.Response{StatusCode: status, Header: http.Header{}, Body: io.NopCloser(strings.NewReader(body))}, nil
	}
}

// run opens a world in virtual time, with four subscriptions: one that takes its
// deliveries, one that fails, one that is paused, and one that wants nothing of it.
func run(t *testing.T, test func(w *world)) {
	t.Helper()
	runOn(t, func() relay.Store { return storagetest.NewMemory(time.Now) }, test)
}

// runOn does the same on another store.
func runOn(t *testing.T, store func() relay.Store, test func(w *world)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		engine, err := relay.Open(context.Background(), store(), relay.Options{})
		if err != nil {
			t.Fatal(err)
		}
		defer engine.Close()
		w := &world{
			t: t, engine: engine, site: console.Site{Mount: "/"},
			setup: &setup{engine: engine, names: []string{"well", "sick", "paused", "filtered"}, regions: []console.Region{{
				Name:      "eu",
				Addresses: []console.Address{{Address: "192.0.2.10", Public: "198.51.100.10", Pinned: true, Up: false, Active: true, Error: "it is not on this machine"}},
			}}},
			answers: map[string]func() (*http.Response, error){
				"well": answer(200, "thanks"),
				"sick": answer(500, "<script>alert('answer')</script>"),
			},
		}
		w.options = console.Options{
			Engine: func(context.Context) (console.Engine, error) { return engine, nil },
			Setup:  w.setup,
		}
		w.attach()
		test(w)
	})
}

func (w *world) attach() {
	w.t.Helper()
	var subscriptions []*relay.Subscription
	for _, name := range w.setup.names {
		s := &relay.Subscription{
			Name: name, URL: &url.URL{Scheme: "https", Host: "example.com", Path: "/secret-path"},
			Retry: relay.RetryPolicy{Delays: []time.Duration{time.Second, time.Second}}, Breaker: relay.BreakerPolicy{Off: true},
			Header: []relay.HeaderRule{{Op: '=', Field: "X-Key", Value: "header-secret", Secret: true}},
			Transport: roundTripper(func() (*http.Response, error) {
				if answer := w.answers[name]; answer != nil {
					return answer()
				}
				return nil, errors.New("nobody is there")
			}),
		}
		switch name {
		case "paused":
			s.Paused, s.PausedReason = true, "until <b>Friday</b>"
		case "filtered":
			p, err := topic.Parse("order.*")
			if err != nil {
				w.t.Fatal(err)
			}
			s.Topics = []topic.Pattern{p}
			f, err := filter.Parse([]string{"customer.email", "equals", "nobody@example.com"})
			if err != nil {
				w.t.Fatal(err)
			}
			s.Filters = []*filter.Filter{f}
		case "structured":
			s.Format = relay.FormatStructured
			f, err := filter.Parse([]string{"customer", "exists"})
			if err != nil {
				w.t.Fatal(err)
			}
			s.Filters = []*filter.Filter{f}
		}
		subscriptions = append(subscriptions, s)
	}
	plan, err := relay.NewPlan(relay.PlanOptions{Subscriptions: subscriptions, UserAgent: "caddy-relay/test"})
	if err != nil {
		w.t.Fatal(err)
	}
	w.engine.Attach(plan)
	if w.active != nil {
		w.engine.Detach(w.active)
	}
	w.active = plan
}

type roundTripper func() (*http.Response, error)

func (f roundTripper) RoundTrip(*http.Request) (*http.Response, error) { return f() }

// publish sends an event, and waits until what follows of it at once is done.
func (w *world) publish(typ, data string) string {
	w.t.Helper()
	receipts, err := w.engine.Publish(context.Background(), []relay.Publication{{Event: &relay.Event{
		Type: typ, ContentType: "application/json", Data: []byte(data),
	}}}, nil)
	if err != nil {
		w.t.Fatal(err)
	}
	w.wait(time.Minute)
	return receipts[0].ID
}

func (w *world) wait(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

// request is one to the console from this machine, unless told otherwise.
func request(method, target string) *http.Request {
	r := httptest.NewRequest(method, "http://localhost:4665"+target, nil)
	return from(r, &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 4665})
}

// from lets a request arrive on an address.
func from(r *http.Request, addr net.Addr) *http.Request {
	return r.WithContext(context.WithValue(r.Context(), http.LocalAddrContextKey, addr))
}

var network = &net.TCPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 443}

// ask serves a request; nil if the console passes it on.
func (w *world) ask(r *http.Request) *httptest.ResponseRecorder {
	w.t.Helper()
	h, err := console.New(w.options)
	if err != nil {
		w.t.Fatal(err)
	}
	recorder := httptest.NewRecorder()
	if !h.Serve(recorder, r, w.site) {
		return nil
	}
	return recorder
}

// get returns a page that must be there.
func (w *world) get(target string) string {
	w.t.Helper()
	recorder := w.ask(request(http.MethodGet, target))
	if recorder == nil || recorder.Code != http.StatusOK {
		w.t.Fatalf("%s: %+v", target, recorder)
	}
	return recorder.Body.String()
}

// elements calls f for each element of a page.
func elements(t *testing.T, page string, f func(name string, attributes map[string]string)) {
	t.Helper()
	root, err := html.Parse(strings.NewReader(page))
	if err != nil {
		t.Fatal(err)
	}
	for n := range root.Descendants() {
		if n.Type != html.ElementNode {
			continue
		}
		attributes := make(map[string]string)
		for _, a := range n.Attr {
			attributes[a.Key] = a.Val
		}
		f(n.Data, attributes)
	}
}

// words returns the text of a page, without its elements.
func words(t *testing.T, page string) string {
	t.Helper()
	root, err := html.Parse(strings.NewReader(strings.ReplaceAll(page, "<wbr>", "")))
	if err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	for n := range root.Descendants() {
		if n.Type == html.TextNode {
			out.WriteString(n.Data + " ")
		}
	}
	return strings.Join(strings.Fields(out.String()), " ")
}

func (w *world) wants(target string, texts ...string) {
	w.t.Helper()
	page := words(w.t, w.get(target))
	for _, text := range texts {
		if !strings.Contains(page, text) {
			w.t.Errorf("%s does not say %q:\n%s", target, text, page)
		}
	}
}

func delivery(event, subscription string) string {
	return fmt.Sprintf("/events/%s/deliveries/%s", event, subscription)
}

// refused: the options are.
func (w *world) refused(want string) {
	w.t.Helper()
	if _, err := console.New(w.options); err == nil || !strings.HasPrefix(err.Error(), want) {
		w.t.Errorf("%+v: got %v, want %s...", w.options, err, want)
	}
}
