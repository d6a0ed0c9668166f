package relay_test

import (
	"context"
	"fmt"
	"net/http"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddyrelay/caddyrelay/relay"
)

// tally is an observer that counts what it is told of deliveries.
type tally struct {
	relay.NopObserver
	mu      sync.Mutex
	settled map[string]uint64 // by subscription and state
	arrived []time.Duration
}

func newTally() *tally { return &tally{settled: make(map[string]uint64)} }

func (o *tally) Settled(subscription string, state relay.State, n uint64) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.settled[subscription+" "+string(state)] += n
}

func (o *tally) Arrived(_ string, latency time.Duration) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.arrived = append(o.arrived, latency)
}

// want compares what was counted since the last time, and forgets it.
func (o *tally) want(t *testing.T, what string, settled map[string]uint64, arrived ...time.Duration) {
	t.Helper()
	o.mu.Lock()
	defer o.mu.Unlock()
	if fmt.Sprint(o.settled) != fmt.Sprint(settled) || fmt.Sprint(o.arrived) != fmt.Sprint(arrived) {
		t.Errorf("%s: settled %v, arrived %v; want %v, %v", what, o.settled, o.arrived, settled, arrived)
	}
	clear(o.settled)
	o.arrived = nil
}

func (w *world) observed(o relay.Observer, subscriptions ...*relay.Subscription) {
	w.t.Helper()
	p, err := relay.NewPlan(relay.PlanOptions{Subscriptions: subscriptions, Observer: o})
	if err != nil {
		w.t.Fatal(err)
	}
	w.attach(p)
}

type counts = map[string]uint64

// Whatever ends a delivery is counted, and once.
func TestEveryEndOfADeliveryIsCounted(t *testing.T) {
	defer relay.SetRetriesInMemory(3)()
	run(t, func(w *world) {
		o := newTally()
		well := &receiver{answer: func(int, *http.Request) (*http.Response, error) {
			time.Sleep(time.Second)
			return answer(200), nil
		}}
		sick := subscription("sick", &receiver{answer: func(int, *http.Request) (*http.Response, error) { return answer(500), nil }})
		sick.Retry.Delays, sick.Breaker.Off = []time.Duration{time.Hour}, true
		w.observed(o, subscription("well", well), sick)
		ctx := context.Background()

		var last string
		for range 8 {
			last = w.publish("a", "1").ID
		}
		w.wait(time.Minute)
		second := make([]time.Duration, 8)
		for i := range second {
			second[i] = time.Second
		}
		o.want(t, "delivering", counts{"well delivered": 8}, second...)

		if err := w.engine.Erase(ctx, last); err != nil {
			t.Fatal(err)
		}
		o.want(t, "erasing", counts{"sick failed": 1})

		if _, err := w.engine.Pause(ctx, "sick", ""); err != nil {
			t.Fatal(err)
		}
		w.publish("a", "1") // in the log alone
		w.wait(time.Minute)
		o.want(t, "delivering", counts{"well delivered": 1}, time.Second)
		if _, err := w.engine.Drop(ctx, "sick"); err != nil {
			t.Fatal(err)
		}
		o.want(t, "dropping", counts{"sick failed": 8})
		if n := w.status("sick").Failed; n != 9 {
			t.Errorf("the status says %d failed, want 9", n)
		}
	})
}

// How late a replay is says nothing about deliveries.
func TestReplaysHaveNoLatency(t *testing.T) {
	run(t, func(w *world) {
		o := newTally()
		to := &receiver{answer: func(n int, _ *http.Request) (*http.Response, error) {
			if n == 2 {
				return answer(500), nil
			}
			return answer(200), nil
		}}
		w.observed(o, subscription("crm", to))
		ctx := context.Background()
		id := w.publish("a", "1").ID
		synctest.Wait()
		o.want(t, "the first time", counts{"crm delivered": 1}, 0)
		w.wait(time.Hour)
		if err := w.engine.Replay(ctx, id, "crm"); err != nil {
			t.Fatal(err)
		}
		w.wait(time.Second)
		w.restart() // between its failure and its success
		w.observed(o, subscription("crm", to), subscription("late", &receiver{}))
		w.wait(time.Hour)
		w.expect(id, relay.StateDelivered, "", 3)
		o.want(t, "replayed", counts{"crm delivered": 1})

		if j := w.job(relay.ReplayRequest{Subscription: "late", Select: relay.SelectMissing}); j.Replayed != 1 {
			t.Fatalf("%+v", j)
		}
		o.want(t, "what was missing", counts{"late delivered": 1})
	})
}

func TestMissingThatWaitsInTheStoreHasNoLatency(t *testing.T) {
	defer relay.SetQueueEntries(2)()
	run(t, func(w *world) {
		o := newTally()
		w.observed(o, subscription("crm", &receiver{}))
		for range 10 {
			w.publish("a", "1")
		}
		w.wait(time.Hour)
		o.want(t, "the first", counts{"crm delivered": 10}, make([]time.Duration, 10)...)
		late := subscription("late", &receiver{})
		late.Paused = true
		w.observed(o, subscription("crm", &receiver{}), late)
		if j := w.job(relay.ReplayRequest{Subscription: "late", Select: relay.SelectMissing}); j.Replayed != 10 {
			t.Fatalf("%+v", j)
		}
		w.restart()
		w.observed(o, subscription("late", &receiver{}))
		w.wait(time.Minute)
		o.want(t, "what was missing", counts{"late delivered": 10})
	})
}
