package console_test

import (
	"strings"
	"testing"
	"time"

	"github.com/caddyrelay/caddyrelay/caddymodule/console"
)

func TestChartsShowWhatHappenedOfLate(t *testing.T) {
	run(t, func(w *world) {
		h := new(console.History)
		w.options.History = h
		series := h.Hold([]string{"well", "sick"})
		h.Delivered(series["well"], 5)
		w.wants("/", "0 delivered") // nobody has asked for a history yet
		h.Record()
		for range 3 {
			h.Delivered(series["well"], 2)
			h.Took(3 * time.Millisecond)
			h.Failed(series["sick"])
			w.wait(10 * time.Minute)
		}
		h.Took(40 * time.Second)
		h.Delivered(nil, 1)
		w.publish("order.paid", `{}`)
		w.wants("/", "7 delivered", "3 attempts failed", "2000-01-01 00:02:00 2 1", "half within 4 ms", "95 % within 65.5 s")
		w.wants("/subscriptions/well", "Since 2000-01-01 00:00 UTC: 6 delivered, 0 attempts failed", "Not counted before 2000-01-01 00:00:00")
		if page := w.get("/subscriptions"); strings.Count(page, `class="chart"`) != 2 || !strings.Contains(page, `aria-label="Since 2000-01-01 00:00 UTC: 0 delivered, 3 attempts failed"`) {
			t.Error("the list of subscriptions has not the two charts")
		}
		w.wait(4 * time.Hour)
		w.wants("/", "0 delivered")
		w.wants("/subscriptions/well", "Since 2000-01-01 00:00 UTC: 6 delivered")
		w.wait(24 * time.Hour)
		h.Failed(series["well"]) // in a slot that was used before
		w.wants("/subscriptions/well", "24 hours: 0 delivered, 1 attempt failed")

		h.Hold([]string{"well"})
		h.Release([]string{"well"})
		w.wants("/subscriptions/well", "24 hours: 0 delivered, 1 attempt failed") // as after a reload
		h.Release([]string{"well"})
		if page := w.get("/subscriptions/well"); strings.Contains(page, `class="chart"`) {
			t.Error("a subscription that is gone still has its history")
		}
	})
}

func TestAHistoryCostsNoMemoryByWhatHappens(t *testing.T) {
	h := new(console.History)
	s := h.Hold([]string{"a"})["a"]
	h.Record()
	if n := testing.AllocsPerRun(100, func() {
		h.Delivered(s, 1)
		h.Failed(s)
		h.Took(time.Second)
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
