package relay_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddyrelay/caddyrelay/relay"
)

var errReset = syscall.ECONNRESET

func TestBacklogSurvivesRestart(t *testing.T) {
	run(t, func(w *world) {
		down := receiver{answer: func(int, *http.Request) (*http.Response, error) { return nil, errReset }}
		s := subscription("crm", &down)
		s.MaxInFlight = 4
		w.plan(s)
		const n = 3000 // far more than a lane keeps in memory
		ids := make([]string, n)
		for i := range ids {
			ids[i] = w.publish("a", fmt.Sprint(i)).ID
		}
		w.restart()

		var up receiver
		w.plan(subscription("crm", &up))
		w.wait(time.Hour)
		seen := make(map[string]int)
		for _, r := range up.all() {
			seen[r.header.Get("Webhook-Id")]++
		}
		for _, id := range ids {
			if seen[id] != 1 {
				t.Fatalf("%s was delivered %d times", id, seen[id])
			}
		}
		if status := w.status("crm"); status.Pending != 0 || status.InFlight != 0 {
			t.Errorf("status %+v", status)
		}
	})
}

func TestOneAtATimeKeepsTheOrder(t *testing.T) {
	run(t, func(w *world) {
		var to receiver
		s := subscription("crm", &to)
		s.MaxInFlight, s.Paused = 1, true
		old := w.plan(s)
		const n = 2000
		for i := range n {
			w.publish("a", fmt.Sprint(i))
		}
		open := subscription("crm", &to)
		open.MaxInFlight = 1
		w.plan(open)
		w.engine.Detach(old)
		w.wait(time.Minute)
		got := to.all()
		if len(got) != n {
			t.Fatalf("%d requests, want %d", len(got), n)
		}
		for i, r := range got {
			if r.body != fmt.Sprint(i) {
				t.Fatalf("request %d has the body %s", i, r.body)
			}
		}
	})
}

func TestRetriesBeyondMemoryComeBackFromTheStore(t *testing.T) {
	defer relay.SetRetriesInMemory(10)()
	run(t, func(w *world) {
		to := receiver{answer: func(n int, r *http.Request) (*http.Response, error) {
			if r.Header.Get("Relay-Attempt") == "1" {
				return answer(500), nil
			}
			return answer(200), nil
		}}
		s := subscription("crm", &to)
		s.Retry.Delays = []time.Duration{time.Minute, time.Minute}
		s.Breaker.Off = true
		w.plan(s)
		const n = 200
		ids := make([]string, n)
		for i := range ids {
			ids[i] = w.publish("a", fmt.Sprint(i)).ID
			w.wait(10 * time.Millisecond)
		}
		w.wait(10 * time.Minute)
		for _, id := range ids {
			w.expect(id, relay.StateDelivered, "", 2)
		}
		if got := len(to.all()); got != 2*n {
			t.Errorf("%d requests, want %d", got, 2*n)
		}
	})
}

func TestRemovedSubscriptionHoldsUntilItsNameIsBack(t *testing.T) {
	run(t, func(w *world) {
		var to receiver
		s := subscription("crm", &to)
		s.Paused = true
		first := w.plan(s)
		id := w.publish("a", "1").ID
		second := w.plan(subscription("other", &receiver{}))
		w.engine.Detach(first)
		w.wait(time.Hour)
		w.expect(id, relay.StateHeld, relay.ReasonGone, 0)
		if status := w.status("crm"); status.State != relay.SubscriptionGone || status.Pending != 1 {
			t.Errorf("status %+v", status)
		}
		w.plan(subscription("crm", &to))
		w.engine.Detach(second)
		synctest.Wait()
		w.expect(id, relay.StateDelivered, "", 1)
	})
}

