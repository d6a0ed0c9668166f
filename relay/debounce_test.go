package relay_test

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddyrelay/caddyrelay/relay"
	"github.com/caddyrelay/caddyrelay/storage/storagetest"
)

func placeholder(text string) relay.Placeholder {
	p, err := relay.ParsePlaceholder(text)
	if err != nil {
		panic(err)
	}
	return p
}

// debounced sends the last event of a key within five seconds.
func debounced(name string, to http.RoundTripper) *relay.Subscription {
	s := subscription(name, to)
	s.Debounce = &relay.Debounce{Window: 5 * time.Second, By: placeholder("{event.data.key}")}
	return s
}

// after lets virtual time pass until so long after the start.
func (w *world) after(start time.Time, d time.Duration) {
	time.Sleep(time.Until(start.Add(d)))
	synctest.Wait()
}

// bodies returns what a receiver got, in order, with the seconds since the start.
func bodies(to *receiver, start time.Time) string {
	var all []string
	for _, r := range to.all() {
		var n int
		var key string
		_, _ = fmt.Sscanf(strings.ReplaceAll(r.body, `"`, " "), "{ key : %s , n :%d}", &key, &n)
		all = append(all, fmt.Sprintf("%s%d@%v", key, n, r.at.Sub(start).Round(10*time.Millisecond).Seconds()))
	}
	return strings.Join(all, " ")
}

func TestLastOfAKeyIsSentWhenItsWindowEnds(t *testing.T) {
	run(t, func(w *world) {
		o := newTally()
		var to receiver
		w.observed(o, debounced("crm", &to))
		start := time.Now()
		a1 := w.publish("x", keyed("a", 1)).ID
		w.publish("x", `{"n":0}`) // without a key: at once
		w.after(start, time.Second)
		a2 := w.publish("x", keyed("a", 2)).ID
		w.after(start, 2*time.Second)
		b1 := w.publish("x", keyed("b", 1)).ID
		w.after(start, 4*time.Second)
		a3 := w.publish("x", keyed("a", 3)).ID
		synctest.Wait()
		w.expect(a2, relay.StateSuperseded, relay.ReasonDebounce, 0)
		w.expect(a3, relay.StateHeld, relay.ReasonDebounce, 0)
		if d := w.delivery(a3); !d.NextAttempt.Equal(start.Add(5 * time.Second)) {
			t.Errorf("it is due at %v, want 5s after %v", d.NextAttempt, start)
		}
		if got := w.status("crm"); got.Pending != 2 || !got.OldestDue.Equal(start.Add(5*time.Second)) {
			t.Errorf("%+v", got)
		}
		w.after(start, 6*time.Second)
		a4 := w.publish("x", keyed("a", 4)).ID // opens the next window
		w.after(start, time.Minute)
		if got := bodies(&to, start); got != "0@0 a3@5 b1@7 a4@11" {
			t.Errorf("got %s", got)
		}
		w.expect(a1, relay.StateSuperseded, relay.ReasonDebounce, 0)
		for _, id := range []string{a3, b1, a4} {
			w.expect(id, relay.StateDelivered, "", 1)
		}
		o.want(t, "debouncing", counts{"crm delivered": 4, "crm superseded": 2}, 0, time.Second, 5*time.Second, 5*time.Second)
		page, err := w.engine.Deliveries(context.Background(), relay.DeliveryQuery{State: relay.StateSuperseded, Limit: 10})
		if err != nil || len(page.Deliveries) != 2 || page.Deliveries[0].Event != a2 {
			t.Errorf("listed as superseded: %+v, %v", page.Deliveries, err)
		}
		if got := w.status("crm"); got.Pending != 0 || got.Failed != 0 {
			t.Errorf("%+v", got)
		}
	})
}

