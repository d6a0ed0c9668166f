package console_test

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddyrelay/caddyrelay/caddymodule/console"
)

// watched runs a world with a history that watches its backlog.
func watched(t *testing.T, test func(w *world, h *console.History, stop func())) {
	t.Helper()
	run(t, func(w *world) {
		h := new(console.History)
		h.Hold(w.setup.names)
		h.Record()
		w.options.History = h
		ctx, cancel := context.WithCancel(context.Background())
		defer cancel()
		go h.Watch(ctx, w.engine.Backlogs)
		synctest.Wait()
		test(w, h, cancel)
	})
}

// bars returns how many bars of a class the charts of a page have.
func (w *world) bars(target, class string) int {
	return strings.Count(w.get(target), `<rect class="`+class+`"`)
}

func TestTheBacklogIsSeenByTheMinute(t *testing.T) {
	watched(t, func(w *world, _ *console.History, _ func()) {
		w.wait(3 * time.Hour)
		w.wants("/", "Waiting to be delivered", "0 waiting now; at most 0.")
		if n := w.bars("/", "waiting") + w.bars("/", "unknown"); n != 0 {
			t.Errorf("%d bars although nothing has waited, and all is known", n)
		}
		w.wait(30 * time.Second) // between two samples
		w.publish("order.paid", `{}`)
		w.publish("order.paid", `{}`) // two for the paused one; each publish takes a minute
		w.wait(8 * time.Minute)
		w.wants("/", "2 waiting now; at most 2.")
		w.wants("/subscriptions/paused", "Backlog, three hours", "2 waiting now; at most 2.", "2000-01-01 03:01:00 2")
		w.wants("/subscriptions/well", "0 waiting now; at most 0.")
		if n := w.bars("/subscriptions/paused", "waiting"); n != 10 {
			t.Errorf("%d minutes in which something waited, want 10", n)
		}
		if _, err := w.engine.Drop(context.Background(), "paused"); err != nil {
			t.Fatal(err)
		}
		w.wait(2 * time.Hour)
		w.wants("/subscriptions/paused", "0 waiting now; at most 2.")
		if n := w.bars("/subscriptions/paused", "waiting"); n != 10 {
			t.Errorf("%d minutes in which something waited, want 10", n)
		}
		w.wait(2 * time.Hour)
		w.wants("/subscriptions/paused", "0 waiting now; at most 0.")
	})
}

// After a start, and where nobody has looked, a chart has a gap: nothing says that nothing
// has waited.
func TestWhatNobodyHasCountedIsNotZero(t *testing.T) {
	watched(t, func(w *world, h *console.History, _ func()) {
		w.answers["sick"] = answer(200, "") // no list of those in trouble on the first page
		w.publish("order.paid", `{}`)
		w.wants("/", "Not counted before 2000-01-01 00:00:00")
		w.wants("/subscriptions/paused", "Since 2000-01-01 00:00 UTC: at most 1 waiting, 1 now")
		if got := w.bars("/", "unknown"); got != 2 {
			t.Errorf("%d gaps, want one in each chart of the first page", got)
		}
		h.Release([]string{"paused"})
		h.Hold([]string{"paused"}) // it was away for a while
		w.wait(time.Minute)
		w.wants("/subscriptions/paused", "Since 2000-01-01 00:01 UTC: at most 1 waiting, 1 now")
	})
	watched(t, func(w *world, h *console.History, stop func()) {
		w.wait(4 * time.Hour)
		stop()
		w.wait(20 * time.Minute)
		ctx, cancel := context.WithCancel(context.Background())
		defer cancel()
		go h.Watch(ctx, w.engine.Backlogs)
		w.wait(20 * time.Minute)
		w.wants("/", "not known")
		if got := w.bars("/", "unknown"); got != 1 {
			t.Errorf("%d gaps, want one", got)
		}
	})
}

// What has no console has no history either, and pays for none.
func TestNobodyWatchesForChartsThatNobodyCanSee(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := new(console.History)
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		asked := 0
		h.Watch(ctx, func() map[string]uint64 { asked++; return nil })
		if asked != 0 {
			t.Errorf("the engine was asked %d times", asked)
		}
		h.Record()
		ctx, cancel = context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		h.Watch(ctx, func() map[string]uint64 { asked++; return nil })
		if asked != 60 && asked != 61 {
			t.Errorf("the engine was asked %d times in an hour", asked)
		}
	})
}
