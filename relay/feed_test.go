package relay_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/caddyrelay/caddyrelay/relay"
)

// told returns what a follower is told by now, each as "type subscription state/reason
// attempt".
func told(t *testing.T, f *relay.Follower) (lines []string, all []relay.Settlement, missed int64) {
	t.Helper()
	for {
		ctx, cancel := context.WithTimeout(context.Background(), time.Millisecond)
		some, lost, err := f.Next(ctx)
		cancel()
		if errors.Is(err, context.DeadlineExceeded) {
			return lines, all, missed
		}
		if err != nil {
			t.Fatal(err)
		}
		missed += lost
		for _, s := range some {
			line := fmt.Sprintf("%s %s %s/%s", s.Type, s.Delivery.Subscription, s.Delivery.State, s.Delivery.Reason)
			if s.Attempt != nil {
				line += fmt.Sprintf(" %d: %d", s.Attempt.Number, s.Attempt.Status)
			}
			lines = append(lines, line)
			all = append(all, s)
		}
	}
}

func wantTold(t *testing.T, f *relay.Follower, want ...string) []relay.Settlement {
	t.Helper()
	got, all, missed := told(t, f)
	if !slices.Equal(got, want) || missed != 0 {
		t.Errorf("told\n  %s\nand %d missed; want\n  %s", strings.Join(got, "\n  "), missed, strings.Join(want, "\n  "))
	}
	return all
}

func TestFollowersAreToldWhatBecomesOfDeliveries(t *testing.T) {
	run(t, func(w *world) {
		flaky := &receiver{answer: func(n int, _ *http.Request) (*http.Response, error) {
			if n == 1 {
				return answer(503), nil
			}
			return answer(200), nil
		}}
		sick := &receiver{answer: func(int, *http.Request) (*http.Response, error) { return answer(400), nil }}
		a, b := subscription("a", flaky), subscription("b", sick)
		a.Retry.Delays = []time.Duration{time.Second}
		b.Retry.Off = true
		w.plan(a, b)
		before := w.publish("before.it", `1`)
		w.wait(time.Minute)

		everything := w.engine.Follow(relay.Following{})
		defer everything.Close()
		failures := w.engine.Follow(relay.Following{State: relay.StateFailed})
		defer failures.Close()
		onlyA := w.engine.Follow(relay.Following{Subscription: "a"})
		defer onlyA.Close()
		flaky.mu.Lock()
		flaky.requests = nil
		flaky.mu.Unlock()
		id := w.publish("order.paid", `1`).ID
		w.wait(time.Minute)

		wantTold(t, failures, "order.paid b failed/schedule 1: 400")
		all := wantTold(t, onlyA, "order.paid a retrying/ 1: 503", "order.paid a delivered/ 2: 200")
		if got := all[0]; got.Delivery.Event != id || got.Attempt.Excerpt != nil || got.Delivery.NextAttempt.Sub(got.At) < time.Second || got.Delivery.AttemptCount != 1 {
			t.Errorf("%+v", got)
		}
		lines, _, _ := told(t, everything)
		if len(lines) != 3 || before.ID == id {
			t.Errorf("told %v", lines)
		}
	})
}

func TestFollowersAreToldWhatEndsWithoutAnAttempt(t *testing.T) {
	run(t, func(w *world) {
		held := subscription("held", new(receiver))
		held.Paused = true
		w.plan(held)
		var ids []string
		for i := range 600 { // more than one page of a span
			ids = append(ids, w.publish(fmt.Sprintf("order.%d", i), `1`).ID)
		}
		f := w.engine.Follow(relay.Following{})
		defer f.Close()
		if err := w.engine.Erase(context.Background(), ids[300]); err != nil {
			t.Fatal(err)
		}
		if _, err := w.engine.Drop(context.Background(), "held"); err != nil {
			t.Fatal(err)
		}
		lines, all, missed := told(t, f)
		if len(lines) != 600 || missed != 0 {
			t.Fatalf("told %d, %d missed; want 600", len(lines), missed)
		}
		if lines[0] != "order.300 held failed/erased" || lines[1] != "order.0 held failed/dropped" {
			t.Errorf("told %v ...", lines[:2])
		}
		seen := make(map[string]bool)
		for _, s := range all {
			seen[s.Delivery.Event] = true
		}
		for _, id := range ids {
			if !seen[id] {
				t.Errorf("nothing was told of %s", id)
			}
		}
	})
}

// A reader that does not read keeps no delivery waiting, and is told how many it missed.
func TestASlowFollowerMissesAndIsTold(t *testing.T) {
	run(t, func(w *world) {
		r := new(receiver)
		w.plan(subscription("crm", r))
		slow := w.engine.Follow(relay.Following{})
		defer slow.Close()
		const n = 5000
		for i := range n {
			w.publish("order.paid", fmt.Sprint(i))
		}
		w.wait(time.Minute)
		if got := len(r.all()); got != n {
			t.Fatalf("%d of %d were delivered", got, n)
		}
		lines, _, missed := told(t, slow)
		if len(lines)+int(missed) != n || missed == 0 {
			t.Errorf("told %d, missed %d; want %d in all", len(lines), missed, n)
		}
		w.publish("order.sent", `1`)
		w.wait(time.Minute)
		wantTold(t, slow, "order.sent crm delivered/ 1: 200")
	})
}

func TestAFollowerGoesOnWhereItWas(t *testing.T) {
	run(t, func(w *world) {
		w.plan(subscription("crm", new(receiver)))
		settled := func(typ string) {
			w.publish(typ, `1`)
			w.wait(time.Second)
		}
		f := w.engine.Follow(relay.Following{})
		settled("order.1")
		settled("order.2")
		all := wantTold(t, f, "order.1 crm delivered/ 1: 200", "order.2 crm delivered/ 1: 200")
		f.Close()
		settled("order.3") // nobody reads, for a while
		f = w.engine.Follow(relay.Following{After: f.Mark(&all[0])})
		last := wantTold(t, f, "order.2 crm delivered/ 1: 200", "order.3 crm delivered/ 1: 200")
		f.Close()

		w.wait(time.Hour)
		settled("order.4")
		for _, mark := range []string{f.Mark(&last[1]), "nonsense", "abc.7"} {
			f = w.engine.Follow(relay.Following{After: mark})
			if _, missed, err := f.Next(context.Background()); missed != relay.UnknownlyMany || err != nil {
				t.Errorf("%q: %d missed, %v; want it not to be known", mark, missed, err)
			}
			settled("order.5")
			wantTold(t, f, "order.5 crm delivered/ 1: 200")
			f.Close()
		}
	})
}

func TestFollowersEndWithTheEngine(t *testing.T) {
	run(t, func(w *world) {
		w.plan(subscription("crm", new(receiver)))
		f := w.engine.Follow(relay.Following{})
		defer f.Close()
		ended := make(chan error)
		go func() {
			_, _, err := f.Next(context.Background())
			ended <- err
		}()
		w.wait(time.Second)
		if err := w.engine.Close(); err != nil {
			t.Fatal(err)
		}
		if err := <-ended; !errors.Is(err, relay.ErrClosed) {
			t.Errorf("%v; want ErrClosed", err)
		}
		late := w.engine.Follow(relay.Following{})
		defer late.Close()
		if _, _, err := late.Next(context.Background()); !errors.Is(err, relay.ErrClosed) {
			t.Errorf("%v; want ErrClosed", err)
		}
	})
}