func TestWindowOutlivesRestartAndCrash(t *testing.T) {
	for name, crash := range map[string]bool{"restart": false, "crash": true} {
		t.Run(name, func(t *testing.T) {
			run(t, func(w *world) {
				var to receiver
				w.plan(debounced("crm", &to))
				start := time.Now()
				var ids []string
				for n := 1; n <= 3; n++ {
					ids = append(ids, w.publish("x", keyed("a", n)).ID)
					if n < 3 {
						w.after(start, time.Duration(n)*time.Second)
					}
				}
				if crash { // at once: the last event is stored, what became of it is not
					again := w.memory.Reopen()
					_ = w.engine.Close()
					w.memory, w.store = again, again
					w.open()
				} else {
					w.restart()
				}
				w.plan(debounced("crm", &to))
				w.after(start, 4*time.Second)
				ids = append(ids, w.publish("x", keyed("a", 4)).ID)
				w.after(start, time.Minute)
				if got := bodies(&to, start); got != "a4@5" {
					t.Errorf("got %s, want the last one when the window ends", got)
				}
				for _, id := range ids[:3] {
					w.expect(id, relay.StateSuperseded, relay.ReasonDebounce, 0)
				}
			})
		})
	}
}

// What was attempted is the receiver's: it is not superseded, whatever comes.
func TestWhatWasAttemptedIsNotSuperseded(t *testing.T) {
	run(t, func(w *world) {
		to := &receiver{answer: func(n int, _ *http.Request) (*http.Response, error) {
			if n == 1 {
				return answer(500), nil
			}
			return answer(200), nil
		}}
		s := debounced("crm", to)
		s.Retry.Delays = []time.Duration{time.Minute}
		w.plan(s)
		start := time.Now()
		first := w.publish("x", keyed("a", 1)).ID
		w.after(start, 6*time.Second)
		w.expect(first, relay.StateRetrying, "", 1)
		second := w.publish("x", keyed("a", 2)).ID
		w.after(start, time.Hour)
		if got := bodies(to, start); got != "a1@5 a2@11 a1@65" {
			t.Errorf("got %s", got)
		}
		w.expect(first, relay.StateDelivered, "", 2)
		w.expect(second, relay.StateDelivered, "", 1)
	})
}

// What came while nothing was sent is debounced by the times at which it was accepted.
func TestBacklogIsDebouncedByTheTimeOfItsEvents(t *testing.T) {
	defer relay.SetQueueEntries(2)()
	run(t, func(w *world) {
		var to receiver
		paused := debounced("crm", &to)
		paused.Paused = true
		old := w.plan(paused)
		start := time.Now()
		for n, at := range []int{0, 1, 4, 6, 7, 20} {
			w.after(start, time.Duration(at)*time.Second)
			w.publish("x", keyed("a", n+1))
			w.publish("x", keyed("b", n+1))
		}
		w.after(start, time.Minute)
		w.plan(debounced("crm", &to))
		w.engine.Detach(old)
		w.wait(time.Second)
		got := sequences(t, to.all())
		slices.Sort(got["a"]) // they are due at one moment
		slices.Sort(got["b"])
		if fmt.Sprint(got["a"]) != "[3 5 6]" || fmt.Sprint(got["b"]) != "[3 5 6]" {
			t.Errorf("got %v, want the last of each window", got)
		}
		if got := w.status("crm"); got.Pending != 0 {
			t.Errorf("%+v", got)
		}
	})
}

func TestResumeEndsTheWindows(t *testing.T) {
	for _, restart := range []bool{false, true} {
		run(t, func(w *world) {
			var to receiver
			w.plan(debounced("crm", &to))
			start := time.Now()
			w.publish("x", keyed("a", 1))
			w.publish("x", keyed("a", 2))
			w.after(start, time.Second)
			if _, err := w.engine.Pause(context.Background(), "crm", ""); err != nil {
				t.Fatal(err)
			}
			w.publish("x", keyed("a", 3))
			if restart {
				w.restart()
				w.plan(debounced("crm", &to))
			}
			w.after(start, 2*time.Second)
			if _, err := w.engine.Resume(context.Background(), "crm"); err != nil {
				t.Fatal(err)
			}
			w.after(start, time.Minute)
			if got := bodies(&to, start); got != "a3@2" {
				t.Errorf("got %s", got)
			}
		})
	}
}

func TestTakingTheWordOutLetsEverythingGo(t *testing.T) {
	run(t, func(w *world) {
		var to receiver
		old := w.plan(debounced("crm", &to))
		start := time.Now()
		w.publish("x", keyed("a", 1))
		w.publish("x", keyed("a", 2))
		w.after(start, time.Second)
		w.plan(subscription("crm", &to))
		w.engine.Detach(old)
		w.publish("x", keyed("a", 3))
		w.after(start, time.Minute)
		if got := bodies(&to, start); got != "a2@1 a3@1" && got != "a3@1 a2@1" {
			t.Errorf("got %s", got)
		}
	})
}

