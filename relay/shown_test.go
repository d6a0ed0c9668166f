package relay_test

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"github.com/caddyrelay/caddyrelay/relay"
)

// shower is the place that a simulated subscription waits for, with its own troubles: it
// shows each event some time after somebody has asked for it, or never.
type shower struct {
	e *simulated
	// due is when an event is shown, zero if never; ready are those that were seen.
	due    map[string]time.Time
	ready  map[string]bool
	polls  int
	rested time.Time // no poll before: it has asked for that
}

// waitTimeout is that of the simulation.
const waitTimeout = 30 * time.Second

func newShower(e *simulated) *shower {
	return &shower{e: e, due: make(map[string]time.Time), ready: make(map[string]bool)}
}

// waitFor makes a subscription wait.
func (s *simulation) waitFor(sub *relay.Subscription, how relay.OnTimeout) {
	sub.WaitFor = &relay.WaitFor{
		URL: &url.URL{Scheme: "https", Host: "cdn.example.com"}, Until: until(`response.json.shown`), Timeout: waitTimeout, OnTimeout: how,
		Header:    []relay.HeaderRule{{Op: '=', Field: "Event", Text: text("{event.id}")}},
		Transport: &poller{s.endpoints[sub.Name].shower, sub},
	}
}

// poller is the way of one plan there.
type poller struct {
	*shower
	sub *relay.Subscription
}

// RoundTrip judges that a poll begins now, and answers.
func (a *poller) RoundTrip(r *http.Request) (*http.Response, error) {
	s, id := a.e.s, r.Header.Get("Event")
	s.mu.Lock()
	a.polls++
	if a.polls > a.sub.MaxInFlight {
		s.t.Errorf("%s: %d polls under way; max_in_flight is %d", a.e.name, a.polls, a.sub.MaxInFlight)
	}
	if now := time.Now(); now.Before(a.rested) {
		s.t.Errorf("%s: a poll at %v; it was asked to rest until %v", a.e.name, now, a.rested)
	}
	dice := s.dice.IntN(100)
	took := time.Duration(s.dice.IntN(int(50 * time.Millisecond)))
	if dice < 3 {
		took = 20 * time.Second // longer than an attempt may take
	}
	if _, known := a.due[id]; !known {
		a.due[id] = time.Time{}
		if s.dice.IntN(5) > 0 {
			a.due[id] = time.Now().Add(time.Duration(s.dice.IntN(40)) * time.Second)
		}
	}
	s.mu.Unlock()
	var end error
	select {
	case <-time.After(took):
	case <-r.Context().Done():
		end = r.Context().Err()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	a.polls--
	due := a.due[id]
	switch {
	case end != nil:
		return nil, end
	case s.well: // all is shown
	case dice < 6:
		return nil, errReset
	case dice < 10:
		a.rested = time.Now().Add(2 * time.Second)
		return answer(429, "Retry-After: 2"), nil
	case due.IsZero() || time.Now().Before(due):
		return shows(`{"shown":false}`), nil
	}
	a.ready[id] = true
	return shows(`{"shown":true}`), nil
}

// awaited judges what an attempt says of its wait. The caller holds the lock.
func (a *shower) awaited(r *http.Request, v *visit) {
	if v.sub.WaitFor == nil || a.e.changes {
		return
	}
	switch got := r.Header.Get("Relay-Waited"); {
	case got == "ready" && a.ready[v.id]:
	case got == "timeout" && v.sub.WaitFor.OnTimeout == relay.TimeoutDeliver && a.e.s.age(v.id) >= waitTimeout:
	default:
		a.e.t.Errorf("%s: %s is attempted with Relay-Waited: %q; shown: %v, age %v", a.e.name, v.id, got, a.ready[v.id], a.e.s.age(v.id))
	}
}

// age is the time since an event was accepted.
func (s *simulation) age(id string) time.Duration {
	seq, _, err := relay.ParseID(id)
	if err != nil {
		s.t.Error(err)
	}
	return time.Since(seq.Time())
}

// gaveUpWaiting reports whether a delivery has failed since it waited in vain, where that is
// what was configured.
func (e *simulated) gaveUpWaiting(id string) bool {
	_, deliveries, err := e.s.engine.Inspect(context.Background(), id)
	if err != nil {
		return false
	}
	for _, d := range deliveries {
		if d.Subscription == e.name && fmt.Sprint(d.State, d.Reason) == fmt.Sprint(relay.StateFailed, relay.ReasonWaiting) {
			return e.fails && e.s.age(id) >= waitTimeout
		}
	}
	return false
}
