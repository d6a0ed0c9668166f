package relay_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddyrelay/caddyrelay/relay"
)

func ordered(name string, to http.RoundTripper) *relay.Subscription {
	s := subscription(name, to)
	p, err := relay.ParsePlaceholder("{event.data.key}")
	if err != nil {
		panic(err)
	}
	s.OrderBy = &p
	s.Breaker.Off = true
	return s
}

func keyed(key string, n int) string { return fmt.Sprintf(`{"key":%q,"n":%d}`, key, n) }

// sequences returns, for each key, the numbers of the requests that were delivered.
func sequences(t *testing.T, requests []received) map[string][]int {
	t.Helper()
	all := make(map[string][]int)
	for _, r := range requests {
		var key string
		var n int
		if _, err := fmt.Sscanf(strings.ReplaceAll(r.body, `"`, " "), "{ key : %s , n :%d}", &key, &n); err != nil {
			t.Fatalf("%s: %v", r.body, err)
		}
		all[key] = append(all[key], n)
	}
	return all
}

func TestFailingHeadHoldsItsKeyAlone(t *testing.T) {
	run(t, func(w *world) {
		var down atomic.Bool
		down.Store(true)
		to := &receiver{answer: func(_ int, r *http.Request) (*http.Response, error) {
			if down.Load() && strings.HasPrefix(r.Header.Get("X-Body"), `{"key":"a"`) {
				return answer(500), nil
			}
			return answer(200), nil
		}}
		tagged := bodyTagged{to}
		s := ordered("crm", tagged)
		s.Retry.Delays = []time.Duration{time.Minute, time.Minute, time.Minute}
		w.plan(s)
		var a []string
		for i := range 5 {
			a = append(a, w.publish("x", keyed("a", i)).ID)
			w.publish("x", keyed("b", i))
			w.publish("x", `{"n":0}`) // without a key
		}
		synctest.Wait()
		w.expect(a[0], relay.StateRetrying, "", 1)
		w.expect(a[1], relay.StateHeld, relay.ReasonOrder, 0)
		if d := w.delivery(a[4]); d.WaitingFor != a[0] {
			t.Errorf("the last of the key waits for %q, want %q", d.WaitingFor, a[0])
		}
		if n := w.status("crm").Pending; n != 5 {
			t.Errorf("%d pending, want the 5 of the key", n)
		}
		w.restart()
		s = ordered("crm", tagged)
		s.Retry.Delays = []time.Duration{time.Minute, time.Minute, time.Minute}
		w.plan(s)
		synctest.Wait()
		w.expect(a[1], relay.StateHeld, relay.ReasonOrder, 0)
		down.Store(false)
		w.wait(time.Hour)
		for _, id := range a {
			if d := w.delivery(id); d.State != relay.StateDelivered {
				t.Errorf("%s is %s (%s)", id, d.State, d.Reason)
			}
		}
		if n := w.status("crm").Pending; n != 0 {
			t.Errorf("%d pending", n)
		}
	})
}

// bodyTagged shows the body to the receiver's answer function.
type bodyTagged struct{ to *receiver }

func (b bodyTagged) RoundTrip(r *http.Request) (*http.Response, error) {
	body, err := r.GetBody()
	if err != nil {
		return nil, err
	}
	head := make([]byte, 64)
	n, _ := body.Read(head)
	r.Header.Set("X-Body", string(head[:n]))
	return b.to.RoundTrip(r)
}

func TestHeadThatIsGivenUpLetsTheNextGo(t *testing.T) {
	run(t, func(w *world) {
		to := &receiver{answer: func(n int, _ *http.Request) (*http.Response, error) {
			if n <= 2 {
				return answer(500), nil
			}
			return answer(200), nil
		}}
		s := ordered("crm", to)
		s.Retry.Delays = []time.Duration{time.Minute}
		w.plan(s)
		first, second := w.publish("x", keyed("a", 1)).ID, w.publish("x", keyed("a", 2)).ID
		w.wait(time.Hour)
		w.expect(first, relay.StateFailed, relay.ReasonSchedule, 2)
		w.expect(second, relay.StateDelivered, "", 1)
	})
}