// A shorter window holds for what is in one already.
func TestShorterWindowHoldsAtOnce(t *testing.T) {
	run(t, func(w *world) {
		var to receiver
		long := debounced("crm", &to)
		long.Debounce.Window = time.Hour
		old := w.plan(long)
		start := time.Now()
		w.publish("x", keyed("a", 1))
		w.after(start, time.Second)
		w.plan(debounced("crm", &to))
		w.engine.Detach(old)
		w.after(start, time.Minute)
		if got := bodies(&to, start); got != "a1@6" {
			t.Errorf("got %s", got)
		}
	})
}

func TestReplaysAreNotDebounced(t *testing.T) {
	run(t, func(w *world) {
		var to, late receiver
		w.plan(debounced("crm", &to))
		start := time.Now()
		first := w.publish("x", keyed("a", 1)).ID
		w.publish("x", keyed("a", 2))
		w.after(start, 10*time.Second)
		w.publish("x", keyed("a", 3)) // a window is open
		if err := w.engine.Replay(context.Background(), first, "crm"); err != nil {
			t.Fatal(err)
		}
		w.after(start, time.Minute)
		if got := bodies(&to, start); got != "a2@5 a1@10 a3@15" {
			t.Errorf("got %s", got)
		}
		w.expect(first, relay.StateDelivered, "", 1)

		if j := w.job(relay.ReplayRequest{Subscription: "crm", Select: relay.SelectFailed}); j.Replayed != 0 {
			t.Errorf("what is superseded was replayed as failed: %+v", j)
		}
		w.plan(debounced("crm", &to), debounced("late", &late))
		if j := w.job(relay.ReplayRequest{Subscription: "late", Select: relay.SelectMissing, Rate: 1000}); j.Replayed != 3 {
			t.Errorf("%+v", j)
		}
		if n := len(late.all()); n != 3 {
			t.Errorf("%d of what was missing came, want all 3", n)
		}
	})
}

// At its window's end a delivery takes its place in the order of its key.
func TestDebouncedKeepsTheOrderOfItsKey(t *testing.T) {
	run(t, func(w *world) {
		to := &receiver{answer: func(n int, _ *http.Request) (*http.Response, error) {
			if n <= 2 {
				return answer(500), nil
			}
			return answer(200), nil
		}}
		plan := func() {
			s := debounced("crm", to)
			p := placeholder("{event.data.key}")
			s.OrderBy = &p
			s.Retry.Delays = []time.Duration{20 * time.Second, 20 * time.Second}
			w.plan(s)
		}
		plan()
		start := time.Now()
		w.publish("x", keyed("a", 1)) // sent at 5, 25, 45
		w.after(start, 6*time.Second)
		w.publish("x", keyed("a", 2))
		w.after(start, 7*time.Second)
		waits := w.publish("x", keyed("a", 3)).ID // ready at 11, behind the first
		w.after(start, 15*time.Second)
		w.expect(waits, relay.StateHeld, relay.ReasonOrder, 0)
		w.restart()
		plan()
		w.after(start, 16*time.Second)
		w.publish("x", keyed("a", 4)) // of the next window: ready at 21
		w.after(start, time.Hour)
		if got := bodies(to, start); got != "a1@5 a1@25 a1@45 a3@45 a4@45" {
			t.Errorf("got %s", got)
		}
	})
}

func TestDropAndEraseReachIntoWindows(t *testing.T) {
	run(t, func(w *world) {
		var to receiver
		w.plan(debounced("crm", &to))
		ctx := context.Background()
		older, erased := w.publish("x", keyed("a", 1)).ID, w.publish("x", keyed("a", 2)).ID
		dropped := w.publish("x", keyed("b", 1)).ID
		synctest.Wait()
		if err := w.engine.Erase(ctx, erased); err != nil {
			t.Fatal(err)
		}
		w.expect(erased, relay.StateFailed, relay.ReasonErased, 0)
		w.expect(older, relay.StateSuperseded, relay.ReasonDebounce, 0)
		if got, err := w.engine.Drop(ctx, "crm"); err != nil || got.Pending != 0 {
			t.Errorf("%+v, %v", got, err)
		}
		w.wait(time.Minute)
		w.expect(dropped, relay.StateFailed, relay.ReasonDropped, 0)
		if n := len(to.all()); n != 0 {
			t.Errorf("%d requests", n)
		}
		// The keys are free again.
		w.publish("x", keyed("a", 3))
		w.wait(time.Minute)
		if n := len(to.all()); n != 1 {
			t.Errorf("%d requests, want 1", n)
		}
	})
}

