package relay_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddyrelay/caddyrelay/relay"
	"github.com/caddyrelay/caddyrelay/storage/storagetest"
)

// exported returns all that an engine gives out.
func exported(t *testing.T, r *relay.Relay, all bool) (events []relay.Moved, keys []relay.MovedKey) {
	t.Helper()
	ctx := context.Background()
	seqs, err := r.Exportable(ctx, all)
	if err != nil {
		t.Fatal(err)
	}
	for _, seq := range seqs {
		m, unfinished, err := r.Export(ctx, seq)
		if err != nil {
			t.Fatal(err)
		}
		if all || unfinished {
			events = append(events, m)
		}
	}
	for after := (*relay.KeyHash)(nil); ; {
		page, next, err := r.ExportKeys(ctx, after, 2)
		if err != nil {
			t.Fatal(err)
		}
		keys = append(keys, page...)
		if after = next; next == nil {
			return events, keys
		}
	}
}

// elsewhere is another world in the same time, which ends with the first.
func (w *world) elsewhere() *world {
	w.t.Helper()
	other := &world{t: w.t, memory: storagetest.NewMemory(time.Now)}
	other.store = other.memory
	other.open()
	return other
}

func (w *world) close() {
	w.t.Helper()
	if err := w.engine.Close(); err != nil {
		w.t.Error(err)
	}
}

func (w *world) take(events []relay.Moved) int {
	w.t.Helper()
	n, err := w.engine.Import(context.Background(), events)
	if err != nil {
		w.t.Fatal(err)
	}
	return n
}

// history returns how the deliveries of an event stand, with their attempts.
func (w *world) history(id string) string {
	w.t.Helper()
	e, deliveries, err := w.engine.Inspect(context.Background(), id)
	if err != nil {
		w.t.Fatal(err)
	}
	var lines []string
	for _, d := range deliveries {
		line := fmt.Sprintf("%s %s %s/%s %d:", e.Accepted.Format(time.TimeOnly), d.Subscription, d.State, d.Reason, d.AttemptCount)
		for _, a := range d.Attempts {
			line += fmt.Sprintf(" %d=%d %s", a.Number, a.Status, a.Excerpt)
		}
		lines = append(lines, line)
	}
	return strings.Join(lines, "\n")
}

// What was not delivered is delivered by the other engine, when it was due here; what was
// delivered or given up stays so; receivers see the same IDs.
func TestMovedEventsGoOnElsewhere(t *testing.T) {
	run(t, func(w *world) {
		sick := func() *receiver {
			return &receiver{answer: func(int, *http.Request) (*http.Response, error) { return answer(500), nil }}
		}
		plan := func(to *world, well, held, failing, retrying *receiver) {
			a, b, c, d := subscription("well", well), subscription("held", held), subscription("failing", failing), subscription("retrying", retrying)
			c.Retry.Off = true
			d.Retry.Delays = []time.Duration{time.Minute, time.Hour}
			by := placeholder("{event.type}")
			b.OrderBy = &by
			to.plan(a, b, c, d)
		}
		well, retrying := new(receiver), sick()
		plan(w, well, new(receiver), sick(), retrying)
		if _, err := w.engine.Pause(context.Background(), "held", "we move"); err != nil {
			t.Fatal(err)
		}
		var ids []string
		for i := range 3 {
			ids = append(ids, w.publish("order.paid", fmt.Sprint(i)).ID)
			w.wait(time.Second)
		}
		w.wait(time.Minute)
		before := make(map[string]string)
		for _, id := range ids {
			before[id] = w.history(id)
		}
		steering := w.engine.ExportSteering()
		events, _ := exported(t, w.engine, false)
		w.close()
		if len(events) != 3 || len(steering) != 1 {
			t.Fatalf("%d events and %v were given out; want 3, and the pause", len(events), steering)
		}

		other := w.elsewhere()
		defer other.close()
		newWell, newHeld, newFailing, newRetrying := new(receiver), new(receiver), new(receiver), new(receiver)
		plan(other, newWell, newHeld, newFailing, newRetrying)
		for _, s := range steering {
			if err := other.engine.ImportSteering(context.Background(), s); err != nil {
				t.Fatal(err)
			}
		}
		if n := other.take(events); n != 3 {
			t.Fatalf("%d were taken; want 3", n)
		}
		if n := other.take(events); n != 0 {
			t.Errorf("%d were taken twice", n)
		}
		other.wait(time.Second)
		for _, id := range ids {
			if got := other.history(id); got != before[id] {
				t.Errorf("%s stood as\n%s\nand now as\n%s", id, before[id], got)
			}
		}
		if got := other.status("held"); got.Pending != 3 || got.State != relay.SubscriptionPaused || got.Detail != "we move" {
			t.Errorf("%+v", got)
		}
		if got := other.status("failing"); got.Pending != 0 || got.Failed != 3 {
			t.Errorf("%+v", got)
		}

		if _, err := other.engine.Resume(context.Background(), "held"); err != nil {
			t.Fatal(err)
		}
		other.wait(2 * time.Hour)
		for name, r := range map[string]*receiver{"held": newHeld, "retrying": newRetrying} {
			var got []string
			for _, q := range r.all() {
				got = append(got, q.header.Get("webhook-id"))
			}
			if !slices.Equal(got, ids) {
				t.Errorf("%s got %v; want %v", name, got, ids)
			}
		}
		if q := newRetrying.all(); len(q) > 0 && q[0].header.Get("Relay-Attempt") != "3" {
			t.Errorf("the next attempt is numbered %s; want 3", q[0].header.Get("Relay-Attempt"))
		}
		if n := len(newWell.all()) + len(newFailing.all()); n != 0 {
			t.Errorf("%d that were finished were sent again", n)
		}
		other.expectPending(0)
	})
}

