package relay_test

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddyrelay/caddyrelay/relay"
)

// setClock is a store beside an engine on a machine whose clock is set by so much at a moment. In
// a bubble all times are those of the bubble, which is set by nobody. So it is the store that
// remembers other times: what was recorded before the moment was recorded so much earlier, as seen
// from after it.
type setClock struct {
	relay.Store
	by time.Duration
	at atomic.Pointer[time.Time] // nil: not yet
}

// reading is what the clock shows, so that it shows the bubble's time after the step.
func (c *setClock) reading(now time.Time) time.Time {
	if c.at.Load() == nil {
		return now.Add(-c.by)
	}
	return now
}

func (c *setClock) step() {
	now := time.Now()
	c.at.Store(&now)
}

func (c *setClock) recall(x *relay.Exception) {
	if at := c.at.Load(); at == nil || x.At.After(*at) {
		return
	}
	for _, t := range []*time.Time{&x.At, &x.Due, &x.Since} {
		if !t.IsZero() {
			*t = t.Add(-c.by)
		}
	}
}

func (c *setClock) Open(ctx context.Context, subscription string, after uint64, limit int) ([]relay.Exception, error) {
	open, err := c.Store.Open(ctx, subscription, after, limit)
	for i := range open {
		c.recall(&open[i])
	}
	return open, err
}

func (c *setClock) Exception(ctx context.Context, subscription string, pos uint64) (relay.Exception, bool, error) {
	x, ok, err := c.Store.Exception(ctx, subscription, pos)
	c.recall(&x)
	return x, ok, err
}

// TestClockIsSetWhileRetriesAreInTheStore (F12): the clock is set while deliveries wait for their
// next attempt, few of them in memory, most in the store. Nothing is lost, each delivery keeps its
// schedule, and is given up when it would have been. The control is an engine that does not look
// at the clock: it attempts what is in the store at once, and gives it up before its time, or later.
func TestClockIsSetWhileRetriesAreInTheStore(t *testing.T) {
	for _, by := range []time.Duration{24 * time.Hour, 10 * 365 * 24 * time.Hour, -3 * time.Hour, -10 * 365 * 24 * time.Hour} {
		for _, blind := range []bool{false, true} {
			t.Run(fmt.Sprint(by, " blind=", blind), func(t *testing.T) {
				said := clockIsSet(t, by, blind)
				switch {
				case !blind && len(said) > 0:
					t.Errorf("%d breaches, the first: %s", len(said), said[0])
				case blind && len(said) == 0:
					t.Error("the control sees nothing")
				}
			})
		}
	}
}

// clockIsSet returns what breaks the schedule.
func clockIsSet(t *testing.T, by time.Duration, blind bool) (breaches []string) {
	defer relay.SetRetriesInMemory(4)()
	const n, every, givesUp = 40, 20 * time.Minute, 5 * time.Hour
	run(t, func(w *world) {
		w.stop()
		clock := &setClock{Store: w.memory, by: by}
		w.store = clock
		w.open()
		if !blind {
			relay.SetClock(w.engine, clock.reading)
		}
		down := func(int, *http.Request) (*http.Response, error) { return answer(http.StatusServiceUnavailable), nil }
		plain, keyedTo := &receiver{answer: down}, &receiver{answer: down}
		s, o := subscription("plain", plain, "a"), ordered("ordered", bodyTagged{keyedTo})
		for _, s := range []*relay.Subscription{s, o} {
			s.Retry.Delays = slices.Repeat([]time.Duration{every}, 100)
			s.Retry.GiveUpAfter = givesUp
			s.Breaker.Off = true
			s.DisableAfter = -1
		}
		w.plan(s, o)
		var ids []string
		for i := range n {
			ids = append(ids, w.publish("a", fmt.Sprintf(`{"key":"k%d","n":1}`, i)).ID)
			w.wait(15 * time.Second) // so that they are due one after the other
		}
		w.wait(2 * time.Hour)
		clock.step()
		w.wait(time.Hour)
		if got := w.status("plain").Pending + w.status("ordered").Pending; got != 2*n {
			breaches = append(breaches, fmt.Sprintf("%d are pending an hour after, want %d", got, 2*n))
		}
		w.wait(24 * time.Hour)

		at := make(map[string][]time.Time)
		for _, r := range append(plain.all(), keyedTo.all()...) {
			of := r.header.Get("Relay-Subscription") + " " + r.header.Get("Webhook-Id")
			at[of] = append(at[of], r.at)
		}
		for _, id := range ids {
			for _, name := range []string{"plain", "ordered"} {
				times := at[name+" "+id]
				// One scan, or a turn among those that fail, may come between.
				if want := int(givesUp / every); len(times) < want-1 || len(times) > want+1 {
					breaches = append(breaches, fmt.Sprintf("%s was attempted %d times for %s, want %d", id, len(times), name, want))
				}
				for i := 1; i < len(times); i++ {
					if gap := times[i].Sub(times[i-1]); gap < every || gap > every+2*time.Minute {
						breaches = append(breaches, fmt.Sprintf("attempt %d of %s for %s came %v after the one before", i+1, id, name, gap))
					}
				}
			}
		}
		if got := w.status("plain").Failed + w.status("ordered").Failed; got != 2*n {
			breaches = append(breaches, fmt.Sprintf("%d were given up in the end, want %d", got, 2*n))
		}
		if got := relay.RetriesInMemory(w.engine); got != 0 {
			breaches = append(breaches, fmt.Sprintf("%d retries are counted", got))
		}
	})
	return breaches
}

