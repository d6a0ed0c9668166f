package integration

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// comeback counts what an endpoint gets after an outage.
type comeback struct {
	inFlight, most, successes atomic.Int64
	// least is how many must be there at once before the first is answered.
	least int64
	met   chan struct{}
	once  sync.Once
}

func (m *comeback) reply(t *testing.T) reply {
	return func(w http.ResponseWriter, a *arrival) {
		n := m.inFlight.Add(1)
		done := m.successes.Load()
		if n > max(1, done) && m.least == 0 {
			t.Errorf("%s is met by %d requests at once after %d successes", a.subscription(), n, done)
		}
		for most := m.most.Load(); n > most && !m.most.CompareAndSwap(most, n); most = m.most.Load() {
		}
		if m.least > 0 {
			if n == m.least {
				m.once.Do(func() { close(m.met) })
			}
			select {
			case <-m.met:
			case <-time.After(patience):
			}
		}
		time.Sleep(5 * time.Millisecond) // the work of an endpoint, not to wait for anything
		// The success is known to the relay only after this.
		m.successes.Add(1)
		m.inFlight.Add(-1)
		_, _ = io.WriteString(w, "thanks")
	}
}

// F24: all endpoints were away and come back at the same moment, with much to catch up.
// Each is met by one request, and by one more with each success. The control, whose breaker
// is off, is met by several at once.
func TestEndpointsThatComeBackAreMetByARamp(t *testing.T) {
	t.Parallel()
	const endpoints, events = 20, 40
	const retried = "retry 200ms 200ms 200ms 200ms 200ms 200ms 200ms 200ms 200ms 200ms 200ms 200ms 200ms 200ms 200ms 200ms 200ms 200ms 200ms 200ms"
	var receivers []*receiver
	var met []*comeback
	config := ""
	for i := range endpoints + 1 {
		r, m := newReceiver(t), &comeback{met: make(chan struct{})}
		breaker := "breaker 0.5 3 5m 300ms"
		if i == endpoints {
			breaker, m.least = "breaker off\n"+strings.Replace(retried, "retry", "retry 2s 2s 2s 2s 2s 2s 2s 2s 2s 2s 2s 2s", 1), 3
		} else {
			breaker += "\n" + retried
		}
		r.answer(m.reply(t))
		r.down()
		receivers, met = append(receivers, r), append(met, m)
		config += subscribed(fmt.Sprintf("s%d", i), r, breaker, "max_in_flight 8")
	}
	c := run(t, config)
	var ids []string
	for i := range events {
		ids = append(ids, c.accept("order.paid", fmt.Sprint(i)).ID)
	}
	// All have failed; the breakers hold what is left without charging it.
	eventually(t, func() bool {
		held := 0
		for _, s := range c.status().Subscriptions {
			if s.Reason == "breaker" && s.Pending == events {
				held++
			}
		}
		return held == endpoints
	}, func() string { return fmt.Sprintf("%+v", c.status().Subscriptions) })
	if d := c.delivery(ids[events-1], "s0"); d.State != stateHeld || d.AttemptCount != 0 {
		t.Errorf("%+v; want it held and not attempted", d)
	}

	for _, r := range receivers {
		r.up()
	}
	c.drained()
	for i, r := range receivers {
		r.wantExactly(events)
		if most := met[i].most.Load(); most < 2 || most > 8 {
			t.Errorf("s%d had at most %d requests at once; want it to reach several, and at most 8", i, most)
		}
	}
}
