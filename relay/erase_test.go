package relay_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddyrelay/caddyrelay/relay"
)

// erase erases an event and checks that nothing shows its data any more.
func (w *world) erase(id string) {
	w.t.Helper()
	if err := w.engine.Erase(context.Background(), id); err != nil {
		w.t.Fatalf("erasing %s: %v", id, err)
	}
	e, deliveries, err := w.engine.Inspect(context.Background(), id)
	if err != nil || len(e.Data) > 0 || e.Erased.IsZero() {
		w.t.Errorf("%s has %q, erased %v; %v", id, e.Data, e.Erased, err)
	}
	for _, d := range deliveries {
		for _, a := range d.Attempts {
			if len(a.Excerpt) > 0 || a.Error != "" {
				w.t.Errorf("%s keeps of an attempt %q and %q", id, a.Excerpt, a.Error)
			}
		}
	}
}

// TestErasedEventsAreNotSent: wherever a delivery stands, erasing its event ends it, and
// nothing else.
func TestErasedEventsAreNotSent(t *testing.T) {
	for _, few := range []bool{false, true} { // with hardly any memory most is only in the store
		if few {
			defer relay.SetRetriesInMemory(2)()
			defer relay.SetQueueEntries(2)()
		}
		run(t, func(w *world) {
			down := true
			to := &receiver{answer: func(int, *http.Request) (*http.Response, error) {
				if down {
					return answer(500), nil
				}
				return answer(200), nil
			}}
			subscribe := func(paused bool) {
				s := ordered("crm", to)
				s.Retry.Delays = []time.Duration{time.Hour, time.Hour}
				s.Paused = paused
				w.plan(s)
			}
			subscribe(false)
			w.publish("x", keyed("delivered", 0))
			var retrying, heads, waiting, pending []string
			for i := range 10 {
				retrying = append(retrying, w.publish("x", fmt.Sprintf(`{"n":%d}`, i)).ID)
				heads = append(heads, w.publish("x", keyed(fmt.Sprint("line", i), 0)).ID)
				waiting = append(waiting, w.publish("x", keyed(fmt.Sprint("line", i), 1)).ID)
				w.publish("x", keyed(fmt.Sprint("line", i), 2))
			}
			w.wait(time.Second)
			subscribe(true)
			for i := range 10 {
				pending = append(pending, w.publish("x", fmt.Sprintf(`{"n":%d}`, 100+i)).ID)
			}
			w.wait(time.Second)

			for i := 0; i < 10; i += 2 {
				for _, ids := range [][]string{retrying, heads, waiting, pending} {
					w.erase(ids[i])
				}
			}
			check := func() {
				t.Helper()
				for i := 0; i < 10; i += 2 {
					w.expect(retrying[i], relay.StateFailed, relay.ReasonErased, 1)
					w.expect(heads[i], relay.StateFailed, relay.ReasonErased, 1)
					w.expect(waiting[i], relay.StateFailed, relay.ReasonErased, 0)
					w.expect(pending[i], relay.StateFailed, relay.ReasonErased, 0)
				}
				if got := w.status("crm"); got.Failed != 20 {
					t.Errorf("%d failed, want 20", got.Failed)
				}
			}
			check()
			if got := w.status("crm").Pending; got != 31 {
				t.Errorf("%d pending, want 31", got)
			}
			w.restart()
			check()
			before := len(to.all())
			down = false
			subscribe(false)
			w.wait(3 * time.Hour)
			check()
			var sent []string
			for _, r := range to.all()[before:] {
				sent = append(sent, r.header.Get("Webhook-Id"))
			}
			if got := w.status("crm").Pending; got != 0 || len(sent) != 31 {
				t.Errorf("%d were sent, %d are pending; want 31 and none", len(sent), got)
			}
			for i := 0; i < 10; i += 2 {
				for _, ids := range [][]string{retrying, heads, waiting, pending} {
					if strings.Contains(strings.Join(sent, " "), ids[i]) {
						t.Errorf("%s was sent after its erasure", ids[i])
					}
				}
			}
		})
	}
}

// spans is a store that notes the most spans that a commit had of a log, and that has read what it
// returns of a log a while ago.
type spans struct {
	relay.Store
	most atomic.Int64
	lag  time.Duration
}

func (s *spans) Read(ctx context.Context, name string, after uint64, limit, size int) ([]relay.Entry, error) {
	entries, err := s.Store.Read(ctx, name, after, limit, size)
	time.Sleep(s.lag)
	return entries, err
}

func (s *spans) Commit(ctx context.Context, updates []relay.Update) error {
	for i := range updates {
		s.most.Store(max(s.most.Load(), int64(len(updates[i].Progress.Done))))
	}
	return s.Store.Commit(ctx, updates)
}

