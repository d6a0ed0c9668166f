package relay_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddyrelay/caddyrelay/relay"
	"github.com/caddyrelay/caddyrelay/relay/topic"
	"github.com/caddyrelay/caddyrelay/storage/storagetest"
)

// receiver is an endpoint without a network. It keeps what it was sent.
type receiver struct {
	mu       sync.Mutex
	requests []received
	// answer decides about the n-th request, from 1; nil: always 200.
	answer func(n int, r *http.Request) (*http.Response, error)
}

type received struct {
	at     time.Time
	url    string
	header http.Header
	body   string
}

func (e *receiver) RoundTrip(r *http.Request) (*http.Response, error) {
	var body []byte
	if r.Body != nil {
		body, _ = io.ReadAll(r.Body)
	}
	e.mu.Lock()
	e.requests = append(e.requests, received{at: time.Now(), url: r.URL.String(), header: r.Header.Clone(), body: string(body)})
	n := len(e.requests)
	e.mu.Unlock()
	if e.answer == nil {
		return answer(200), nil
	}
	return e.answer(n, r)
}

func (e *receiver) all() []received {
	e.mu.Lock()
	defer e.mu.Unlock()
	return append([]received(nil), e.requests...)
}

// answer makes a response; header lines are "Name: value".
func answer(status int, header ...string) *http.Response {
	h := make(http.Header)
	for _, line := range header {
		name, value, _ := strings.Cut(line, ": ")
		h.Set(name, value)
	}
	return &http.Response{StatusCode: status, Header: h, Body: io.NopCloser(bytes.NewReader([]byte("because")))}
}

// world is an engine on a store in memory, in virtual time.
type world struct {
	t      *testing.T
	memory *storagetest.Memory
	store  relay.Store
	engine *relay.Relay
	// active is the plan that was attached last.
	active *relay.Plan
}

// run opens a world inside a bubble of virtual time and closes it at the end.
func run(t *testing.T, test func(w *world)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w := &world{t: t, memory: storagetest.NewMemory(time.Now)}
		w.store = w.memory
		w.open()
		defer func() { // also where the test gave up
			if err := w.engine.Close(); err != nil {
				t.Errorf("closing: %v", err)
			}
			time.Sleep(time.Second) // for stores of tests that take their time to read
		}()
		test(w)
	})
}

func (w *world) open() {
	w.t.Helper()
	engine, err := relay.Open(context.Background(), w.store, relay.Options{})
	if err != nil {
		w.t.Fatal(err)
	}
	w.engine = engine
}

// restart closes the engine and opens another one on what the store holds.
func (w *world) restart() {
	w.t.Helper()
	w.stop()
	w.open()
}

// stop closes the engine. The next one opens what the store holds; a test may put a store of
// its own before that.
func (w *world) stop() {
	w.t.Helper()
	if err := w.engine.Close(); err != nil {
		w.t.Fatal(err)
	}
	w.memory = w.memory.Reopen()
	w.store = w.memory
}

// attach makes a plan the active one, in place of that before, as a reload does.
func (w *world) attach(p *relay.Plan) {
	w.engine.Attach(p)
	if w.active != nil {
		w.engine.Detach(w.active)
	}
	w.active = p
}

// plan makes a plan of subscriptions and attaches it.
func (w *world) plan(subscriptions ...*relay.Subscription) *relay.Plan {
	w.t.Helper()
	p, err := relay.NewPlan(relay.PlanOptions{Subscriptions: subscriptions, UserAgent: "caddy-relay/test"})
	if err != nil {
		w.t.Fatal(err)
	}
	w.attach(p)
	return p
}

// subscription makes one without jitter, so that times can be compared.
func subscription(name string, to http.RoundTripper, topics ...string) *relay.Subscription {
	s := &relay.Subscription{
		Name: name, URL: &url.URL{Scheme: "https", Host: "example.com", Path: "/hook"}, Transport: to,
	}
	for _, text := range topics {
		p, err := topic.Parse(text)
		if err != nil {
			panic(err)
		}
		s.Topics = append(s.Topics, p)
	}
	return s
}

// publish posts one event and returns its receipt.
func (w *world) publish(typ, data string) relay.Receipt {
	w.t.Helper()
	receipts, err := w.engine.Publish(context.Background(), []relay.Publication{
		{Event: &relay.Event{Type: typ, ContentType: "application/json", Data: []byte(data)}},
	}, nil)
	if err != nil {
		w.t.Fatal(err)
	}
	return receipts[0]
}

// wait lets virtual time pass, and everything that is due in it happen.
func (w *world) wait(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

// delivery returns how the only delivery of an event stands.
func (w *world) delivery(id string) relay.Delivery {
	w.t.Helper()
	_, deliveries, err := w.engine.Inspect(context.Background(), id)
	if err != nil {
		w.t.Fatal(err)
	}
	if len(deliveries) != 1 {
		w.t.Fatalf("%s has %d deliveries, want 1", id, len(deliveries))
	}
	return deliveries[0]
}

// status returns that of one subscription.
func (w *world) status(name string) relay.SubscriptionStatus {
	w.t.Helper()
	all, err := w.engine.Status(context.Background())
	if err != nil {
		w.t.Fatal(err)
	}
	for _, s := range all {
		if s.Name == name {
			return s
		}
	}
	w.t.Fatalf("no status of %q in %+v", name, all)
	panic("unreachable")
}

// expect compares a delivery's state, reason and number of attempts.
func (w *world) expect(id string, state relay.State, reason relay.Reason, attempts int) {
	w.t.Helper()
	d := w.delivery(id)
	got := fmt.Sprintf("%s/%s/%d", d.State, d.Reason, d.AttemptCount)
	if want := fmt.Sprintf("%s/%s/%d", state, reason, attempts); got != want {
		w.t.Errorf("delivery of %s is %s, want %s", id, got, want)
	}
}