// Each key is delivered in order and without gaps, whatever fails, is cut or restarted.
func TestKeysKeepTheirOrderThroughFailuresAndRestarts(t *testing.T) {
	for _, limit := range []int{1 << 16, 4} {
		t.Run(fmt.Sprintf("%d in memory", limit), func(t *testing.T) {
			defer relay.SetRetriesInMemory(limit)()
			run(t, func(w *world) {
				var mu sync.Mutex
				delivered := make(map[string]int) // highest number by key
				attempts := 0
				to := &receiver{}
				to.answer = func(n int, r *http.Request) (*http.Response, error) {
					time.Sleep(time.Duration(n%7) * time.Millisecond)
					mu.Lock()
					defer mu.Unlock()
					if attempts++; attempts%3 == 0 {
						return answer(500), nil
					}
					for key, ns := range sequences(t, []received{{body: r.Header.Get("X-Body")}}) {
						if ns[0] != delivered[key]+1 {
							t.Errorf("%s: %d after %d", key, ns[0], delivered[key])
						}
						delivered[key] = ns[0]
					}
					return answer(200), nil
				}
				plan := func() {
					s := ordered("crm", bodyTagged{to})
					s.Retry.Delays = make([]time.Duration, 50)
					for i := range s.Retry.Delays {
						s.Retry.Delays[i] = 20 * time.Millisecond
					}
					s.MaxInFlight = 8
					w.plan(s)
				}
				plan()
				const keys, each = 5, 60
				for n := 1; n <= each; n++ {
					for k := range keys {
						w.publish("x", keyed(fmt.Sprintf("k%d", k), n))
					}
					switch {
					case n%20 == 0:
						w.restart()
						plan()
					case n%5 == 0:
						w.wait(30 * time.Millisecond)
					}
				}
				w.wait(time.Hour)
				for k := range keys {
					if n := delivered[fmt.Sprintf("k%d", k)]; n != each {
						t.Errorf("k%d ends at %d", k, n)
					}
				}
				if n := w.status("crm").Pending; n != 0 {
					t.Errorf("%d pending", n)
				}
			})
		})
	}
}

// publishKeyed publishes events of keys, numbered.
func (w *world) publishKeyed(keys []string, from, to int) (ids []string) {
	w.t.Helper()
	for n := from; n <= to; n++ {
		for _, key := range keys {
			ids = append(ids, w.publish("x", keyed(key, n)).ID)
		}
	}
	return ids
}

func TestReplayWaitsUntilItsKeyIsFree(t *testing.T) {
	run(t, func(w *world) {
		var down atomic.Bool
		to := &receiver{answer: func(_ int, r *http.Request) (*http.Response, error) {
			if down.Load() && strings.HasPrefix(r.Header.Get("X-Body"), `{"key":"a"`) {
				return answer(500), nil
			}
			return answer(200), nil
		}}
		plan := func() {
			s := ordered("crm", bodyTagged{to})
			s.Retry.Delays = slices.Repeat([]time.Duration{time.Minute}, 100)
			w.plan(s)
		}
		plan()
		old := w.publishKeyed([]string{"a", "b"}, 1, 2)
		synctest.Wait()
		down.Store(true)
		young := w.publishKeyed([]string{"a"}, 3, 4)
		synctest.Wait()
		before := len(to.all())

		ctx := context.Background()
		for _, id := range []string{old[2], old[0], old[1]} { // the second of a, the first of a and of b
			if err := w.engine.Replay(ctx, id, "crm"); err != nil {
				t.Fatal(err)
			}
		}
		synctest.Wait()
		if n := len(to.all()) - before; n != 1 {
			t.Errorf("%d requests; want one, of the key that is free", n)
		}
		w.expect(old[0], relay.StateHeld, relay.ReasonOrder, 1)
		if d := w.delivery(old[0]); d.WaitingFor != young[0] {
			t.Errorf("the replay waits for %q, want the head %q", d.WaitingFor, young[0])
		}
		if err := w.engine.Replay(ctx, old[0], "crm"); !errors.Is(err, relay.ErrUnfinished) {
			t.Errorf("replaying what is being replayed: %v", err)
		}
		w.restart()
		plan()
		down.Store(false)
		w.wait(time.Hour)
		// The head goes on; then the replays, which are older than what waits.
		if got := sequences(t, to.all()[before:])["a"]; fmt.Sprint(slices.Compact(got)) != "[3 1 2 4]" {
			t.Errorf("the key came in the order %v", got)
		}
		if n := w.status("crm").Pending; n != 0 {
			t.Errorf("%d pending", n)
		}
	})
}

