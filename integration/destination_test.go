package integration

import (
	"fmt"
	"strings"
	"testing"
)

// A name says nothing of where it leads: that is judged when it is dialled. localhost is
// the one name that is known to lead somewhere forbidden.
func TestForbiddenAddressOfAnAllowedNameIsNotDialled(t *testing.T) {
	t.Parallel()
	canary := newReceiver(t)
	named := strings.Replace(canary.url(), "127.0.0.1", "localhost", 1)
	c := run(t, fmt.Sprintf("subscription lan %s {\nallow_hosts localhost\nretry off\n}", named))
	id := c.accept("order.paid", `1`).ID
	d := c.wantDelivery(id, "lan", stateFailed, anyReason)
	if a := d.Attempts[0]; a.ErrorKind != "blocked" || !strings.Contains(a.Error, "allow_ips") {
		t.Errorf("%+v; want it blocked, and the mend", a)
	}
	canary.wantSilence("the forbidden address")

	// The control: with its addresses allowed the same name is reached.
	c.mustReload(fmt.Sprintf("subscription lan %s {\nallow_hosts localhost\nallow_ips 127.0.0.1 ::1\nretry off\n}", named))
	c.wantDelivery(c.accept("order.paid", `2`).ID, "lan", stateDelivered, "")
	canary.wantExactly(1)
}

// What one subscription may dial, another may not.
func TestAllowIPsOpensForItsSubscriptionOnly(t *testing.T) {
	t.Parallel()
	r := newReceiver(t)
	c := prepare(t)
	c.configure(subscribed("crm", r) + "subscription erp " + r.url())
	res := c.caddy("run", "--config", c.path("Caddyfile"))
	if res.code == 0 || !strings.Contains(res.errors, `subscription \"erp\"`) && !strings.Contains(res.errors, `subscription "erp"`) {
		t.Errorf("%s; want erp refused", res)
	}
	r.wantSilence("the receiver")
}
