package integration

import (
	"fmt"
	"testing"
	"time"
)

const (
	stateSuperseded = "superseded"
	reasonDebounce  = "debounce"
)

// A window outlives a kill and a reload, and its last event alone arrives, once.
func TestDebouncedDeliveryOutlivesKillAndReload(t *testing.T) {
	t.Parallel()
	r := newReceiver(t)
	config := func(more ...string) string {
		return subscribed("site", r, append(more, "debounce 10s {event.data.id}", retriedSoon)...)
	}
	c := run(t, config())
	save := func(n int) string {
		t.Helper()
		return c.accept("article.saved", fmt.Sprintf(`{"id":"a","version":%d}`, n)).ID
	}
	ids := []string{save(1), save(2)}
	opened := parseTime(t, c.event(ids[0]).Accepted)
	other := c.accept("article.saved", `{"no":"key"}`).ID
	c.wantDelivery(other, "site", stateDelivered, "")
	d := c.wantDelivery(ids[1], "site", stateHeld, reasonDebounce)
	if d.NextAttempt == nil || parseTime(t, *d.NextAttempt).Sub(opened) != 10*time.Second {
		t.Errorf("%+v; want it due 10s after %v", d, opened)
	}
	c.kill()
	c.start()
	ids = append(ids, save(3))
	c.mustReload(config("description changed"))
	ids = append(ids, save(4))

	c.wantDelivery(ids[3], "site", stateDelivered, "")
	for _, id := range ids[:3] {
		if d := c.delivery(id, "site"); d.State != stateSuperseded || d.Reason != reasonDebounce || d.AttemptCount != 0 {
			t.Errorf("%+v; want it superseded", d)
		}
	}
	got := r.wantExactly(2)
	if got[1].id() != ids[3] || got[1].at.Before(opened.Add(10*time.Second)) {
		t.Errorf("%s came at %v; want %s, at least 10s after %v", got[1].id(), got[1].at, ids[3], opened)
	}
	// One was superseded before the kill, with which its count went.
	if n := c.metrics()[`caddy_relay_deliveries_total{result="superseded",subscription="site"}`]; n != 2 {
		t.Errorf("%v are counted as superseded since the start; want 2", n)
	}
	if s := c.subscription("site"); s.Pending != 0 || s.Failed != 0 {
		t.Errorf("%+v", s)
	}
}

// Taking the word out of the configuration lets go what is held for it.
func TestTakingDebounceOutSendsWhatIsHeld(t *testing.T) {
	t.Parallel()
	r := newReceiver(t)
	c := run(t, subscribed("site", r, "debounce 1h {event.subject}", retriedSoon))
	id := c.accepted(c.post("/v1/events", `{"type":"a","data":1,"subject":"s"}`)).ID
	c.wantDelivery(id, "site", stateHeld, reasonDebounce)
	c.mustReload(subscribed("site", r, retriedSoon))
	c.wantDelivery(id, "site", stateDelivered, "")
}
