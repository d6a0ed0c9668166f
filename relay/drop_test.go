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

func TestDropGivesUpEverythingThatIsNotFinished(t *testing.T) {
	defer relay.SetRetriesInMemory(5)()
	run(t, func(w *world) {
		var status atomic.Int64
		status.Store(500)
		s := subscription("crm", endpoint(&status))
		s.Breaker.Off = true
		s.Retry.Delays = []time.Duration{time.Hour, time.Hour}
		w.plan(s)
		var ids []string
		for range 20 {
			ids = append(ids, w.publish("a", "1").ID)
		}
		synctest.Wait()
		ctx := context.Background()
		if _, err := w.engine.Pause(ctx, "crm", ""); err != nil {
			t.Fatal(err)
		}
		for range 20 {
			ids = append(ids, w.publish("a", "1").ID)
		}
		got, err := w.engine.Drop(ctx, "crm")
		if err != nil || got.Pending != 0 || got.Failed != 40 {
			t.Errorf("dropping: %+v, %v", got, err)
		}
		check := func(when string) {
			t.Helper()
			for i, id := range ids {
				want := 1
				if i >= 20 {
					want = 0
				}
				if d := w.delivery(id); d.State != relay.StateFailed || d.Reason != relay.ReasonDropped || d.AttemptCount != want {
					t.Errorf("%s: %d is %s (%s) after %d attempts", when, i, d.State, d.Reason, d.AttemptCount)
				}
			}
		}
		check("at once")
		w.restart()
		w.plan(s)
		if _, err := w.engine.Resume(ctx, "crm"); err != nil {
			t.Fatal(err)
		}
		w.wait(24 * time.Hour)
		check("after a restart")

		// One out of the middle of what was dropped can be brought back.
		status.Store(200)
		if err := w.engine.Replay(ctx, ids[30], "crm"); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		w.expect(ids[30], relay.StateDelivered, "", 1)
		w.expect(ids[29], relay.StateFailed, relay.ReasonDropped, 0)
		w.expect(ids[31], relay.StateFailed, relay.ReasonDropped, 0)
		if got := w.status("crm"); got.Pending != 0 || got.Failed != 39 {
			t.Errorf("status %+v", got)
		}
		// And then the rest.
		if j := w.job(relay.ReplayRequest{Subscription: "crm", Select: relay.SelectFailed}); j.State != relay.JobDone || j.Replayed != 39 {
			t.Errorf("job %+v", j)
		}
		for _, id := range ids {
			if d := w.delivery(id); d.State != relay.StateDelivered {
				t.Errorf("%s is %s (%s)", id, d.State, d.Reason)
			}
		}
		if got := w.status("crm"); got.Pending != 0 || got.Failed != 0 {
			t.Errorf("status %+v", got)
		}
	})
}

// What ends while a drop reads the store is not dropped, too.
func TestDropLeavesAloneWhatEndsMeanwhile(t *testing.T) {
	run(t, func(w *world) {
		w.stop()
		w.store = &lingering{Store: w.memory, lag: 10 * time.Second}
		w.open()
		to := &receiver{answer: func(n int, _ *http.Request) (*http.Response, error) {
			switch n {
			case 1, 2:
				return answer(500), nil
			default:
				time.Sleep(5 * time.Second)
				return answer(map[int]int{3: 200, 4: 500}[n] + map[bool]int{true: 200}[n > 4]), nil
			}
		}}
		s := subscription("crm", to)
		s.Retry.Delays = []time.Duration{time.Second, time.Minute}
		w.plan(s)
		a, b := w.publish("a", "1").ID, w.publish("a", "2").ID
		w.wait(2 * time.Second) // both are attempted again
		if _, err := w.engine.Drop(context.Background(), "crm"); err != nil {
			t.Fatal(err)
		}
		w.wait(time.Second)
		var states []string
		for _, id := range []string{a, b} {
			states = append(states, string(w.delivery(id).State))
		}
		slices.Sort(states)
		if fmt.Sprint(states) != "[delivered retrying]" {
			t.Errorf("what was in flight is %v; want it to have ended by itself", states)
		}
		if got := w.status("crm"); got.Pending != 1 || got.Failed != 0 {
			t.Errorf("%+v", got)
		}
		w.wait(time.Hour)
		if got := w.status("crm"); got.Pending != 0 || len(to.all()) != 5 {
			t.Errorf("in the end %+v, %d requests", got, len(to.all()))
		}
	})
}

// TestDropBeforeAnythingWasRead: what was never looked at since the start can be given up,
// and the lane goes on.
func TestDropBeforeAnythingWasRead(t *testing.T) {
	run(t, func(w *world) {
		var down atomic.Bool
		down.Store(true)
		to := failingWhile(&down)
		s := ordered("crm", to)
		s.Retry.Delays = []time.Duration{time.Hour, time.Hour}
		w.plan(s)
		for n := range 5 {
			w.publish("x", keyed("a", n))
		}
		w.wait(time.Minute)
		w.restart()
		paused := ordered("crm", to)
		paused.Paused = true
		w.plan(paused)
		if _, err := w.engine.Drop(context.Background(), "crm"); err != nil {
			t.Fatal(err)
		}
		if got := w.status("crm"); got.Pending != 0 || got.Failed != 5 {
			t.Errorf("after the drop: %+v", got)
		}
		down.Store(false)
		w.plan(ordered("crm", to))
		id := w.publish("x", keyed("a", 9)).ID
		w.wait(time.Minute)
		w.expect(id, relay.StateDelivered, "", 1)
	})
}

