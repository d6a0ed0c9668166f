package integration

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"
)

// F32: what is under way may end.
func TestStopWaitsForAttemptsInFlight(t *testing.T) {
	t.Parallel()
	breaches := endedInFlight(t, func(c *instance, hold *gate) {
		// Only once Caddy says that it stops are the answers given.
		go func() {
			for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
				if strings.Contains(c.log(), "shutting down apps") {
					break
				}
			}
			hold.open()
		}()
		if code := c.stop(); code != 0 {
			t.Errorf("exit code %d; want 0", code)
		}
	})
	for _, breach := range breaches {
		t.Error(breach)
	}
}

// The control of F32: a process that does not wait for what is in flight, since it is killed in
// place of being asked, makes it again. The same test sees that.
func TestStopControl(t *testing.T) {
	t.Parallel()
	found := strings.Join(endedInFlight(t, func(c *instance, hold *gate) {
		c.kill()
		hold.open()
	}), "\n")
	if !strings.Contains(found, "7 requests for 5 events") {
		t.Errorf("found %q; want two attempts that were made again", found)
	}
}

// endedInFlight ends a process with two attempts in flight and three deliveries behind them, starts
// it again, and returns where more or less than one attempt of each was made.
func endedInFlight(t *testing.T, end func(*instance, *gate)) (breaches []string) {
	t.Helper()
	r := newReceiver(t)
	hold := newGate(t)
	r.answer(hold.then(with(http.StatusOK)))
	c := run(t, subscribed("crm", r, "max_in_flight 2"), withGrace("30s"))
	var ids []string
	for i := range 5 {
		ids = append(ids, c.accept("order.paid", fmt.Sprint(i)).ID)
	}
	r.want(2)
	end(c, hold)

	// What was answered was recorded, the rest was kept.
	c.start()
	c.drained()
	if n := r.count(); n != len(ids) {
		breaches = append(breaches, fmt.Sprintf("%d requests for %d events", n, len(ids)))
	}
	for _, id := range ids {
		if d := c.delivery(id, "crm"); d.State != stateDelivered || d.AttemptCount != 1 {
			breaches = append(breaches, fmt.Sprintf("%+v; want one attempt", d))
		}
	}
	return breaches
}

func TestStopCutsAttemptsAfterTheGracePeriodAndCountsThemNot(t *testing.T) {
	t.Parallel()
	r := newReceiver(t)
	hold := newGate(t)
	r.answer(hold.then(with(http.StatusOK)))
	o := &oracle{secret: newSecret(), matching: func(string) []string { return []string{"crm"} }}
	c := run(t, subscribed("crm", r, signed, "retry off", "timeout 5m", "max_in_flight 3"), withGrace("500ms"), withEnv("SECRET="+o.secret))
	const n = 20
	for i := range n {
		body := fmt.Sprint(i)
		o.sending("order.paid", body)
		if !o.answered(body, c.post("/v1/events/order.paid", body)) {
			t.Fatal("an event was not taken")
		}
	}
	cut := r.want(3)
	if code := c.stop(); code != 0 {
		t.Errorf("exit code %d; want 0", code)
	}
	r.wantExactly(3)
	hold.open()
	r.answer(with(http.StatusOK))
	for _, a := range cut {
		// The gate lets the old requests end with 200, which nobody is there to read: their
		// outcome is unknown, and the oracle is told of it as of a kill.
		eventually(t, func() bool { return r.got()[a.number-1].status != 0 }, func() string { return "a request does not end" })
	}
	o.kills = append(o.kills, time.Now())

	c.start()
	c.drained()
	got := r.wantExactly(n + 3)
	for _, breach := range o.breaches(got, c.deliveries()) {
		t.Error(breach)
	}
	// The control of the oracle: one that was told of no stop takes the attempts that were made
	// again for duplicates, and one without the arrivals of an event misses it.
	control := &oracle{secret: o.secret, matching: o.matching, posts: o.posts}
	lacking := slices.DeleteFunc(slices.Clone(got), func(a arrival) bool { return a.id() == cut[0].id() })
	for want, got := range map[string][]arrival{"I4: ": got, "never came": lacking} {
		if found := strings.Join(control.breaches(got, c.deliveries()), "\n"); !strings.Contains(found, want) {
			t.Errorf("found %q; want %q", found, want)
		}
	}
	for _, a := range got {
		if number(&a, "Relay-Attempt") != 1 {
			t.Errorf("%s came with Relay-Attempt %s; a cut attempt is made again under its number", a.id(), a.header.Get("Relay-Attempt"))
		}
	}
	for _, a := range cut {
		if d := c.delivery(a.id(), "crm"); d.State != stateDelivered || d.AttemptCount != 1 || len(d.Attempts) != 1 {
			t.Errorf("%+v; want it delivered in one attempt", d)
		}
	}
	if s := c.subscription("crm"); s.Failed != 0 {
		t.Errorf("%+v", s)
	}
}

// F10: the second is told what to do, and does no harm.
func TestSecondProcessOnADirectoryIsRefused(t *testing.T) {
	t.Parallel()
	r := newReceiver(t)
	c := run(t, subscribed("crm", r))
	c.wantDelivery(c.accept("order.paid", `1`).ID, "crm", stateDelivered, "")

	second := prepare(t)
	second.configure(subscribed("crm", r))
	second.write("Caddyfile", strings.Replace(second.file("Caddyfile"), second.store(), c.store(), 1))
	for range 2 {
		res := second.caddy("run", "--config", second.path("Caddyfile"))
		if res.code == 0 {
			t.Fatalf("the second process ran on the same directory: %s", res)
		}
		for _, want := range []string{c.store(), "caddy reload", fmt.Sprint(c.cmd.Process.Pid)} {
			if !strings.Contains(res.errors, want) {
				t.Errorf("the error lacks %q: %s", want, res)
			}
		}
	}
	c.wantDelivery(c.accept("order.paid", `2`).ID, "crm", stateDelivered, "")
	r.wantExactly(2)

	// Once the first is gone, even by a crash, the directory is free.
	c.kill()
	second.start()
	second.wantDelivery(second.accept("order.paid", `3`).ID, "crm", stateDelivered, "")
	if n := len(second.events()); n != 3 {
		t.Errorf("%d events are in the directory; want 3", n)
	}
	if code := second.stop(); code != 0 {
		t.Errorf("exit code %d; want 0", code)
	}
}
