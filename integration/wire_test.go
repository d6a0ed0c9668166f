package integration

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
)

func TestSubscriptionDecidesMethodAndHeaders(t *testing.T) {
	t.Parallel()
	r := newReceiver(t)
	const secret = "open-sesame"
	c := run(t, subscribed("put", r, "method PUT", "header X-Tenant acme", "header +X-Tag one", "header +X-Tag two",
		"header User-Agent shop", "secret_header X-Api-Key {env.API_KEY}")+
		subscribed("get", r, "method GET", "header -User-Agent"), withEnv("API_KEY="+secret))
	id := c.accept("order.paid", `{"order":1}`).ID
	c.drained()
	byName := make(map[string]arrival)
	for _, a := range r.wantExactly(2) {
		byName[a.subscription()] = a
		if a.id() != id || a.path != "/"+a.subscription() {
			t.Errorf("%s came to %s", a.id(), a.path)
		}
	}
	put, get := byName["put"], byName["get"]
	if put.method != http.MethodPut || string(put.body) != `{"order":1}` || put.header.Get("X-Tenant") != "acme" ||
		strings.Join(put.header["X-Tag"], " ") != "one two" || put.header.Get("User-Agent") != "shop" || put.header.Get("X-Api-Key") != secret {
		t.Errorf("%s %q %v", put.method, put.body, put.header)
	}
	if get.method != http.MethodGet || len(get.body) != 0 || get.header.Get("User-Agent") != "" || get.header.Get("Content-Type") != "" {
		t.Errorf("%s %q %v; want it without body and agent", get.method, get.body, get.header)
	}
	shown := string(c.get("/config/").body) + string(c.get("/relay/status").body) + string(c.get("/relay/events/"+id).body) + c.log()
	if strings.Contains(shown, secret) {
		t.Error("the secret header can be read somewhere")
	}
	if !strings.Contains(shown, "{env.API_KEY}") {
		t.Error("/config/ does not show the placeholder")
	}
}

// F21: an endpoint that was restarted meanwhile costs no attempt.
func TestDeadConnectionCostsNoAttempt(t *testing.T) {
	t.Parallel()
	r := newReceiver(t)
	c := run(t, subscribed("crm", r, "retry off"))
	for i := range 10 {
		id := c.accept("order.paid", fmt.Sprint(i)).ID
		if d := c.wantDelivery(id, "crm", stateDelivered, ""); d.AttemptCount != 1 {
			t.Errorf("%+v; want one attempt", d)
		}
		r.down()
		r.up()
	}
	r.wantExactly(10)
}

// One endpoint gets no more at once than it is said to bear, and the others do not wait
// for it.
func TestMaxInFlightBoundsWhatAnEndpointGets(t *testing.T) {
	t.Parallel()
	r, well := newReceiver(t), newReceiver(t)
	hold := newGate(t)
	r.answer(hold.then(with(http.StatusOK)))
	c := run(t, subscribed("crm", r, "max_in_flight 3")+subscribed("well", well))
	const n = 30
	for i := range n {
		c.accept("order.paid", fmt.Sprint(i))
	}
	well.want(n)
	r.wantExactly(3)
	if s := c.subscription("crm"); s.InFlight != 3 || s.Pending != n {
		t.Errorf("%+v; want 3 in flight, %d pending", s, n)
	}
	hold.open()
	c.drained()
	r.wantExactly(n)
}

func TestRelaySubscriptionsNarrowsTheMatch(t *testing.T) {
	t.Parallel()
	crm, erp, log := newReceiver(t), newReceiver(t), newReceiver(t)
	c := run(t, subscribed("crm", crm, "topics order.*")+subscribed("erp", erp, "topics *.paid")+subscribed("log", log))
	c.accept("order.paid", `1`, "Relay-Subscriptions", "crm, log")
	c.accept("ORDER.Paid", `2`) // compared without regard to case
	c.accept("order", `3`)      // "order.*" is this, too
	c.accept("order.paid.twice", `4`)
	c.drained()
	for _, want := range []struct {
		r      *receiver
		bodies string
	}{{crm, "1 2 3 4"}, {erp, "2"}, {log, "1 2 3 4"}} {
		got := make(map[string]bool)
		for _, a := range want.r.got() {
			got[string(a.body)] = true
		}
		for _, body := range strings.Fields(want.bodies) {
			if !got[body] {
				t.Errorf("%s was not delivered to %s", body, want.r.got()[0].subscription())
			}
		}
		if len(want.r.got()) != len(strings.Fields(want.bodies)) {
			t.Errorf("%v were delivered; want %s", got, want.bodies)
		}
	}
}

// A name that is listed is right beside the local ones.
func TestHostsOpensIntakeForAName(t *testing.T) {
	t.Parallel()
	c := run(t, subscribed("crm", newReceiver(t)), withIntake("hosts relay.example.internal"))
	for _, host := range []string{"relay.example.internal", "Relay.Example.Internal:4665", "localhost", "127.0.0.1:1", "[::1]"} {
		c.accept("order.paid", `1`, "Host", host)
	}
	wantProblem(t, c.post(ofType, `1`, "Host", "other.example.internal"), http.StatusForbidden)
}