// TestDropWhileTheLaneGoesOn: what comes into memory while the store is read for a drop is
// dropped or delivered, and counted once; and no key is held by what was dropped.
func TestDropWhileTheLaneGoesOn(t *testing.T) {
	defer relay.SetRetriesInMemory(1)()
	for _, restarted := range []bool{false, true} {
		run(t, func(w *world) {
			var down atomic.Bool
			down.Store(true)
			to := failingWhile(&down)
			publish := func(n int) (ids []string) {
				for _, key := range []string{"a", "b", "c"} {
					ids = append(ids, w.publish("x", keyed(key, n)).ID)
				}
				return ids
			}
			s := ordered("crm", to)
			s.Retry.Delays = []time.Duration{24 * time.Hour, 24 * time.Hour}
			w.plan(s)
			for n := range 3 {
				publish(n)
			}
			w.wait(time.Minute)
			if restarted { // the first look at the store ends amid the drop
				w.stop()
				w.store = &sleepy{w.memory}
				w.open()
				w.plan(s)
				w.wait(30 * time.Second)
			}
			done := make(chan error)
			go func() {
				_, err := w.engine.Drop(context.Background(), "crm")
				done <- err
			}()
			w.wait(time.Second)
			for n := range 3 {
				publish(n)
			}
			w.wait(5 * time.Minute)
			if err := <-done; err != nil {
				t.Fatal(err)
			}
			down.Store(false)
			ids := publish(9)
			w.wait(30 * time.Hour)
			for _, id := range ids {
				w.expect(id, relay.StateDelivered, "", 1)
			}
			if s := w.status("crm"); s.Pending != 0 {
				t.Errorf("%+v", s)
			}
		})
	}
}

// TestDropGoesOnWithoutWhomeverAskedForIt: a client that has gone, or a store that does not answer
// for a while, leaves nothing that nobody attempts and nobody has given up.
func TestDropGoesOnWithoutWhomeverAskedForIt(t *testing.T) {
	defer relay.SetRetriesInMemory(10)()
	for _, test := range []struct {
		inOrder, gone bool
		says          string
	}{
		{false, false, "the drop goes on"},
		{true, false, "the drop goes on"},
		{true, true, "canceled"},
	} {
		run(t, func(w *world) {
			w.stop()
			store := &away{Store: w.memory}
			w.store = store
			w.open()
			var down atomic.Bool
			down.Store(true)
			to := failingWhile(&down)
			s := subscription("crm", to)
			if test.inOrder {
				s = ordered("crm", to)
			}
			s.Retry.Delays = []time.Duration{time.Hour, time.Hour, time.Hour}
			s.Breaker.Off = true
			w.plan(s)
			for n := range 200 {
				w.publish("x", keyed(fmt.Sprint(n%40), n))
			}
			w.wait(time.Minute)
			if s := w.status("crm"); s.Pending != 200 {
				t.Fatalf("%+v", s)
			}
			store.set.Store(true)
			ctx, cancel := context.WithCancel(context.Background())
			defer cancel()
			if test.gone {
				cancel()
			}
			if _, err := w.engine.Drop(ctx, "crm"); err == nil || !strings.Contains(err.Error(), test.says) {
				t.Errorf("%+v: %v", test, err)
			}
			store.set.Store(false)
			before := len(to.all())
			w.wait(time.Minute)
			if s := w.status("crm"); s.Pending != 0 || s.Failed != 200 {
				t.Errorf("a minute after the store is there again: %+v", s)
			}
			down.Store(false)
			id := w.publish("x", keyed("1", 9)).ID
			w.wait(48 * time.Hour)
			w.expect(id, relay.StateDelivered, "", 1)
			if n := len(to.all()) - before; n != 1 {
				t.Errorf("%d requests after the drop, want 1", n)
			}
		})
	}
}

// TestDropDuringAScan: what the lane has read of the store before is dropped, too.
func TestDropDuringAScan(t *testing.T) {
	run(t, func(w *world) {
		var down atomic.Bool
		down.Store(true)
		to := failingWhile(&down)
		s := subscription("crm", to)
		s.Retry.Delays = []time.Duration{time.Hour, 3 * time.Hour, time.Hour}
		s.Breaker.Off = true
		w.plan(s)
		const n = 3500
		for i := range n {
			w.publish("x", keyed(fmt.Sprint(i), i))
		}
		w.wait(10 * time.Minute)
		w.stop()
		reached := make(chan struct{})
		end := sync.OnceFunc(func() { close(reached) })
		w.store = &lingering{Store: w.memory, lag: 10 * time.Second, read: func(after uint64) {
			if after >= 3000 {
				end()
			}
		}}
		w.open()
		w.plan(s)
		<-reached
		before := len(to.all())
		if got, err := w.engine.Drop(context.Background(), "crm"); err != nil || got.Pending != 0 || got.Failed != n {
			t.Errorf("dropping: %v, %+v", err, got)
		}
		w.wait(5 * time.Hour)
		if got := len(to.all()) - before; got > 0 {
			t.Errorf("%d were sent after they had been dropped", got)
		}
	})
}

// What goes on in the background is waited for by Close. Were something begun while it waits,
// it would run on a closed store, or end the process.
func TestNothingIsBegunInAClosedEngine(t *testing.T) {
	run(t, func(w *world) {
		w.plan(subscription("crm", new(receiver)))
		closed := w.engine
		w.restart()
		if got, err := closed.Drop(context.Background(), "crm"); !errors.Is(err, relay.ErrClosed) {
			t.Errorf("dropping: %+v, %v; want ErrClosed", got, err)
		}
		q := relay.ReplayRequest{Subscription: "crm", Select: relay.SelectAll}
		if job, err := closed.StartReplay(context.Background(), q); !errors.Is(err, relay.ErrClosed) {
			t.Errorf("replaying: %+v, %v; want ErrClosed", job, err)
		}
	})
}