// steppedClock has the machine's clock show what it is set ahead by, in nanoseconds, and returns it.
func (w *world) steppedClock() (set *atomic.Int64, clock func(time.Time) time.Time) {
	set = new(atomic.Int64)
	clock = func(now time.Time) time.Time { return now.Add(time.Duration(set.Load())).Round(0) }
	relay.SetClock(w.engine, clock)
	return set, clock
}

// TestClockIsSetWhileDeliveriesWait: since when something waits is remembered by the clock, which
// may be set forward meanwhile, and ends no wait by that. After a step back it waits the longer.
func TestClockIsSetWhileDeliveriesWait(t *testing.T) {
	run(t, func(w *world) {
		set, clock := w.steppedClock()
		w.plan(subscription("crm", new(receiver)))
		w.wait(10 * time.Minute)
		before := clock(time.Now())
		w.wait(10 * time.Second)
		waits := func(what string, since time.Time, want time.Duration) {
			t.Helper()
			if got := clock(time.Now()).Sub(relay.WaitingSince(w.engine, since)).Round(time.Second); got != want {
				t.Errorf("%s it has waited for %v, want %v", what, got, want)
			}
		}
		set.Store(int64(24 * time.Hour))
		w.wait(2 * time.Minute)
		after := clock(time.Now())
		waits("before the clock was set", before, 130*time.Second)
		waits("after it", after, 0)
		set.Add(-int64(time.Hour))
		w.wait(2 * time.Minute)
		waits("before both steps", before, 250*time.Second-time.Hour)
		set.Add(int64(10 * time.Second)) // which is no step
		w.wait(time.Minute)
		waits("before a slew", after, 190*time.Second-time.Hour)
	})
}

// TestWaitFollowsAStepOfTheClockOnce: also where that is shorter than the wait so far, and where
// the store has had the delivery meanwhile.
func TestWaitFollowsAStepOfTheClockOnce(t *testing.T) {
	run(t, func(w *world) {
		set, clock := w.steppedClock()
		w.plan(subscription("crm", new(receiver)))
		w.wait(time.Minute)
		began := clock(time.Now())
		w.wait(30 * time.Minute)
		recorded := clock(time.Now())
		set.Store(int64(2 * time.Minute))
		w.wait(2 * time.Minute)
		for what, got := range map[string]time.Time{
			"in memory":                  relay.WaitingSince(w.engine, began),
			"recorded before the step":   relay.WaitingSinceRecorded(w.engine, began, recorded),
			"recorded after it, brought": relay.WaitingSinceRecorded(w.engine, began.Add(2*time.Minute), clock(time.Now())),
		} {
			if waited := clock(time.Now()).Sub(got).Round(time.Second); waited != 32*time.Minute {
				t.Errorf("%s: it has waited for %v, want 32m", what, waited)
			}
		}
	})
}

// Records of a store that several relays share are those of several clocks: a step of one moves none.
func TestClockOfOneOfSeveralMovesNothing(t *testing.T) {
	runFleet(t, 2, func(f *fleet) {
		n := f.nodes[0]
		set, _ := n.steppedClock()
		before := time.Now()
		n.wait(2 * time.Minute)
		set.Store(int64(24 * time.Hour))
		n.wait(2 * time.Minute)
		if got := relay.WaitingSince(n.engine, before); !got.Equal(before.Truncate(time.Millisecond)) {
			t.Errorf("%v became %v", before, got)
		}
	})
}

// What is read of a store comes nearer by the time that passes, and not by the clock.
func TestTimesOfRecordsTick(t *testing.T) {
	now := time.Now()
	for _, d := range []time.Duration{-50 * 365 * 24 * time.Hour, -time.Hour, 0, time.Hour, 10 * 365 * 24 * time.Hour} {
		recorded := now.Add(d).Round(0)
		got := relay.Ticking(recorded, now)
		if !got.Round(0).Equal(recorded) || d.Abs() <= time.Hour && !strings.Contains(got.String(), " m=") {
			t.Errorf("%v became %v", recorded, got)
		}
	}
	if got := relay.Ticking(time.Time{}, now); !got.IsZero() {
		t.Errorf("no time became %v", got)
	}
}