// A plan that is taken back, since not all of its configuration could be started, was never in
// force: it matches nothing, and nothing is sent by it.
func TestRolledBackPlanWasNeverActive(t *testing.T) {
	run(t, func(w *world) {
		var old, tried receiver
		w.plan(subscription("crm", &old))
		failing, err := relay.NewPlan(relay.PlanOptions{Subscriptions: []*relay.Subscription{
			subscription("crm", &tried), subscription("draft", &tried),
		}})
		if err != nil {
			t.Fatal(err)
		}
		w.engine.Attach(failing)
		if e := w.publish("a", "1"); fmt.Sprint(e.Matched) != "[crm]" {
			t.Errorf("an event was matched with %v", e.Matched)
		}
		synctest.Wait()
		w.engine.Detach(failing)
		w.engine.Detach(failing) // twice is as good as once
		w.publish("a", "1")
		synctest.Wait()
		if a, b := len(old.all()), len(tried.all()); a != 2 || b != 0 {
			t.Errorf("old plan made %d requests, the one rolled back %d", a, b)
		}
		all, err := w.engine.Status(context.Background())
		if err != nil || len(all) != 1 {
			t.Errorf("the subscriptions are %+v, %v", all, err)
		}
	})
}

func TestAttemptKeepsItsPlanAndRetriesUseTheNewOne(t *testing.T) {
	run(t, func(w *world) {
		proceed := make(chan struct{})
		old := receiver{answer: func(int, *http.Request) (*http.Response, error) {
			<-proceed
			return answer(500), nil
		}}
		var next receiver
		first := w.plan(subscription("crm", &old))
		id := w.publish("a", "1").ID
		synctest.Wait()
		w.plan(subscription("crm", &next))
		w.engine.Detach(first)
		synctest.Wait()
		if n := len(next.all()); n != 0 {
			t.Fatalf("the reload sent what was in flight %d more times", n)
		}
		close(proceed)
		w.wait(10 * time.Second)
		w.expect(id, relay.StateDelivered, "", 2)
		if a, b := len(old.all()), len(next.all()); a != 1 || b != 1 {
			t.Errorf("old plan made %d requests, the new one %d; want 1 and 1", a, b)
		}
	})
}

func TestStopCutsWithoutCharge(t *testing.T) {
	run(t, func(w *world) {
		s := subscription("crm", &receiver{answer: func(n int, r *http.Request) (*http.Response, error) {
			<-r.Context().Done()
			return nil, r.Context().Err()
		}})
		w.plan(s)
		id := w.publish("a", "1").ID
		synctest.Wait()
		ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
		defer cancel()
		w.engine.Drain(ctx)
		w.expect(id, relay.StatePending, "", 0)
		late := w.publish("a", "2").ID // accepted during the stop
		w.wait(time.Hour)
		w.expect(late, relay.StatePending, "", 0)
		w.restart()
		var to receiver
		w.plan(subscription("crm", &to))
		synctest.Wait()
		w.expect(id, relay.StateDelivered, "", 1)
		w.expect(late, relay.StateDelivered, "", 1)
		if n := to.all()[0].header.Get("Relay-Attempt"); n != "1" {
			t.Errorf("the attempt after the cut has the number %s", n)
		}
	})
}

func TestDrainLetsAttemptsEnd(t *testing.T) {
	run(t, func(w *world) {
		w.plan(subscription("crm", &receiver{answer: func(n int, r *http.Request) (*http.Response, error) {
			time.Sleep(5 * time.Second)
			return answer(200), nil
		}}))
		id := w.publish("a", "1").ID
		synctest.Wait()
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		start := time.Now()
		w.engine.Drain(ctx)
		if took := time.Since(start); took != 5*time.Second {
			t.Errorf("draining took %v, want the 5s that the attempt took", took)
		}
		w.expect(id, relay.StateDelivered, "", 1)
	})
}

