package relay_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddyrelay/caddyrelay/relay"
)

// endpoint answers with what status holds at the time.
func endpoint(status *atomic.Int64) *receiver {
	return &receiver{answer: func(int, *http.Request) (*http.Response, error) { return answer(int(status.Load())), nil }}
}

func TestBreakerOpensProbesAndCloses(t *testing.T) {
	run(t, func(w *world) {
		var status atomic.Int64
		status.Store(500)
		to := endpoint(&status)
		s := subscription("crm", to)
		s.Breaker = relay.BreakerPolicy{Ratio: 0.5, Least: 4, Window: time.Minute, Pause: 30 * time.Second}
		s.MaxInFlight = 1
		w.plan(s)
		var ids []string
		for i := range 20 {
			ids = append(ids, w.publish("a", fmt.Sprint(i)).ID)
		}
		synctest.Wait()
		if n := len(to.all()); n != 4 {
			t.Fatalf("the breaker let %d attempts through, want 4", n)
		}
		if got := w.status("crm"); got.State != relay.SubscriptionActive || got.Reason != relay.ReasonBreaker || got.Pending != 20 {
			t.Errorf("status %+v", got)
		}
		w.expect(ids[0], relay.StateRetrying, relay.ReasonBreaker, 1)
		w.expect(ids[19], relay.StateHeld, relay.ReasonBreaker, 0)

		w.wait(29 * time.Second)
		if n := len(to.all()); n != 4 {
			t.Errorf("%d attempts while the breaker was open", n-4)
		}
		w.wait(time.Second)
		if n := len(to.all()); n != 5 {
			t.Errorf("%d probes, want 1", n-4)
		}
		w.restart() // an open breaker is open after it
		w.plan(s)
		synctest.Wait()
		if n := len(to.all()); n != 5 {
			t.Errorf("%d attempts after a restart with an open breaker", n-5)
		}
		status.Store(200)
		w.wait(30*time.Second + time.Hour)
		for _, id := range ids {
			if d := w.delivery(id); d.State != relay.StateDelivered {
				t.Errorf("%s is %s (%s)", id, d.State, d.Reason)
			}
		}
		if got := w.status("crm"); got.Reason != "" {
			t.Errorf("status %+v", got)
		}
	})
}

func TestBreakerDoesNotCount429AndCanBeOff(t *testing.T) {
	for name, c := range map[string]struct {
		status int
		off    bool
	}{"429": {429, false}, "off": {500, true}} {
		t.Run(name, func(t *testing.T) {
			run(t, func(w *world) {
				var status atomic.Int64
				status.Store(int64(c.status))
				to := endpoint(&status)
				s := subscription("crm", to)
				s.Breaker = relay.BreakerPolicy{Ratio: 0.1, Least: 1, Window: time.Minute, Pause: time.Hour, Off: c.off}
				w.plan(s)
				for range 50 {
					w.publish("a", "1")
				}
				synctest.Wait()
				if n := len(to.all()); n != 50 {
					t.Errorf("%d attempts, want 50", n)
				}
			})
		})
	}
}

// While the breaker is open, an endpoint that says "too many" to the probe is not met by anything
// else before the next one.
func TestProbeThatIsAnswered429LeavesTheBreakerOpen(t *testing.T) {
	run(t, func(w *world) {
		var status atomic.Int64
		status.Store(500)
		to := endpoint(&status)
		s := subscription("crm", to)
		s.Retry.Delays = []time.Duration{time.Second, time.Second, time.Second}
		s.Breaker = relay.BreakerPolicy{Ratio: 0.5, Least: 4, Window: time.Minute, Pause: 30 * time.Second}
		w.plan(s)
		for range 200 {
			w.publish("a", "1")
		}
		w.wait(time.Second)
		opened := len(to.all())
		status.Store(429)
		w.wait(30 * time.Second)
		if n := len(to.all()) - opened; n != 1 {
			t.Errorf("%d probes, want one in 30 s", n)
		}
		if got := w.status("crm"); got.Reason != relay.ReasonBreaker || got.Failed != 0 {
			t.Errorf("%+v, want it to wait for the next probe", got)
		}
		status.Store(200)
		w.wait(time.Hour)
		if got := w.status("crm"); got.Reason != relay.ReasonNone || got.Pending != 0 || got.Failed != 0 {
			t.Errorf("%+v, once the endpoint is well", got)
		}
	})
}

