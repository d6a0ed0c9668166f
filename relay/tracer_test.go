package relay_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/caddyrelay/caddyrelay/relay"
	"github.com/caddyrelay/caddyrelay/storage/storagetest"
)

// spanKey is where a recorder leaves its span in a context.
type spanKey struct{}

// recorder notes what it is told, as lines.
type recorder struct {
	mu    sync.Mutex
	lines []string
}

func (r *recorder) note(format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.lines = append(r.lines, fmt.Sprintf(format, args...))
}

func (r *recorder) all() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.lines)
}

func (r *recorder) Publishing(ctx context.Context, events int) (context.Context, func([]relay.Receipt, error)) {
	return ctx, func(receipts []relay.Receipt, err error) {
		r.note("published %d of %d, %v", len(receipts), events, err)
	}
}

func (r *recorder) Attempting(ctx context.Context, e *relay.Event, s *relay.Subscription, number int) (context.Context, func(relay.Attempt)) {
	name := fmt.Sprintf("%s %s %d", e.Type, s.Name, number)
	return context.WithValue(ctx, spanKey{}, name), func(a relay.Attempt) {
		r.note("%s: %d %s after %s", name, a.Status, a.ErrorKind, a.Duration)
	}
}

func (r *recorder) Waited(e *relay.Event, s *relay.Subscription, since time.Time, how relay.Waited) {
	r.note("%s %s waited %s: %s", e.Type, s.Name, time.Since(since), how)
}

func TestWaitIsASpan(t *testing.T) {
	run(t, func(w *world) {
		traced := new(recorder)
		place := newCDN()
		crm := subscription("crm", &receiver{})
		crm.WaitFor = &relay.WaitFor{
			URL: crm.URL, Until: until("response.json.n >= 7"), Transport: place, Timeout: time.Minute,
		}
		p, err := relay.NewPlan(relay.PlanOptions{Subscriptions: []*relay.Subscription{crm}, Tracer: traced})
		if err != nil {
			t.Fatal(err)
		}
		w.attach(p)
		w.publish("first", "1")
		w.wait(3 * time.Second)
		place.revision.Store(7)
		w.wait(time.Minute)
		place.revision.Store(0)
		w.publish("second", "1")
		w.wait(time.Hour)
		want := []string{
			"published 1 of 1, <nil>", "first crm waited 4s: ready", "first crm 1: 200  after 0s",
			"published 1 of 1, <nil>", "second crm waited 1m0s: timeout", "second crm 1: 200  after 0s",
		}
		if got := traced.all(); !slices.Equal(got, want) {
			t.Errorf("%q, want %q", got, want)
		}
	})
}

func TestEveryAttemptIsASpan(t *testing.T) {
	run(t, func(w *world) {
		traced := new(recorder)
		var seen []any
		crm := subscription("crm", &receiver{answer: func(n int, r *http.Request) (*http.Response, error) {
			seen = append(seen, r.Context().Value(spanKey{}))
			time.Sleep(time.Second)
			switch n {
			case 1:
				return nil, errors.New("nonsense")
			case 2:
				panic("a guest")
			}
			return answer(200), nil
		}})
		crm.Retry.Delays = []time.Duration{time.Second, time.Second}
		p, err := relay.NewPlan(relay.PlanOptions{Subscriptions: []*relay.Subscription{crm}, Tracer: traced})
		if err != nil {
			t.Fatal(err)
		}
		w.attach(p)
		w.publishTraced("order.paid")
		w.wait(time.Minute)
		want := []string{
			"published 1 of 1, <nil>",
			"order.paid crm 1: 0 protocol after 1s", "order.paid crm 2: 0 panic after 1s", "order.paid crm 3: 200  after 1s",
		}
		if got := traced.all(); !slices.Equal(got, want) {
			t.Errorf("%q, want %q", got, want)
		}
		if len(seen) != 3 || seen[0] == nil {
			t.Errorf("requests were made in the contexts %v", seen)
		}
	})
}

// Whoever sent the event has decided that its trace is not recorded.
func TestEventThatIsNotSampledHasNoSpans(t *testing.T) {
	for flags, want := range map[string]bool{"00": false, "01": true, "02": false, "03": true, "ff": true, "0a": false} {
		e := relay.Event{TraceParent: "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-" + flags}
		if got := e.Sampled(); got != want {
			t.Errorf("flags %s: sampled is %v", flags, got)
		}
	}
	run(t, func(w *world) {
		traced := new(recorder)
		p, err := relay.NewPlan(relay.PlanOptions{Subscriptions: []*relay.Subscription{subscription("crm", &receiver{})}, Tracer: traced})
		if err != nil {
			t.Fatal(err)
		}
		w.attach(p)
		_, err = w.engine.Publish(t.Context(), []relay.Publication{{Event: &relay.Event{
			Type: "order.paid", TraceParent: "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00",
		}}}, nil)
		if err != nil {
			t.Fatal(err)
		}
		w.publish("nobody.traces", "1") // an event without a trace begins one
		w.wait(time.Minute)
		want := []string{"published 1 of 1, <nil>", "published 1 of 1, <nil>", "nobody.traces crm 1: 200  after 0s"}
		if got := traced.all(); !slices.Equal(got, want) {
			t.Errorf("%q, want %q", got, want)
		}
	})
}

// BenchmarkDelivery is one event on its whole way through the engine, with a store in memory
// and an endpoint that is a function.
func BenchmarkDelivery(b *testing.B) {
	for name, tracer := range map[string]relay.Tracer{"untraced": nil, "traced": idleTracer{}} {
		b.Run(name, func(b *testing.B) {
			delivered := make(chan struct{}, 1)
			crm := benched("crm", transport(func(*http.Request) (*http.Response, error) {
				delivered <- struct{}{}
				return answer(200), nil
			}))
			engine, err := relay.Open(context.Background(), storagetest.NewMemory(time.Now), relay.Options{})
			if err != nil {
				b.Fatal(err)
			}
			defer engine.Close()
			plan, err := relay.NewPlan(relay.PlanOptions{Subscriptions: []*relay.Subscription{crm}, Tracer: tracer})
			if err != nil {
				b.Fatal(err)
			}
			engine.Attach(plan)
			b.ReportAllocs()
			for b.Loop() {
				_, err := engine.Publish(context.Background(), []relay.Publication{{Event: &relay.Event{Type: "a", Data: []byte("1")}}}, nil)
				if err != nil {
					b.Fatal(err)
				}
				<-delivered
			}
		})
	}
}

// idleTracer is there and traces nothing.
type idleTracer struct{}

func (idleTracer) Publishing(ctx context.Context, _ int) (context.Context, func([]relay.Receipt, error)) {
	return ctx, nil
}

func (idleTracer) Attempting(ctx context.Context, _ *relay.Event, _ *relay.Subscription, _ int) (context.Context, func(relay.Attempt)) {
	return ctx, nil
}

func (idleTracer) Waited(*relay.Event, *relay.Subscription, time.Time, relay.Waited) {}