func TestAttemptsRestWhileOutcomesCannotBeStored(t *testing.T) {
	run(t, func(w *world) {
		var to receiver
		w.plan(subscription("crm", &to))
		first := w.publish("a", "1").ID
		w.memory.Fail(relay.ErrBroken)
		w.wait(time.Minute)
		if n := len(to.all()); n != 1 {
			t.Fatalf("%d requests, want 1", n)
		}
		w.memory.Fail(nil)
		second := w.publish("a", "2").ID
		w.wait(time.Minute)
		w.expect(first, relay.StateDelivered, "", 1)
		w.expect(second, relay.StateDelivered, "", 1)
		if n := len(to.all()); n != 2 {
			t.Errorf("%d requests, want 2", n)
		}
	})
}

// slowToRead is a store that takes its time to read.
type slowToRead struct{ relay.Store }

func (s *slowToRead) Read(ctx context.Context, name string, after uint64, limit, maxBytes int) ([]relay.Entry, error) {
	entries, err := s.Store.Read(ctx, name, after, limit, maxBytes)
	time.Sleep(time.Second)
	return entries, err
}

// A lane that is held drops its queue; what was being read for it then is out of date.
func TestHoldDuringRefillLosesNothing(t *testing.T) {
	run(t, func(w *world) {
		var answers atomic.Int64
		to := receiver{answer: func(n int, r *http.Request) (*http.Response, error) {
			time.Sleep(5 * time.Millisecond)
			if answers.Add(1)%150 == 0 {
				return answer(503, "Retry-After: 1"), nil
			}
			return answer(200), nil
		}}
		s := subscription("crm", &to)
		s.Paused = true
		w.plan(s)
		const n = 2000
		ids := make([]string, n)
		for i := range ids {
			ids[i] = w.publish("a", fmt.Sprint(i)).ID
		}
		w.stop()
		w.store = &slowToRead{w.memory}
		w.open()
		open := subscription("crm", &to)
		open.MaxInFlight = 3
		w.plan(open)
		w.wait(time.Hour)
		for _, id := range ids {
			if d := w.delivery(id); d.State != relay.StateDelivered {
				t.Fatalf("%s is %s (%s)", id, d.State, d.Reason)
			}
		}
	})
}

// damaged is a store in which one event cannot be read.
type damaged struct {
	relay.Store
	bad relay.Seq
}

func (d *damaged) Read(ctx context.Context, name string, after uint64, limit, maxBytes int) ([]relay.Entry, error) {
	entries, err := d.Store.Read(ctx, name, after, limit, maxBytes)
	for i, e := range entries {
		if e.Event.Seq == d.bad {
			if i > 0 {
				return entries[:i], nil
			}
			return nil, &relay.UnreadableError{Pos: e.Pos, Seq: d.bad, Err: errors.New("checksum")}
		}
	}
	return entries, err
}

func TestUnreadableEventIsSetAsideAndTheRestGoesOn(t *testing.T) {
	run(t, func(w *world) {
		s := subscription("crm", &receiver{})
		s.Paused = true
		w.plan(s)
		var ids []string
		for i := range 5 {
			ids = append(ids, w.publish("a", fmt.Sprint(i)).ID)
		}
		w.stop()
		bad, _, err := relay.ParseID(ids[2])
		if err != nil {
			t.Fatal(err)
		}
		w.store = &damaged{Store: w.memory, bad: bad}
		w.open()
		w.plan(subscription("crm", &receiver{}))
		w.wait(time.Minute)
		for i, id := range ids {
			if i == 2 {
				w.expect(id, relay.StateFailed, relay.ReasonQuarantined, 0)
			} else {
				w.expect(id, relay.StateDelivered, "", 1)
			}
		}
	})
}

