package relay_test

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"testing"
	"time"

	"github.com/caddyrelay/caddyrelay/relay"
)

// TestClockStepsWhileStopped (F12): what was recorded by a clock that was far ahead, or far
// behind, when an engine starts: nothing is lost, nothing waits for the time that the clock
// showed, attempts keep to their bounds, and retention takes nothing that is pending.
func TestClockStepsWhileStopped(t *testing.T) {
	const year = 365 * 24 * time.Hour
	for _, step := range []time.Duration{-10 * year, -year, -time.Hour, time.Hour, year, 10 * year} {
		t.Run(fmt.Sprint(step), func(t *testing.T) {
			run(t, func(w *world) {
				to := &receiver{}
				const n = 50
				s := subscription("crm", to)
				s.Paused = true
				s.MaxInFlight = 2
				w.plan(s)
				var ids []string
				for i := range n {
					ids = append(ids, w.publish("a", fmt.Sprint(i)).ID)
				}
				w.wait(time.Second)
				w.stop()
				// What an engine would have left whose clock showed now minus step.
				then := time.Now().Add(-step)
				u := relay.Update{Progress: relay.Progress{
					Subscription: "crm", Low: n, Open: n, NextDue: then.Add(time.Minute), FailingSince: then, LastSuccess: then,
					HoldUntil: then.Add(10 * time.Second), ProbeAt: then.Add(5 * time.Second),
				}}
				entries, err := w.memory.Read(context.Background(), "crm", 0, n, 1<<20)
				if err != nil || len(entries) != n {
					t.Fatalf("%d entries, %v", len(entries), err)
				}
				for _, e := range entries {
					u.Put = append(u.Put, relay.Exception{
						From: e.Pos, To: e.Pos, Seq: e.Event.Seq, Kind: relay.Retry, Attempts: 1, Step: 1,
						At: then, Due: then.Add(time.Minute), Since: then,
					})
				}
				if err := w.memory.Commit(context.Background(), []relay.Update{u}); err != nil {
					t.Fatal(err)
				}
				w.store = w.memory
				w.open()
				if _, err := relay.Trim(w.engine, context.Background()); err != nil {
					t.Fatal(err)
				}
				if got := w.engine.Unfinished(); got != n {
					t.Fatalf("%d are unfinished after retention, want %d", got, n)
				}
				s = subscription("crm", to)
				s.MaxInFlight = 2
				w.plan(s)
				w.wait(2*time.Hour + time.Minute)
				for _, id := range ids {
					w.expect(id, relay.StateDelivered, "", 2)
				}
				if got := len(to.all()); got != n {
					t.Errorf("%d requests for %d deliveries", got, n)
				}
			})
		})
	}
}

// TestTimeWithoutAnEngineCountsForNothing (F12): that Caddy was stopped, or that the clock went
// forward meanwhile, is no failing of an endpoint: neither give_up_after nor disable_after come
// early by it.
func TestTimeWithoutAnEngineCountsForNothing(t *testing.T) {
	const every = 10 * time.Minute
	for _, stopped := range []time.Duration{time.Hour, 10 * 365 * 24 * time.Hour} {
		t.Run(fmt.Sprint(stopped), func(t *testing.T) {
			run(t, func(w *world) {
				down := func(int, *http.Request) (*http.Response, error) { return answer(http.StatusServiceUnavailable), nil }
				attach := func() {
					gives, disables := subscription("gives-up", &receiver{answer: down}, "a"), subscription("disables", &receiver{answer: down}, "b")
					for _, s := range []*relay.Subscription{gives, disables} {
						s.Retry.Delays = slices.Repeat([]time.Duration{every}, 100)
						s.Breaker.Off = true
					}
					gives.Retry.GiveUpAfter, disables.DisableAfter = 2*time.Hour, 100*time.Minute
					w.plan(gives, disables)
				}
				attach()
				given, disabled := w.publish("a", "1").ID, w.publish("b", "2").ID
				w.wait(25 * time.Minute)
				w.stop()
				time.Sleep(stopped)
				w.open()
				attach()

				// At once, and then ten minutes after another as if there had been no time between.
				w.wait(75 * time.Minute)
				w.expect(given, relay.StateRetrying, "", 11)
				w.expect(disabled, relay.StateRetrying, "", 11)
				w.wait(every)
				if s := w.status("disables"); s.Reason != relay.ReasonDisabled {
					t.Errorf("not disabled in time: %+v", s)
				}
				w.expect(given, relay.StateRetrying, "", 12)
				w.wait(every)
				if s := w.status("gives-up"); s.Failed != 1 {
					t.Errorf("not given up in time: %+v", s)
				}
			})
		})
	}
}