// A replay of many keeps the order of each key, through failures, restarts and reloads.
func TestReplayOfManyKeepsTheOrderOfKeys(t *testing.T) {
	for _, limit := range []int{1 << 16, 4} {
		t.Run(fmt.Sprintf("%d in memory", limit), func(t *testing.T) {
			defer relay.SetRetriesInMemory(limit)()
			run(t, func(w *world) {
				var mu sync.Mutex
				var got []received
				attempts := 0
				to := &receiver{answer: func(n int, r *http.Request) (*http.Response, error) {
					time.Sleep(time.Duration(n%5) * 10 * time.Millisecond)
					mu.Lock()
					defer mu.Unlock()
					if attempts++; attempts%3 == 0 {
						return answer(500), nil
					}
					got = append(got, received{body: r.Header.Get("X-Body")})
					return answer(200), nil
				}}
				plan := func() *relay.Plan {
					s := ordered("crm", bodyTagged{to})
					s.Retry.Delays = slices.Repeat([]time.Duration{100 * time.Millisecond}, 100)
					return w.plan(s)
				}
				old := plan()
				keys := []string{"a", "b", "c"}
				w.publishKeyed(keys, 1, 40)
				w.wait(time.Hour)
				mu.Lock()
				got = nil
				mu.Unlock()
				if _, err := w.engine.StartReplay(context.Background(), relay.ReplayRequest{Subscription: "crm", Select: relay.SelectAll, Rate: 1000}); err != nil {
					t.Fatal(err)
				}
				w.wait(50 * time.Millisecond)
				next := plan()
				w.engine.Detach(old)
				w.wait(100 * time.Millisecond) // all are reopened
				w.restart()
				plan()
				w.wait(time.Hour)
				w.engine.Detach(next)
				mu.Lock()
				defer mu.Unlock()
				for key, ns := range sequences(t, got) {
					ns = slices.Compact(ns) // what the restart cut comes again
					if !slices.IsSorted(ns) || len(ns) != 40 {
						t.Errorf("%s was replayed in the order %v", key, ns)
					}
				}
				if n := w.status("crm").Pending; n != 0 {
					t.Errorf("%d pending", n)
				}
			})
		})
	}
}

// What a stop has cut stands in the log again, before what waits behind it. A replay that
// goes first, since it is older, must not let those that wait go before it.
func TestReplayAfterARestartLetsNobodyOvertakeTheLog(t *testing.T) {
	run(t, func(w *world) {
		var slow atomic.Bool
		to := &receiver{answer: func(_ int, r *http.Request) (*http.Response, error) {
			if slow.Load() {
				<-r.Context().Done()
				return nil, r.Context().Err()
			}
			return answer(200), nil
		}}
		w.plan(ordered("crm", bodyTagged{to}))
		first := w.publish("x", keyed("a", 1)).ID
		synctest.Wait()
		slow.Store(true)
		w.publishKeyed([]string{"a"}, 2, 4) // the first of these is in flight, the others wait
		w.wait(time.Second)
		if err := w.engine.Replay(context.Background(), first, "crm"); err != nil {
			t.Fatal(err)
		}
		before := len(to.all())
		w.stop()
		w.store = &slowToRead{w.memory}
		w.open()
		slow.Store(false)
		w.plan(ordered("crm", bodyTagged{to}))
		w.wait(time.Minute)
		if got := sequences(t, to.all()[before:])["a"]; fmt.Sprint(got) != "[1 2 3 4]" {
			t.Errorf("after the restart the key came in the order %v", got)
		}
	})
}

// A subscription that is gone may come back in order: what is replayed meanwhile is, too.
func TestReplayForASubscriptionThatIsGoneKeepsItsOrder(t *testing.T) {
	run(t, func(w *world) {
		var now, most atomic.Int64
		to := &receiver{answer: func(int, *http.Request) (*http.Response, error) {
			most.Store(max(most.Load(), now.Add(1)))
			time.Sleep(time.Second)
			now.Add(-1)
			return answer(200), nil
		}}
		old := w.plan(ordered("crm", bodyTagged{to}))
		ids := w.publishKeyed([]string{"a"}, 1, 3)
		w.wait(time.Minute)
		between := w.plan(subscription("other", &receiver{}))
		w.engine.Detach(old)
		for _, i := range []int{2, 0, 1} {
			if err := w.engine.Replay(context.Background(), ids[i], "crm"); err != nil {
				t.Fatal(err)
			}
		}
		w.plan(ordered("crm", bodyTagged{to}))
		w.engine.Detach(between)
		w.wait(time.Minute)
		if n := most.Load(); n != 1 {
			t.Errorf("%d of one key at the same time", n)
		}
		if n := len(to.all()); n != 6 {
			t.Errorf("%d requests, want 6", n)
		}
	})
}

