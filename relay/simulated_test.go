package relay_test

import (
	"bytes"
	"context"
	"errors"
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/caddyrelay/caddyrelay/relay"
)

// simulated is an endpoint of a simulation, with its own troubles.
type simulated struct {
	s    *simulation
	name string
	mode string // up, down, shaky, slow, busy
	got  map[string]int
	// ended are those that have, or may have, ended without being got.
	ended map[string]bool
	*witness
	// shower is what its subscription waits for, if it does. changes says that it does so
	// in some plans alone, fails that what has waited in vain is given up.
	shower         *shower
	changes, fails bool
}

// planned is the way of one plan to an endpoint.
type planned struct {
	to  *simulated
	sub *relay.Subscription
}

// RoundTrip lets the witness see what comes and how it ends.
func (p *planned) RoundTrip(r *http.Request) (*http.Response, error) {
	e := p.to
	v := &visit{sub: p.sub, id: r.Header.Get("Webhook-Id")}
	v.n, _ = strconv.Atoi(r.Header.Get("Relay-Attempt"))
	if p.sub.OrderBy != nil {
		v.key = keyIn(r)
	}
	e.s.mu.Lock()
	e.begins(v)
	e.shower.awaited(r, v)
	e.s.mu.Unlock()
	resp, err := e.answer(r)
	ended := refused
	switch {
	case errors.Is(r.Context().Err(), context.Canceled):
		ended = cut
	case err == nil && resp.StatusCode == http.StatusOK:
		ended = taken
	case err == nil && resp.StatusCode == http.StatusTooManyRequests:
		ended = asked
	}
	if ended == taken {
		e.receives(r, v)
	}
	e.s.mu.Lock()
	defer e.s.mu.Unlock()
	if ended != taken && e.s.erased[v.id] {
		ended = void
	}
	e.ends(v, ended)
	return resp, err
}

// keyIn returns the key in a request's body.
func keyIn(r *http.Request) string {
	body, err := r.GetBody()
	if err != nil {
		return ""
	}
	head := make([]byte, 64)
	n, _ := body.Read(head)
	_, rest, _ := bytes.Cut(head[:n], []byte(`"key":"`))
	key, _, _ := bytes.Cut(rest, []byte(`"`))
	return string(key)
}

// askedFor is what a busy endpoint asks for.
const askedFor = 3 * time.Second

// answer answers as the endpoint's mode has it. No two answers come at the same moment, so
// that the witness sees them in the order in which the engine does.
func (e *simulated) answer(r *http.Request) (*http.Response, error) {
	e.s.mu.Lock()
	mode, dice := e.mode, e.s.dice.IntN(100)
	took := time.Duration(e.s.dice.IntN(int(10 * time.Millisecond)))
	e.s.mu.Unlock()
	if mode == "slow" {
		took += time.Duration(dice) * 300 * time.Millisecond
	}
	select {
	case <-time.After(took):
	case <-r.Context().Done():
		return nil, r.Context().Err()
	}
	switch {
	case mode == "down":
		return nil, errReset
	case mode == "shaky" && dice < 40:
		return answer(500), nil
	case mode == "busy" && dice < 10:
		return answer(429, "Retry-After: 3"), nil
	}
	return answer(200), nil
}

// receives judges what is taken.
func (e *simulated) receives(r *http.Request, v *visit) {
	for _, id := range e.passed(v) { // those may have ended in another way
		if !e.s.finished(id, e.name) {
			e.t.Errorf("%s got %s of the key %s before %s, which is %s", e.name, v.id, v.key, id, e.s.explain(id, e.name))
		}
		e.s.mu.Lock()
		e.ended[id] = true
		e.s.mu.Unlock()
	}
	e.s.mu.Lock()
	defer e.s.mu.Unlock()
	if !slices.Contains(e.s.accepted[v.id], e.name) {
		e.t.Errorf("%s got %s, which it does not match", e.name, v.id)
	}
	if to := r.Header.Get("Relay-Subscription"); to != e.name {
		e.t.Errorf("%s got what is for %s", e.name, to)
	}
	stamp := r.Header.Get("Webhook-Timestamp")
	if at, err := strconv.ParseInt(stamp, 10, 64); err != nil || time.Since(time.Unix(at, 0)) > time.Minute {
		e.t.Errorf("%s got the timestamp %s at %v", e.name, stamp, time.Now())
	}
	e.got[v.id]++
}

func (e *simulated) passed(v *visit) []string {
	e.s.mu.Lock()
	defer e.s.mu.Unlock()
	return e.order.passes(v, func(id string) bool { return e.got[id] > 0 || e.ended[id] })
}