// A breaker that was open when it was taken out is closed when it comes back, if all went well
// meanwhile.
func TestBreakerComesBackClosed(t *testing.T) {
	run(t, func(w *world) {
		var down atomic.Bool
		down.Store(true)
		to := failingWhile(&down)
		attach := func(b relay.BreakerPolicy) {
			s := subscription("crm", to)
			s.Breaker = b
			w.plan(s)
		}
		open := relay.BreakerPolicy{Ratio: 0.5, Least: 4, Window: time.Minute, Pause: 30 * time.Second}
		attach(open)
		for range 20 {
			w.publish("a", "1")
		}
		w.wait(time.Second)
		if got := w.status("crm"); got.Reason != relay.ReasonBreaker {
			t.Fatalf("%+v, want an open breaker", got)
		}
		down.Store(false)
		attach(relay.BreakerPolicy{Off: true})
		w.wait(time.Hour)
		w.expectPending(0)
		attach(open)
		w.wait(time.Hour)
		if got := w.status("crm"); got.Reason != relay.ReasonNone {
			t.Errorf("healthy for an hour, and shown as %+v", got)
		}
	})
}

// A reload that changes the window of the breaker has it judge what comes from then on: not what
// was counted for the other window, which no part of the new one would ever push out.
func TestBreakerOfAnotherWindowJudgesAnew(t *testing.T) {
	for _, size := range []time.Duration{time.Minute, 10 * time.Minute} {
		run(t, func(w *world) {
			var down atomic.Bool
			to := failingWhile(&down)
			attach := func(size time.Duration) *relay.Plan {
				s := subscription("crm", to)
				s.Breaker = relay.DefaultBreaker
				s.Breaker.Window = size
				return w.plan(s)
			}
			before := attach(5 * time.Minute)
			w.publish("x", "0")
			w.wait(time.Second)
			attach(size)
			w.engine.Detach(before)
			for i := range 1000 {
				w.publish("x", fmt.Sprint(i))
				w.wait(time.Second)
			}
			w.wait(time.Hour) // nothing
			down.Store(true)
			for i := range 20 {
				w.publish("x", fmt.Sprint(i))
				w.wait(time.Second)
			}
			if got := w.status("crm"); got.Reason != relay.ReasonBreaker {
				t.Errorf("a window of %v, after twenty failures and nothing else: %+v", size, got)
			}
		})
	}
}

// An endpoint that comes back after an hour is not met by everything at once.
func TestEndpointThatComesBackIsMetByARamp(t *testing.T) {
	run(t, func(w *world) {
		var up atomic.Bool
		var now, most [4]atomic.Int64 // attempts at the same time, by the number of those before
		var done atomic.Int64
		to := &receiver{answer: func(int, *http.Request) (*http.Response, error) {
			if !up.Load() {
				return answer(500), nil
			}
			stage := min(done.Load()/2, 3)
			n := now[0].Add(1)
			if n > most[stage].Load() {
				most[stage].Store(n)
			}
			time.Sleep(time.Second)
			now[0].Add(-1)
			done.Add(1)
			return answer(200), nil
		}}
		s := subscription("crm", to)
		s.MaxInFlight = 32
		w.plan(s)
		for range 500 {
			w.publish("a", "1")
		}
		w.wait(time.Hour)
		up.Store(true)
		w.wait(29*time.Second + 24*time.Hour)
		if first := most[0].Load(); first > 2 {
			t.Errorf("the endpoint was met by %d attempts at once", first)
		}
		if last := most[3].Load(); last != 32 {
			t.Errorf("the ramp ends at %d attempts at once, want 32", last)
		}
		if got := w.status("crm"); got.Pending != 0 {
			t.Errorf("status %+v", got)
		}
	})
}