// TestErasuresOutOfALongBacklog: where the log would be in too many pieces, what is erased ends in
// its turn. It is not sent, be it in memory by then, or in the store, or over a restart.
func TestErasuresOutOfALongBacklog(t *testing.T) {
	const most, n, first = 3, 40, 11
	defer relay.SetSpansMost(most)()
	defer relay.SetQueueEntries(4)()
	for _, test := range []struct {
		name            string
		held, restarted bool
		lag             time.Duration
	}{
		{"in memory", false, false, 0},
		{"just being read", false, false, 5 * time.Second},
		{"held", true, false, 0},
		{"held over a restart", true, true, 0},
		{"over a restart", false, true, 0},
	} {
		run(t, func(w *world) {
			w.stop()
			store := &spans{Store: w.memory, lag: test.lag}
			w.store = store
			w.open()
			to := &receiver{answer: func(int, *http.Request) (*http.Response, error) {
				time.Sleep(time.Second)
				return answer(200), nil
			}}
			subscribe := func(paused bool) *relay.Plan {
				s := subscription("crm", to)
				s.Paused, s.MaxInFlight = paused, 1
				return w.plan(s)
			}
			before := subscribe(test.held)
			var ids []string
			for i := range n {
				ids = append(ids, w.publish("x", fmt.Sprint(i)).ID)
			}
			w.wait(4500 * time.Millisecond) // the four in memory are gone, or nearly
			for i := first; i < n; i += 2 {
				if err := w.engine.Erase(context.Background(), ids[i]); err != nil {
					t.Fatal(err)
				}
			}
			if got := store.most.Load(); got > most {
				t.Errorf("%s: the log was in %d pieces, want at most %d", test.name, got, most)
			}
			if test.restarted {
				w.restart()
			}
			subscribe(false)
			if !test.restarted {
				w.engine.Detach(before)
			}
			w.wait(time.Hour)
			erased := func(i int) bool { return i >= first && i%2 == 1 }
			var failed uint64
			for i, id := range ids {
				if erased(i) {
					failed++
					w.expect(id, relay.StateFailed, relay.ReasonErased, 0)
				} else if d := w.delivery(id); d.State != relay.StateDelivered {
					t.Errorf("%s: %+v", test.name, d)
				}
			}
			for _, r := range to.all() {
				if i, err := strconv.Atoi(r.body); err != nil || erased(i) {
					t.Errorf("%s: %q was sent after its erasure (%v)", test.name, r.body, err)
				}
			}
			if got := w.status("crm"); got.Pending != 0 || got.Failed != failed {
				t.Errorf("%s: %+v", test.name, got)
			}
		})
	}
}

// TestErasureDuringAnAttempt: what is under way ends by itself. If it succeeds it is
// delivered; if not it is not made again, nor recorded with what it was answered.
func TestErasureDuringAnAttempt(t *testing.T) {
	for _, test := range []struct {
		status   int
		state    relay.State
		reason   relay.Reason
		attempts int
	}{
		{200, relay.StateDelivered, "", 1},
		{500, relay.StateFailed, relay.ReasonErased, 1},
		{410, relay.StateFailed, relay.ReasonErased, 1},
	} {
		run(t, func(w *world) {
			to := &receiver{answer: func(int, *http.Request) (*http.Response, error) {
				time.Sleep(5 * time.Second)
				return answer(test.status), nil
			}}
			s := subscription("crm", to)
			s.Timeout = time.Minute
			w.plan(s)
			id := w.publish("a", "1").ID
			w.wait(time.Second)
			w.erase(id)
			w.wait(time.Hour)
			w.erase(id) // again, and nothing of the answer is kept
			w.expect(id, test.state, test.reason, test.attempts)
			if n := len(to.all()); n != 1 {
				t.Errorf("%d requests, want 1", n)
			}
			if got := w.status("crm").Pending; got != 0 {
				t.Errorf("%d pending", got)
			}
		})
	}
}