func (w *world) expectPending(want uint64) {
	w.t.Helper()
	if got := w.engine.Unfinished(); got != want {
		w.t.Errorf("%d are unfinished; want %d", got, want)
	}
}

// A crash after the events were stored, and before anything else was, repeats no delivery.
func TestACrashDuringAnImportRepeatsNothing(t *testing.T) {
	run(t, func(w *world) {
		well := new(receiver)
		held := subscription("held", new(receiver))
		held.Paused = true
		w.plan(subscription("well", well), held)
		for i := range 50 {
			w.publish("order.paid", fmt.Sprint(i))
		}
		w.wait(time.Minute)
		events, _ := exported(t, w.engine, true)

		target := storagetest.NewMemory(time.Now)
		if n, err := target.Adopt(context.Background(), events, func([]relay.Moved) {}); err != nil || n != 50 {
			t.Fatalf("%d, %v", n, err) // the engine was never told
		}
		other := &world{t: t, memory: target, store: target}
		other.open()
		newWell, newHeld := new(receiver), new(receiver)
		other.plan(subscription("well", newWell), subscription("held", newHeld))
		other.wait(time.Minute)
		if n := len(newWell.all()); n != 0 {
			t.Errorf("%d were delivered again", n)
		}
		if n := len(newHeld.all()); n != 50 {
			t.Errorf("%d were delivered that had not been; want 50", n)
		}
		other.expectPending(0)
		other.restart()
		other.plan(subscription("well", newWell), subscription("held", newHeld))
		other.wait(time.Minute)
		if n, m := len(newWell.all()), len(newHeld.all()); n != 0 || m != 50 {
			t.Errorf("after a restart %d and %d were delivered", n, m)
		}
		other.close()
	})
}

// adopted has a store take events of an engine that was never told of them, as when the process
// ends in the middle of an import, and opens it again.
func (w *world) adopted(events []relay.Moved) {
	w.t.Helper()
	w.close()
	w.memory = w.memory.Reopen()
	if n, err := w.memory.Adopt(context.Background(), events, func([]relay.Moved) {}); err != nil || n != len(events) {
		w.t.Fatalf("%d, %v", n, err)
	}
	time.Sleep(time.Hour) // what is in retry is due
	w.store = w.memory
	w.open()
}

// waitingAt publishes n events to a subscription that is held, and exports them.
func (w *world) waitingAt(s *relay.Subscription, n int) []relay.Moved {
	w.t.Helper()
	s.Paused = true
	w.plan(s)
	for i := range n {
		w.publish("x", keyed("a", i))
	}
	events, _ := exported(w.t, w.engine, false)
	w.close()
	return events
}

// Where something is in retry and more waits in the log, what was adopted before the crash is found
// by both who read the store: it is delivered once, and in the order of its key.
func TestACrashDuringAnImportBesideABacklog(t *testing.T) {
	for name, of := range map[string]func(string, http.RoundTripper) *relay.Subscription{
		"plain": func(name string, to http.RoundTripper) *relay.Subscription { return subscription(name, to) }, "in order": ordered,
	} {
		t.Run(name, func(t *testing.T) {
			run(t, func(w *world) {
				events := w.waitingAt(of("crm", new(receiver)), 5)
				other := w.elsewhere()
				subscribe := func(to http.RoundTripper, paused bool) {
					s := of("crm", to)
					s.Retry.Delays = []time.Duration{time.Minute, time.Minute, time.Minute}
					s.Breaker.Off, s.MaxInFlight, s.Paused = true, 4, paused
					other.plan(s)
				}
				var down atomic.Bool
				down.Store(true)
				subscribe(failingWhile(&down), false)
				other.publish("x", keyed("b", 0))
				other.wait(time.Second)
				subscribe(failingWhile(&down), true)
				for i := range 400 {
					other.publish("x", keyed(fmt.Sprint("c", i), i))
				}
				other.adopted(events)
				defer other.close()
				down.Store(name == "in order")
				failed, delivered := failingWhile(&down), &receiver{answer: func(int, *http.Request) (*http.Response, error) {
					time.Sleep(50 * time.Millisecond)
					return answer(200), nil
				}}
				if down.Load() {
					subscribe(failed, false)
					other.wait(5 * time.Second)
					if got := sequences(t, failed.all())["a"]; !slices.Equal(got, []int{0}) {
						t.Errorf("of one key %v were sent while the first failed", got)
					}
				}
				subscribe(delivered, false)
				other.wait(time.Hour)
				other.expectPending(0)
				if n := len(delivered.all()); n != 406 {
					t.Errorf("%d were delivered, want 406", n)
				}
				if got := sequences(t, delivered.all())["a"]; name == "in order" && !slices.Equal(got, []int{0, 1, 2, 3, 4}) {
					t.Errorf("of one key were delivered %v", got)
				}
			})
		})
	}
}