// More keys than memory has room for wait in the log. Then not only the last of a key is
// sent, but the last always is.
func TestMoreWindowsThanMemoryHolds(t *testing.T) {
	defer relay.SetRetriesInMemory(4)()
	run(t, func(w *world) {
		var to receiver
		w.plan(debounced("crm", &to))
		for n := range 3 {
			for key := range 20 {
				w.publish("x", keyed(fmt.Sprintf("k%d", key), n))
			}
		}
		w.wait(10 * time.Second)
		w.restart()
		w.plan(debounced("crm", &to))
		w.wait(time.Hour)
		got := sequences(t, to.all())
		for key, ns := range got {
			if !slices.Contains(ns, 2) {
				t.Errorf("%s: %v; want the last one", key, ns)
			}
		}
		if n := len(to.all()); len(got) != 20 || n >= 60 {
			t.Errorf("%d requests of %d keys; want 20 keys, and not all of the 60", n, len(got))
		}
		if got := w.status("crm"); got.Pending != 0 {
			t.Errorf("%+v", got)
		}
	})
}

// A clock that was ahead, and fell back, does not hold anything for so long.
func TestClockThatFellBackHoldsNoWindowOpen(t *testing.T) {
	run(t, func(w *world) {
		_ = w.engine.Close()
		var ahead atomic.Int64
		ahead.Store(int64(24 * time.Hour))
		w.memory = storagetest.NewMemory(func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) })
		w.store = w.memory
		w.open()
		var to receiver
		w.plan(debounced("crm", &to))
		start := time.Now()
		w.publish("x", keyed("a", 1))
		ahead.Store(0)
		w.after(start, time.Second)
		w.restart()
		w.plan(debounced("crm", &to))
		w.after(start, time.Minute)
		if got := bodies(&to, start); got != "a1@5" {
			t.Errorf("got %s", got)
		}
	})
}

// What is accepted after the clock fell back has the time of the newest event, which is ahead of
// the clock: it is debounced all the same.
func TestDebounceAfterTheClockFellBack(t *testing.T) {
	run(t, func(w *world) {
		_ = w.engine.Close()
		var ahead atomic.Int64
		ahead.Store(int64(time.Hour))
		w.memory = storagetest.NewMemory(func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) })
		w.store = w.memory
		w.open()
		var to receiver
		w.plan(debounced("crm", &to))
		w.publish("x", keyed("a", 0))
		ahead.Store(0)
		w.wait(time.Minute)
		start := time.Now()
		for n := range 20 {
			w.publish("x", keyed("b", n))
			w.wait(100 * time.Millisecond)
		}
		w.wait(time.Minute)
		if got := bodies(&to, start); !strings.HasSuffix(got, " b19@5") || strings.Count(got, "b") != 1 {
			t.Errorf("got %s, want one of b", got)
		}
	})
}

// An event that was under way while the word was taken out comes from the log again after a
// restart. It does not take the place of a newer one.
func TestOlderEventDoesNotSupersede(t *testing.T) {
	run(t, func(w *world) {
		hangs := &receiver{answer: func(_ int, r *http.Request) (*http.Response, error) {
			<-r.Context().Done()
			return nil, r.Context().Err()
		}}
		s := debounced("crm", hangs)
		s.Paused = true
		w.plan(s)
		older := w.publish("x", keyed("a", 0)).ID
		s = subscription("crm", hangs)
		s.Timeout = time.Hour
		w.plan(s)
		w.wait(time.Second)
		var to receiver
		w.plan(debounced("crm", &to))
		newer := w.publish("x", keyed("a", 1)).ID
		w.wait(time.Second)
		w.restart()
		w.plan(debounced("crm", &to))
		w.wait(time.Hour)
		for _, id := range []string{older, newer} {
			if d := w.delivery(id); d.State != relay.StateDelivered {
				t.Errorf("%s is %s (%s)", id, d.State, d.Reason)
			}
		}
	})
}