func TestOnlyFailuresForLongDisable(t *testing.T) {
	run(t, func(w *world) {
		var status atomic.Int64
		status.Store(500)
		to := endpoint(&status)
		s := subscription("crm", to)
		s.DisableAfter = 48 * time.Hour
		w.plan(s)
		id := w.publish("a", "1").ID
		w.wait(72 * time.Hour)
		got := w.status("crm")
		if got.State != relay.SubscriptionDisabled || !strings.Contains(got.Detail, "only failures since") {
			t.Errorf("status %+v", got)
		}
		before := len(to.all())
		w.wait(240 * time.Hour)
		if n := len(to.all()); n != before {
			t.Errorf("%d attempts of a disabled subscription", n-before)
		}
		status.Store(200)
		if got, err := w.engine.Resume(context.Background(), "crm"); err != nil || got.State != relay.SubscriptionActive {
			t.Errorf("resuming: %+v, %v", got, err)
		}
		synctest.Wait()
		if d := w.delivery(id); d.State != relay.StateDelivered {
			t.Errorf("%+v", d)
		}
	})
}

func TestRateLimitIsKept(t *testing.T) {
	run(t, func(w *world) {
		var to receiver
		s := subscription("crm", &to)
		s.RateLimit = relay.RateLimit{Events: 5, Window: 10 * time.Second}
		old := w.plan(s)
		start := time.Now()
		for range 20 {
			w.publish("a", "1")
		}
		again := subscription("crm", &to) // a reload does not fill the bucket
		again.RateLimit = s.RateLimit
		w.plan(again)
		w.engine.Detach(old)
		w.wait(time.Hour)
		got := to.all()
		if len(got) != 20 {
			t.Fatalf("%d requests, want 20", len(got))
		}
		for i, r := range got {
			want := max(time.Duration(i-4)*2*time.Second, 0)
			if d := r.at.Sub(start); d < want || d > want+10*time.Millisecond {
				t.Errorf("request %d after %v, want %v", i+1, d, want)
			}
		}
	})
}

func TestPauseIsKeptAndResumeMakesAllDue(t *testing.T) {
	defer relay.SetRetriesInMemory(3)()
	run(t, func(w *world) {
		var status atomic.Int64
		status.Store(500)
		to := endpoint(&status)
		s := subscription("crm", to)
		s.Breaker.Off = true
		s.Retry.Delays = []time.Duration{24 * time.Hour, 24 * time.Hour}
		w.plan(s)
		ctx := context.Background()
		var ids []string
		for range 10 {
			ids = append(ids, w.publish("a", "1").ID)
		}
		synctest.Wait()
		if got, err := w.engine.Pause(ctx, "crm", "call first"); err != nil || got.State != relay.SubscriptionPaused || got.Detail != "call first" {
			t.Errorf("pausing: %+v, %v", got, err)
		}
		ids = append(ids, w.publish("a", "1").ID)
		w.restart()
		w.plan(s)
		w.wait(48 * time.Hour)
		w.expect(ids[0], relay.StateRetrying, relay.ReasonPaused, 1)
		w.expect(ids[10], relay.StateHeld, relay.ReasonPaused, 0)

		status.Store(200)
		if _, err := w.engine.Resume(ctx, "crm"); err != nil {
			t.Fatal(err)
		}
		w.wait(time.Second)
		for _, id := range ids {
			if d := w.delivery(id); d.State != relay.StateDelivered {
				t.Errorf("%s is %s (%s)", id, d.State, d.Reason)
			}
		}
	})
}

func TestResumeMakesRetriesDueWhereNothingWasPaused(t *testing.T) {
	run(t, func(w *world) {
		var status atomic.Int64
		status.Store(500)
		s := subscription("crm", endpoint(&status))
		s.Retry.Delays = []time.Duration{24 * time.Hour}
		w.plan(s)
		id := w.publish("a", "1").ID
		synctest.Wait()
		status.Store(200)
		if _, err := w.engine.Resume(context.Background(), "crm"); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		w.expect(id, relay.StateDelivered, "", 2)
	})
}

func TestSteeringSaysWhatIsWrong(t *testing.T) {
	run(t, func(w *world) {
		s := subscription("crm", &receiver{})
		s.Paused = true
		w.plan(s)
		ctx := context.Background()
		if _, err := w.engine.Resume(ctx, "crm"); !errors.Is(err, relay.ErrPausedByConfiguration) {
			t.Errorf("resuming what the configuration pauses: %v", err)
		}
		_, err := w.engine.Pause(ctx, "mrc", "")
		if _, ok := errors.AsType[*relay.UnknownNameError](err); !ok {
			t.Errorf("pausing nobody: %v", err)
		}
	})
}