// What was adopted before the crash is given up once.
func TestDropAfterACrashDuringAnImport(t *testing.T) {
	run(t, func(w *world) {
		events := w.waitingAt(subscription("crm", new(receiver)), 5)
		other := w.elsewhere()
		held := subscription("crm", new(receiver))
		held.Paused = true
		other.plan(held)
		other.publish("x", "1")
		other.adopted(events)
		defer other.close()
		other.plan(held)
		for range 2 {
			got, err := other.engine.Drop(context.Background(), "crm")
			if err != nil || got.Pending != 0 || got.Failed != 6 {
				t.Errorf("%+v, %v; want that six have failed", got, err)
			}
			other.wait(time.Second)
		}
		for i := range events {
			if d := other.delivery(events[i].Event.ID); d.State != relay.StateFailed || d.Reason != relay.ReasonDropped {
				t.Errorf("%d is %s (%s)", i, d.State, d.Reason)
			}
		}
		other.restart()
		other.plan(held)
		other.wait(time.Second)
		if got := other.status("crm"); got.Pending != 0 || got.Failed != 6 {
			t.Errorf("after a restart %+v", got)
		}
	})
}

// What is imported stands behind those of its key that wait in the log already.
func TestImportBehindABacklogOfItsKey(t *testing.T) {
	run(t, func(w *world) {
		events := w.waitingAt(ordered("crm", new(receiver)), 3)
		other := w.elsewhere()
		defer other.close()
		to := new(receiver)
		held := ordered("crm", to)
		held.Paused = true
		other.plan(held)
		for n := range 3 {
			other.publish("x", keyed("a", 10+n))
		}
		if n := other.take(events); n != 3 {
			t.Fatalf("%d were taken", n)
		}
		other.plan(ordered("crm", to))
		other.wait(time.Hour)
		if got := sequences(t, to.all())["a"]; !slices.Equal(got, []int{10, 11, 12, 0, 1, 2}) {
			t.Errorf("delivered were %v", got)
		}
		other.expectPending(0)
	})
}

// Events are taken while others are accepted and delivered.
func TestImportUnderTraffic(t *testing.T) {
	run(t, func(w *world) {
		held := subscription("crm", new(receiver))
		held.Paused = true
		w.plan(held)
		want := make(map[string]int)
		for i := range 500 {
			want[w.publish("order.paid", fmt.Sprint(i)).ID] = 1
		}
		events, _ := exported(t, w.engine, false)

		other := w.elsewhere()
		defer other.close()
		r := new(receiver)
		s := subscription("crm", r)
		s.MaxInFlight = 4
		other.plan(s)
		imported := make(chan bool)
		go func() {
			defer close(imported)
			for part := range slices.Chunk(events, 7) {
				other.take(part)
			}
		}()
		for i := range 500 {
			want[other.publish("order.late", fmt.Sprint(i)).ID] = 1
		}
		<-imported
		other.wait(time.Minute)
		for _, q := range r.all() {
			want[q.header.Get("webhook-id")]--
		}
		for id, n := range want {
			if n != 0 {
				t.Errorf("%s was delivered %d times", id, 1-n)
			}
		}
		other.expectPending(0)
	})
}