// TestWhatWaitsBehindHeadsIsBoundedOverAllLanes: the rest is in the store, in every order that
// it had, over a restart too, and nothing is counted that is gone.
func TestWhatWaitsBehindHeadsIsBoundedOverAllLanes(t *testing.T) {
	const lanes, each, most = 6, 150, 100
	defer relay.SetBehindOfAll(most)()
	run(t, func(w *world) {
		var down atomic.Bool
		down.Store(true)
		var subscriptions []*relay.Subscription
		var receivers []*receiver
		attach := func() {
			subscriptions = nil
			for i := range lanes {
				s := ordered(fmt.Sprint("s", i), receivers[i])
				s.Retry.Delays = slices.Repeat([]time.Duration{time.Minute}, 100)
				subscriptions = append(subscriptions, s)
			}
			w.plan(subscriptions...)
		}
		for range lanes {
			receivers = append(receivers, &receiver{answer: func(int, *http.Request) (*http.Response, error) {
				if down.Load() {
					return answer(500), nil
				}
				return answer(200), nil
			}})
		}
		attach()
		for i := range each {
			w.publish("x", keyed("a", i))
			w.publish("x", keyed("b", i))
		}
		// Beyond the bound, each lane may have a few, and one of each key.
		bounded := func(when string) {
			t.Helper()
			if n := relay.BehindInMemory(w.engine); n == 0 || n > most+lanes*(64+2) {
				t.Errorf("%s: %d wait in memory", when, n)
			}
		}
		w.wait(time.Hour)
		bounded("while all heads fail")
		w.restart()
		attach()
		w.wait(10 * time.Minute)
		bounded("after a restart")
		for _, r := range receivers {
			r.mu.Lock()
			r.requests = nil
			r.mu.Unlock()
		}
		down.Store(false)
		w.wait(24 * time.Hour)
		for i, r := range receivers {
			for key, got := range sequences(t, r.all()) {
				if len(got) != each || !slices.IsSorted(got) {
					t.Errorf("s%d, %s: %d came, sorted %v", i, key, len(got), slices.IsSorted(got))
				}
			}
		}
		if n := relay.BehindInMemory(w.engine); n != 0 {
			t.Errorf("%d are counted, and none waits", n)
		}
	})
}

// TestManyLongLinesAreReadTogether: where the lines of many keys are longer than memory has room
// for, one pass through the store serves all that need more.
func TestManyLongLinesAreReadTogether(t *testing.T) {
	const keys, each = 500, 10
	defer relay.SetRetriesInMemory(keys)()
	run(t, func(w *world) {
		w.stop()
		store := &counting{Store: w.memory}
		w.store = store
		w.open()
		var down atomic.Bool
		down.Store(true)
		to := failingWhile(&down)
		s := ordered("crm", to)
		s.Retry.Delays = []time.Duration{time.Hour, time.Hour, time.Hour}
		w.plan(s)
		for n := range each {
			for k := range keys {
				w.publish("x", keyed(fmt.Sprint(k), n))
			}
		}
		w.wait(20 * time.Minute)
		before := len(to.all())
		down.Store(false)
		store.looks.Store(0)
		store.most.Store(0)
		if _, err := w.engine.Resume(context.Background(), "crm"); err != nil {
			t.Fatal(err)
		}
		w.wait(10 * time.Minute)
		for key, got := range sequences(t, to.all()[before:]) {
			if len(got) != each || !slices.IsSorted(got) {
				t.Errorf("%s: %v", key, got)
			}
		}
		if got := w.status("crm"); got.Pending != 0 {
			t.Errorf("%+v", got)
		}
		// As many passes as there are numbers, and some more, since the keys are not all done at once.
		if looks, most := store.looks.Load(), store.most.Load(); looks > 20*each || most > 2 {
			t.Errorf("%d pages were read, %d at once", looks, most)
		}
	})
}