// TestErasureThatACrashInterrupted: the data is gone and the deliveries are open. Whoever
// comes to one ends it.
func TestErasureThatACrashInterrupted(t *testing.T) {
	run(t, func(w *world) {
		to := &receiver{answer: func(int, *http.Request) (*http.Response, error) { return answer(500), nil }}
		s := subscription("crm", to)
		s.Retry.Delays = []time.Duration{time.Hour}
		w.plan(s)
		retrying := w.publish("a", "1")
		w.wait(time.Second)
		s = subscription("crm", to)
		s.Paused = true
		w.plan(s)
		pending := w.publish("a", "2")
		w.stop()
		for _, r := range []relay.Receipt{retrying, pending} {
			seq, _, err := relay.ParseID(r.ID)
			if err == nil {
				err = w.store.Erase(context.Background(), seq, nil)
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		w.open()
		before := len(to.all())
		w.plan(subscription("crm", to))
		w.wait(2 * time.Hour)
		w.expect(retrying.ID, relay.StateFailed, relay.ReasonErased, 1)
		w.expect(pending.ID, relay.StateFailed, relay.ReasonErased, 0)
		if n := len(to.all()) - before; n != 0 {
			t.Errorf("%d requests after the erasure", n)
		}
	})
}

// An event that is erased has no keys any more. Where its delivery stands behind another one of its
// key all the same, since it was to end in its turn, erasing it again ends it once.
func TestErasureAgainOfWhatStandsBehindItsKey(t *testing.T) {
	defer relay.SetSpansMost(0)()
	run(t, func(w *world) {
		to := &receiver{answer: func(n int, _ *http.Request) (*http.Response, error) {
			if n == 1 {
				time.Sleep(time.Minute)
				return answer(500), nil
			}
			return answer(200), nil
		}}
		s := ordered("crm", to)
		s.Retry.Delays, s.MaxInFlight = []time.Duration{time.Hour}, 1
		w.plan(s)
		head := w.publish("x", keyed("a", 0)).ID
		w.wait(time.Second)
		erased := w.publish("x", keyed("a", 1)).ID
		last := w.publish("x", keyed("a", 2)).ID
		for _, later := range []time.Duration{2 * time.Minute, 24 * time.Hour} { // at first it is in memory
			if err := w.engine.Erase(context.Background(), erased); err != nil {
				t.Fatal(err)
			}
			w.wait(later)
		}
		w.expect(head, relay.StateDelivered, "", 2)
		w.expect(erased, relay.StateFailed, relay.ReasonErased, 0)
		w.expect(last, relay.StateDelivered, "", 1)
		if got := w.status("crm"); got.Pending != 0 || got.Failed != 1 {
			t.Errorf("%+v, want that one has failed", got)
		}
	})
}

// TestErasedEventsAreNotReplayed, one by one or many at once; a delivered one stays so.
func TestErasedEventsAreNotReplayed(t *testing.T) {
	run(t, func(w *world) {
		var to receiver
		w.plan(subscription("crm", &to), subscription("late", &to, "b"))
		id := w.publish("a", "1").ID
		w.wait(time.Second)
		w.erase(id)
		w.plan(subscription("crm", &to), subscription("late", &to))
		ctx := context.Background()
		if err := w.engine.Replay(ctx, id, "crm"); !errors.Is(err, relay.ErrErased) {
			t.Errorf("Replay: %v, want ErrErased", err)
		}
		for _, name := range []string{"crm", "late"} {
			for _, what := range relay.Selections {
				if _, err := w.engine.StartReplay(context.Background(), relay.ReplayRequest{Subscription: name, Select: what}); err != nil {
					t.Fatal(err)
				}
				w.wait(time.Minute)
			}
		}
		w.expect(id, relay.StateDelivered, "", 1)
		if n := len(to.all()); n != 1 {
			t.Errorf("%d requests, want 1", n)
		}
		if err := w.engine.Erase(ctx, relay.FormatID(1, 1)); !errors.Is(err, relay.ErrNotFound) {
			t.Errorf("Erase of nothing: %v", err)
		}
	})
}

// unreadable is a store in which one event cannot be read any more.
type unreadable struct {
	relay.Store
	seq atomic.Uint64
}

func (s *unreadable) Event(ctx context.Context, seq relay.Seq) (*relay.Event, error) {
	if uint64(seq) == s.seq.Load() {
		return nil, &relay.UnreadableError{Seq: seq, Err: errors.New("its checksum does not match")}
	}
	return s.Store.Event(ctx, seq)
}

// TestUnreadableRetryIsSetAside: an event whose record was damaged after its first attempt
// is failed, and not tried to be read for ever.
func TestUnreadableRetryIsSetAside(t *testing.T) {
	run(t, func(w *world) {
		w.stop()
		store := &unreadable{Store: w.memory}
		w.store = store
		w.open()
		to := &receiver{answer: func(n int, _ *http.Request) (*http.Response, error) { return answer([]int{500, 200}[n-1]), nil }}
		s := subscription("crm", to)
		s.Retry.Delays = []time.Duration{time.Minute, time.Minute}
		w.plan(s)
		bad := w.publish("a", "1")
		synctest.Wait()
		seq, _, err := relay.ParseID(bad.ID)
		if err != nil {
			t.Fatal(err)
		}
		store.seq.Store(uint64(seq))
		w.wait(time.Hour)
		if got := w.status("crm"); got.Pending != 0 || got.Failed != 1 {
			t.Errorf("%+v, want 1 failed", got)
		}
		if n := len(to.all()); n != 1 {
			t.Errorf("%d requests, want 1", n)
		}
		// It does not hide the others.
		other := w.publish("a", "2")
		w.wait(time.Minute)
		page, err := w.engine.Deliveries(context.Background(), relay.DeliveryQuery{Subscription: "crm", Limit: 10})
		if err != nil || len(page.Deliveries) != 2 || page.Deliveries[0].Event != other.ID || page.Deliveries[1].Event != bad.ID {
			t.Errorf("listed are %+v, %v", page.Deliveries, err)
		}
	})
}
