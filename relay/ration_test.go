package relay_test

import (
	"context"
	"fmt"
	"net/http"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddyrelay/caddyrelay/relay"
)

// Thousands of attempts that fail do not fall on the processor at once: that is what the
// others would wait for.
func TestEndpointsThatFailShareTheirStarts(t *testing.T) {
	run(t, func(w *world) {
		const dead, backlog = 3000, 3
		var mu sync.Mutex
		perSecond := make(map[int64]int)
		refused := transport(func(*http.Request) (*http.Response, error) {
			mu.Lock()
			defer mu.Unlock()
			perSecond[time.Now().Unix()]++
			return nil, syscall.ECONNREFUSED
		})
		var well receiver
		all := []*relay.Subscription{subscription("well", &well)}
		for i := range dead {
			s := subscription(fmt.Sprintf("dead-%d", i), refused)
			s.Breaker.Off = true
			s.Retry.Delays = slices.Repeat([]time.Duration{time.Second}, 1000)
			all = append(all, s)
		}
		w.plan(all...)
		for range backlog {
			w.publish("a", "1")
		}
		w.wait(10 * time.Second)
		first := time.Now().Unix()
		w.wait(10 * time.Second)
		mu.Lock()
		most := relay.StartsPerCPU*runtime.GOMAXPROCS(0) + 1
		total := 0
		for second, n := range perSecond {
			if second < first {
				continue
			}
			if total += n; n > most {
				t.Errorf("%d attempts in one second; want at most %d", n, most)
			}
		}
		mu.Unlock()
		if total < 9*(most-1) {
			t.Errorf("%d attempts in ten seconds; want about %d", total, 10*most)
		}
		// One that is well does not stand in line with them.
		w.publish("a", "1")
		synctest.Wait()
		if n := len(well.all()); n != backlog+1 {
			t.Errorf("the endpoint that is well got %d requests, want %d", n, backlog+1)
		}
		for _, s := range w.engineStatus() {
			if s.Name != "well" && s.Pending != backlog+1 {
				t.Fatalf("%+v; want all of it pending", s)
			}
		}
	})
}

// Endpoints that take connections and say nothing do not use up memory and descriptors.
func TestEndpointsThatHangTakeAPlaceEachAndFewMore(t *testing.T) {
	run(t, func(w *world) {
		const lanes, events = 300, 40
		var hang atomic.Bool
		var now, most atomic.Int64
		waiting := transport(func(r *http.Request) (*http.Response, error) {
			if !hang.Load() {
				return answer(200), nil
			}
			n := now.Add(1)
			most.Store(max(most.Load(), n))
			<-r.Context().Done()
			now.Add(-1)
			return nil, r.Context().Err()
		})
		proven := &receiver{answer: func(int, *http.Request) (*http.Response, error) {
			time.Sleep(time.Second)
			return answer(200), nil
		}}
		all := []*relay.Subscription{subscription("proven", proven, "b")}
		for i := range lanes {
			all = append(all, subscription(fmt.Sprintf("hangs-%d", i), waiting, "a"))
		}
		w.plan(all...)
		w.publish("b", "1")
		w.wait(time.Minute)

		hang.Store(true)
		for range events {
			w.publish("a", "1")
		}
		synctest.Wait()
		if n := now.Load(); n != lanes+relay.DoubtfulPlaces {
			t.Errorf("%d attempts hang; want %d", n, lanes+relay.DoubtfulPlaces)
		}
		for _, s := range w.engineStatus() {
			if s.Name != "proven" && s.InFlight == 0 {
				t.Fatalf("%+v has no attempt in flight", s)
			}
		}
		// One that has proved itself takes what it is allowed.
		for range events {
			w.publish("b", "1")
		}
		synctest.Wait()
		if n := w.status("proven").InFlight; n != relay.DefaultMaxInFlight {
			t.Errorf("the one that is well has %d attempts in flight; want %d", n, relay.DefaultMaxInFlight)
		}
		w.wait(time.Hour)
		if n := most.Load(); n > lanes+relay.DoubtfulPlaces {
			t.Errorf("up to %d attempts hung; want at most %d", n, lanes+relay.DoubtfulPlaces)
		}
		hang.Store(false)
		w.wait(24 * time.Hour)
		for _, s := range w.engineStatus() {
			if s.Pending != 0 || s.InFlight != 0 {
				t.Fatalf("in the end: %+v", s)
			}
		}
		if n := w.engine.Places(); n != 0 {
			t.Errorf("%d places are taken for ever", n)
		}
	})
}

// engineStatus returns that of all subscriptions.
func (w *world) engineStatus() []relay.SubscriptionStatus {
	w.t.Helper()
	all, err := w.engine.Status(context.Background())
	if err != nil {
		w.t.Fatal(err)
	}
	return all
}

// weighing is a store that notes how much it is told at once.
type weighing struct {
	relay.Store
	commits, most atomic.Int64
}

func (s *weighing) Commit(ctx context.Context, updates []relay.Update) error {
	records := 0
	for _, u := range updates {
		records += 1 + len(u.Put) + len(u.Drop) + len(u.Attempts)
	}
	s.commits.Add(1)
	s.most.Store(max(s.most.Load(), int64(records)))
	return s.Store.Commit(ctx, updates)
}

// What is accepted while thousands of lanes have outcomes waits for a few of them.
func TestOutcomesAreStoredInGroups(t *testing.T) {
	run(t, func(w *world) {
		w.stop()
		store := &weighing{Store: w.memory}
		w.store = store
		w.open()
		const lanes = 3000
		var all []*relay.Subscription
		for i := range lanes {
			all = append(all, subscription(fmt.Sprintf("s%d", i), &receiver{}))
		}
		w.plan(all...)
		id := w.publish("a", "1").ID
		w.wait(time.Minute)
		if most := store.most.Load(); most > relay.GroupRecords+10 || store.commits.Load() < 2*lanes/relay.GroupRecords {
			t.Errorf("%d commits of up to %d records", store.commits.Load(), most)
		}
		w.restart()
		_, deliveries, err := w.engine.Inspect(context.Background(), id)
		if err != nil || len(deliveries) != lanes {
			t.Fatalf("%d deliveries, %v", len(deliveries), err)
		}
		for _, d := range deliveries {
			if d.State != relay.StateDelivered || len(d.Attempts) != 1 {
				t.Fatalf("%+v", d)
			}
		}
	})
}

// That this machine lacks something is not the receiver's fault.
func TestWhatThisMachineLacksIsNotCharged(t *testing.T) {
	for _, lack := range []error{syscall.EMFILE, syscall.ENFILE, syscall.EADDRNOTAVAIL} {
		run(t, func(w *world) {
			to := &receiver{answer: func(n int, _ *http.Request) (*http.Response, error) {
				if n < 3 {
					return nil, fmt.Errorf("connecting: %w", lack)
				}
				return answer(200), nil
			}}
			w.plan(subscription("crm", to))
			id := w.publish("a", "1").ID
			w.wait(time.Second)
			w.expect(id, relay.StateHeld, relay.ReasonEgress, 0)
			w.wait(time.Minute)
			w.expect(id, relay.StateDelivered, "", 1)
		})
	}
}