func TestFinishedEventsAreRemovedWithAge(t *testing.T) {
	run(t, func(w *world) {
		s := subscription("crm", &receiver{answer: func(n int, r *http.Request) (*http.Response, error) {
			return answer(map[string]int{"good": 200, "bad": 400}[r.Header.Get("Relay-Event")]), nil
		}}, "good", "bad")
		s.Retry.Off = true
		held := subscription("held", &receiver{}, "held")
		held.Paused = true
		w.plan(s, held)
		good, bad, unfinished := w.publish("good", "1").ID, w.publish("bad", "1").ID, w.publish("held", "1").ID
		day := 24 * time.Hour
		w.wait(7*day + time.Hour)
		kept := func(id string) bool {
			_, _, err := w.engine.Inspect(context.Background(), id)
			if err != nil && !errors.Is(err, relay.ErrNotFound) {
				t.Fatal(err)
			}
			return err == nil
		}
		if kept(good) || !kept(bad) || !kept(unfinished) {
			t.Errorf("after a week: good %v, bad %v, unfinished %v", kept(good), kept(bad), kept(unfinished))
		}
		w.wait(30 * day)
		if kept(bad) || !kept(unfinished) {
			t.Errorf("after a month: bad %v, unfinished %v", kept(bad), kept(unfinished))
		}
	})
}

func TestListsOfDeliveries(t *testing.T) {
	run(t, func(w *world) {
		failing := subscription("failing", &receiver{answer: func(int, *http.Request) (*http.Response, error) {
			return answer(400), nil
		}}, "a.odd")
		failing.Retry.Off, failing.Breaker.Off = true, true
		w.plan(subscription("all", &receiver{}), failing)
		for i := range 25 {
			w.publish([]string{"a.even", "a.odd"}[i%2], "1")
			w.wait(time.Second)
		}
		for _, c := range []struct {
			query relay.DeliveryQuery
			want  int
		}{
			{relay.DeliveryQuery{}, 37},
			{relay.DeliveryQuery{State: relay.StateFailed}, 12},
			{relay.DeliveryQuery{Subscription: "failing"}, 12},
			{relay.DeliveryQuery{Subscription: "all", State: relay.StateFailed}, 0},
			{relay.DeliveryQuery{Subscription: "all", State: relay.StateDelivered}, 25},
			{relay.DeliveryQuery{Since: time.Now().Add(-10 * time.Second)}, 15},
			{relay.DeliveryQuery{Subscription: "all", Until: time.Now().Add(-10 * time.Second)}, 15},
		} {
			for _, limit := range []int{1, 7, 100} {
				c.query.Limit, c.query.Cursor = limit, ""
				seen := make(map[string]bool)
				last := "~"
				for page := 0; ; page++ {
					got, err := w.engine.Deliveries(context.Background(), c.query)
					if err != nil {
						t.Fatal(err)
					}
					if len(got.Deliveries) > limit || page > 100 {
						t.Fatalf("%+v: page %d has %d deliveries", c.query, page, len(got.Deliveries))
					}
					for _, d := range got.Deliveries {
						if d.Event > last {
							t.Errorf("%+v: %s comes after %s", c.query, d.Event, last)
						}
						if seen[d.Event+d.Subscription] {
							t.Errorf("%+v: %s of %s comes twice", c.query, d.Event, d.Subscription)
						}
						if d.AttemptCount != 1 {
							t.Errorf("%+v", d)
						}
						last, seen[d.Event+d.Subscription] = d.Event, true
					}
					if got.Next == "" {
						break
					}
					c.query.Cursor = got.Next
				}
				if len(seen) != c.want {
					t.Errorf("%+v: %d deliveries, want %d", c.query, len(seen), c.want)
				}
			}
		}
		for _, bad := range []string{"x", "p", "p0", "s", "s0.0", "p-1"} {
			for _, name := range []string{"", "all"} {
				_, err := w.engine.Deliveries(context.Background(), relay.DeliveryQuery{Subscription: name, Cursor: bad, Limit: 1})
				if _, ok := errors.AsType[*relay.CursorError](err); !ok {
					t.Errorf("the cursor %q gives %v", bad, err)
				}
			}
		}
	})
}
