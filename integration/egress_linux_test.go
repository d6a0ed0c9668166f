package integration

import (
	"fmt"
	"strings"
	"testing"
)

// F25: without its address a region sends nothing from anywhere. Nothing is charged for
// it, and it goes on by itself.
func testMissingEgressAddress(t *testing.T) {
	r := newReceiverOn(t, fmt.Sprintf("10.77.0.9:%d", freePort(t)))
	other := newReceiverOn(t, fmt.Sprintf("10.77.0.9:%d", freePort(t)))
	c := run(t, fmt.Sprintf(`
		region eu 10.77.0.4
		region us 10.77.0.2
		subscription crm %s {
			region eu
			allow_ips 10.77.0.9
			retry off
		}
		subscription other %s {
			region us
			allow_ips 10.77.0.9
		}`, r.url(), other.url()))

	id := c.accept("order.paid", `1`).ID
	c.wantDelivery(id, "other", stateDelivered, "")
	if d := c.wantDelivery(id, "crm", stateHeld, reasonEgress); d.AttemptCount != 0 || len(d.Attempts) != 0 {
		t.Errorf("%+v; want no attempt charged", d)
	}
	if s := c.subscription("crm"); s.State != "active" || s.Reason != reasonEgress || s.Pending != 1 {
		t.Errorf("%+v; want it active, held by egress", s)
	}
	up := func() string {
		var list []string
		for _, region := range c.status().Regions {
			for _, a := range region.Addresses {
				list = append(list, fmt.Sprintf("%s %s %v", region.Name, a.Address, a.Up))
			}
		}
		return strings.Join(list, ", ")
	}
	if got, want := up(), "eu 10.77.0.4 false, us 10.77.0.2 true"; got != want {
		t.Errorf("regions are %q; want %q", got, want)
	}
	if metrics := c.metrics(); metrics[`caddy_relay_egress_up{address="10.77.0.4",region="eu"}`] != 0 ||
		metrics[`caddy_relay_egress_up{address="10.77.0.2",region="us"}`] != 1 {
		t.Errorf("caddy_relay_egress_up is wrong")
	}
	if res := c.relay("doctor"); res.code == 0 || !strings.Contains(res.out, "10.77.0.4") {
		t.Errorf("doctor: %s; want it to fail and name the address", res)
	}
	r.wantSilence("the receiver of a region without address")

	ip(t, "addr add 10.77.0.4/32 dev lo")
	defer ip(t, "addr del 10.77.0.4/32 dev lo")
	d := c.wantDelivery(id, "crm", stateDelivered, "")
	if d.AttemptCount != 1 || !strings.HasPrefix(d.Attempts[0].LocalAddress, "10.77.0.4:") {
		t.Errorf("%+v; want one attempt from 10.77.0.4", d)
	}
	if got := r.wantExactly(1); got[0].peer != "10.77.0.4" || number(&got[0], "Relay-Attempt") != 1 {
		t.Errorf("it came from %s with Relay-Attempt %s", got[0].peer, got[0].header.Get("Relay-Attempt"))
	}
	if s := c.subscription("crm"); s.Reason != "" {
		t.Errorf("%+v; want no reason any more", s)
	}
	if res := c.relay("doctor"); res.code != 0 {
		t.Errorf("doctor: %s", res)
	}
}

// F25, while it runs: a connection that was left open from the address is of no use.
func testEgressAddressRemovedUnderAConnection(t *testing.T) {
	ip(t, "addr add 10.77.0.4/32 dev lo")
	there := true
	defer func() {
		if there {
			ip(t, "addr del 10.77.0.4/32 dev lo")
		}
	}()
	r := newReceiverOn(t, fmt.Sprintf("10.77.0.9:%d", freePort(t)))
	c := run(t, fmt.Sprintf(`
		region eu 10.77.0.4
		subscription crm %s {
			allow_ips 10.77.0.9
			timeout 1s
			retry 1s 1s 1s 1s 1s 1s 1s 1s 1s 1s 1s
		}`, r.url()), withGrace("1s"))
	c.wantDelivery(c.accept("order.paid", `1`).ID, "crm", stateDelivered, "")

	ip(t, "addr del 10.77.0.4/32 dev lo")
	there = false
	id := c.accept("order.paid", `2`).ID
	var d delivery
	eventually(t, func() bool {
		d = c.delivery(id, "crm")
		return d.Reason == reasonEgress || d.AttemptCount > 0
	}, func() string { return fmt.Sprintf("%+v", d) })
	if d.State != stateHeld || d.AttemptCount != 0 {
		t.Errorf("%+v; want it held, and no attempt charged", d)
	}
	r.wantExactly(1)

	ip(t, "addr add 10.77.0.4/32 dev lo")
	there = true
	c.wantDelivery(id, "crm", stateDelivered, "")
	for _, a := range r.wantExactly(2) {
		if a.peer != "10.77.0.4" {
			t.Errorf("a delivery came from %s; want 10.77.0.4", a.peer)
		}
	}
}

// F26: a literal of a family that the region has no address of can never be reached.
func testFamilyWithoutAnAddress(t *testing.T) {
	r := newReceiver(t)
	c := prepare(t)
	c.configure("region eu fd77::2\nsubscription crm " + r.url() + " {\nallow_ips 127.0.0.1\n}")
	if res := c.caddy("run", "--config", c.path("Caddyfile")); res.code == 0 || !strings.Contains(res.errors, "IPv4") {
		t.Errorf("%s; want it refused", res)
	}
	r.wantSilence("the receiver")
}