// Events that were accepted before the word stood there have no key, and go at once.
func TestDebounceHoldsForEventsThatComeLater(t *testing.T) {
	run(t, func(w *world) {
		var to receiver
		s := subscription("crm", &to)
		s.Paused = true
		old := w.plan(s)
		start := time.Now()
		w.publish("x", keyed("a", 1))
		w.publish("x", keyed("a", 2))
		w.plan(debounced("crm", &to))
		w.engine.Detach(old)
		w.publish("x", keyed("a", 3))
		w.after(start, time.Minute)
		if got := bodies(&to, start); got != "a1@0 a2@0 a3@5" && got != "a2@0 a1@0 a3@5" {
			t.Errorf("got %s", got)
		}
	})
}

// TestWindowsAreBoundedOverAllLanes: where there is no room for another window the log waits.
// Nothing is lost or comes twice, and nothing out of order where there is one, at once, over a
// restart, and while some are paused; in the end nothing is counted that is gone.
func TestWindowsAreBoundedOverAllLanes(t *testing.T) {
	const lanes, keys, each, most, least = 6, 150, 4, 100, 64
	defer relay.SetWindowsOfAll(most)()
	run(t, func(w *world) {
		receivers := make([]*receiver, lanes)
		attach := func() {
			var all []*relay.Subscription
			for i := range lanes {
				s := debounced(fmt.Sprint("s", i), receivers[i])
				if i%2 == 1 {
					by := s.Debounce.By
					s.OrderBy = &by
				}
				all = append(all, s)
			}
			w.plan(all...)
		}
		for i := range receivers {
			receivers[i] = new(receiver)
		}
		attach()
		var ids []string
		bounded := func(when string) {
			t.Helper()
			if n := relay.WindowsInMemory(w.engine); n < least || n > most+lanes*least {
				t.Errorf("%s: %d windows are open", when, n)
			}
		}
		for n := 1; n <= each; n++ {
			for k := range keys {
				ids = append(ids, w.publish("x", keyed(fmt.Sprint("k", k), n)).ID)
			}
			w.wait(time.Duration(n) * time.Second)
			bounded(fmt.Sprint("after ", n, " of each key"))
			switch n {
			case 2:
				if _, err := w.engine.Pause(context.Background(), "s1", ""); err != nil {
					t.Fatal(err)
				}
			case 3:
				w.restart()
				attach()
				synctest.Wait()
				bounded("after a restart")
				if _, err := w.engine.Resume(context.Background(), "s1"); err != nil {
					t.Fatal(err)
				}
			}
		}
		w.wait(10 * time.Minute)
		sent := make(map[string]bool)
		for i, r := range receivers {
			got := sequences(t, r.all())
			for k := range keys {
				ns := got[fmt.Sprint("k", k)]
				if i%2 == 0 { // what is due at one moment goes in any order
					slices.Sort(ns)
				}
				if len(ns) == 0 || ns[len(ns)-1] != each || !slices.IsSorted(ns) || len(slices.Compact(slices.Clone(ns))) != len(ns) {
					t.Errorf("s%d got %v of k%d", i, ns, k)
				}
			}
			for _, one := range r.all() {
				sent[one.header.Get("Relay-Subscription")+one.header.Get("Webhook-Id")] = true
			}
		}
		superseded := 0
		for _, id := range ids {
			_, deliveries, err := w.engine.Inspect(context.Background(), id)
			if err != nil || len(deliveries) != lanes {
				t.Fatalf("%s: %+v, %v", id, deliveries, err)
			}
			for _, d := range deliveries {
				switch {
				case d.State == relay.StateDelivered && sent[d.Subscription+id]:
				case d.State == relay.StateSuperseded && !sent[d.Subscription+id]:
					superseded++
				default:
					t.Errorf("%s for %s is %s, sent %v", id, d.Subscription, d.State, sent[d.Subscription+id])
				}
			}
		}
		if superseded == 0 {
			t.Error("nothing was debounced")
		}
		if n := relay.WindowsInMemory(w.engine); n != 0 {
			t.Errorf("%d windows are counted, and none is open", n)
		}
	})
}