func TestMovedKeysAndErasureStay(t *testing.T) {
	run(t, func(w *world) {
		w.plan(subscription("crm", new(receiver)))
		ctx := context.Background()
		publish := func(to *world, key, data string) (relay.Receipt, error) {
			receipts, err := to.engine.Publish(ctx, []relay.Publication{{
				Event: &relay.Event{Type: "order.paid", ContentType: "application/json", Data: []byte(data)},
				Key:   &relay.Key{Kind: relay.KeyHeader, Text: key, Sum: [32]byte{data[0]}},
			}}, nil)
			if err != nil {
				return relay.Receipt{}, err
			}
			return receipts[0], nil
		}
		var first []relay.Receipt
		for i := range 5 {
			r, err := publish(w, fmt.Sprint("k-", i), fmt.Sprint(i))
			if err != nil {
				t.Fatal(err)
			}
			first = append(first, r)
		}
		if err := w.engine.Erase(ctx, first[0].ID); err != nil {
			t.Fatal(err)
		}
		events, keys := exported(t, w.engine, true)
		other := w.elsewhere()
		defer other.close()
		other.plan(subscription("crm", new(receiver)))
		other.take(events)
		if n, err := other.engine.ImportKeys(ctx, keys); err != nil || n != 5 {
			t.Errorf("%d keys were taken, %v", n, err)
		}
		for i, want := range first {
			got, err := publish(other, fmt.Sprint("k-", i), fmt.Sprint(i))
			if err != nil || got.ID != want.ID || !got.Duplicate {
				t.Errorf("%+v, %v; want a duplicate of %s", got, err, want.ID)
			}
		}
		if _, err := publish(other, "k-1", "other"); !errors.Is(err, relay.ErrKeyReused) {
			t.Errorf("%v; want ErrKeyReused", err)
		}
		e, _, err := other.engine.Inspect(ctx, first[0].ID)
		if err != nil || e.Erased.IsZero() || len(e.Data) > 0 {
			t.Errorf("%+v, %v; want it to stay erased", e, err)
		}
	})
}

// What waits for something outside goes on waiting with what is left of its time; what was
// newest in a debounce window is sent at its end.
func TestMovedEventsGoOnWaiting(t *testing.T) {
	run(t, func(w *world) {
		plan := func(to *world, waited, debounced *receiver) {
			a := waiting("a", waited, newCDN())
			a.WaitFor.Timeout = 10 * time.Minute
			b := subscription("b", debounced)
			b.Debounce = &relay.Debounce{Window: 10 * time.Minute, By: placeholder("{event.type}")}
			to.plan(a, b)
		}
		plan(w, new(receiver), new(receiver))
		start := time.Now()
		id := w.publish("entry.published", `{"n":1}`).ID
		w.wait(4 * time.Minute)
		events, _ := exported(t, w.engine, false)
		w.close()

		other := w.elsewhere()
		defer other.close()
		waited, debounced := new(receiver), new(receiver)
		plan(other, waited, debounced)
		if n := other.take(events); n != 1 {
			t.Fatalf("%d were taken", n)
		}
		other.wait(5 * time.Minute)
		if n := len(waited.all()) + len(debounced.all()); n != 0 {
			t.Errorf("%d were sent early", n)
		}
		other.wait(time.Hour)
		for name, r := range map[string]*receiver{"wait_for": waited, "debounce": debounced} {
			got := r.all()
			if len(got) != 1 || got[0].header.Get("webhook-id") != id || got[0].at.Sub(start).Round(time.Minute) != 10*time.Minute {
				t.Errorf("%s: %+v; want it once, ten minutes after it was accepted", name, got)
			}
		}
		other.expectPending(0)
	})
}

// What is taken while a lane is read for the first time goes in its turn among those of its
// key, which nobody knows yet.
func TestMovedEventsWaitForTheOrderThatIsBeingRead(t *testing.T) {
	run(t, func(w *world) {
		var down atomic.Bool
		down.Store(true)
		retried := func(to http.RoundTripper) *relay.Subscription {
			s := ordered("crm", to)
			s.Retry.Delays = []time.Duration{time.Hour, time.Hour}
			return s
		}
		w.plan(retried(failingWhile(&down)))
		for n := range 3 {
			w.publish("x", keyed("a", n))
		}
		w.wait(time.Minute)
		events, _ := exported(t, w.engine, false)
		w.close()

		other := w.elsewhere()
		defer other.close()
		to := failingWhile(&down)
		other.plan(retried(to))
		for n := range 3 {
			other.publish("x", keyed("a", 10+n))
		}
		other.wait(time.Minute)
		other.close()
		other.memory = other.memory.Reopen()
		other.store = &moving{sleepy{other.memory}, other.memory}
		other.open()
		down.Store(false)
		before := len(to.all())
		other.plan(retried(to))
		other.wait(30 * time.Second)
		if n := other.take(events); n != 3 {
			t.Fatalf("%d events were taken, want 3", n)
		}
		other.wait(3 * time.Hour)
		if got := fmt.Sprint(sequences(t, to.all()[before:])["a"]); got != "[10 11 12 0 1 2]" {
			t.Errorf("delivered were %s", got)
		}
	})
}

// moving is a slow store that takes events of others.
type moving struct {
	sleepy
	relay.Mover
}
