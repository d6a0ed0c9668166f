package integration

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"
)

// Subscriptions of the reload tests, as lines of the relay option.
func subscribed(name string, r *receiver, words ...string) string {
	return fmt.Sprintf("subscription %s %s/%s {\nallow_ips 127.0.0.1\n%s\n}\n", name, r.url(), name, strings.Join(words, "\n"))
}

const (
	signed      = "sign standard {env.SECRET}"
	retriedSoon = "retry 50ms 100ms 500ms 1s 2s 5s"
)

// F10, F11: URLs change, subscriptions come and go, and neither those who post nor those
// who receive notice. RELAY_TEST_RELOADS makes it longer.
func TestReloadUnderLoadLosesRefusesAndRepeatsNothing(t *testing.T) {
	t.Parallel()
	reloads := setting(t, "RELAY_TEST_RELOADS", 12)
	first, second, audit, legacy := newReceiver(t), newReceiver(t), newReceiver(t), newReceiver(t)
	o := &oracle{secret: newSecret(), matching: func(typ string) []string {
		if strings.HasPrefix(typ, "order.") {
			return []string{"crm"}
		}
		return []string{"legacy"}
	}}
	// What changes from one configuration to the next: the URL of crm, a subscription of
	// nothing that is posted, and the retries of one whose name stays. Which events match
	// is the same throughout, so that the oracle knows.
	variant := func(i int) string {
		target := first
		if i%2 == 1 {
			target = second
		}
		relay := subscribed("crm", target, signed, retriedSoon, "topics order.*") +
			subscribed("legacy", legacy, signed, retriedSoon, "topics invoice.*", fmt.Sprintf("max_in_flight %d", 1+i%4))
		if i%3 == 1 {
			relay += subscribed("audit", audit, signed, "topics nothing.of.this")
		}
		return relay
	}
	c := run(t, variant(0), withEnv("SECRET="+o.secret))
	goroutines, descriptors := c.goroutines(), c.descriptors()

	load := startLoad(c, o, 6)
	for i := range reloads {
		c.mustReload(variant(i + 1))
	}
	load.stop()
	dropped := 0
	for _, err := range load.failures() {
		// Caddy opens a listener anew for each configuration (SO_REUSEPORT), and closes the
		// old one's server. What the kernel had queued for that is reset (unless the sysctl
		// net.ipv4.tcp_migrate_req is 1), and what it was just reading net/http hangs up on.
		// No handler has seen these; they are sent again, as the oracle will check.
		if errors.Is(err, syscall.ECONNRESET) || errors.Is(err, io.EOF) {
			dropped++
			continue
		}
		t.Errorf("an application was turned away: %v", err)
	}
	if dropped > reloads*2 {
		t.Errorf("%d requests were dropped in %d reloads", dropped, reloads)
	}
	c.drained()
	got := slices.Concat(first.got(), second.got(), legacy.got())
	for _, breach := range o.breaches(got, c.deliveries()) {
		t.Error(breach)
	}
	accepted, _ := o.counts()
	if len(got) != accepted {
		t.Errorf("%d requests were made for %d deliveries, none of which failed", len(got), accepted)
	}
	if len(first.got()) == 0 || len(second.got()) == 0 {
		t.Error("only one of the two URLs was ever used")
	}
	t.Logf("%d reloads: %d events, %d requests dropped before a handler saw them", reloads, accepted, dropped)

	// I7: what a configuration took goes with it. A few are in use in each state.
	clientOf.CloseIdleConnections()
	const slack = 40
	var g, d int
	eventually(t, func() bool {
		g, d = c.goroutines(), c.descriptors()
		return g < goroutines+slack && d < descriptors+slack
	}, func() string {
		return fmt.Sprintf("%d goroutines and %d descriptors are left of %d and %d", g, d, goroutines, descriptors)
	})
}

// goroutines asks Caddy's own profile.
func (c *instance) goroutines() int {
	c.t.Helper()
	var n int
	a := c.get("/debug/pprof/goroutine?debug=1")
	if _, err := fmt.Sscanf(string(a.body), "goroutine profile: total %d", &n); err != nil {
		c.t.Fatalf("%v: %.200s", err, a)
	}
	return n
}

// descriptors is 0 where the system does not tell.
func (c *instance) descriptors() int {
	files, _ := os.ReadDir(fmt.Sprintf("/proc/%d/fd", c.cmd.Process.Pid))
	return len(files)
}

func TestAttemptInFlightOutlivesAReload(t *testing.T) {
	t.Parallel()
	old, next := newReceiver(t), newReceiver(t)
	hold := newGate(t)
	old.answer(hold.then(with(http.StatusOK)))
	c := run(t, subscribed("crm", old))
	id := c.accept("order.paid", `1`).ID
	old.want(1)

	c.mustReload(subscribed("crm", next))
	// The old attempt holds nobody up.
	later := c.accept("order.paid", `2`).ID
	if got := next.want(1); got[0].id() != later {
		t.Errorf("the new URL got %s; want %s", got[0].id(), later)
	}
	hold.open()
	if d := c.wantDelivery(id, "crm", stateDelivered, ""); d.AttemptCount != 1 {
		t.Errorf("%+v; want one attempt", d)
	}
	c.drained()
	old.wantExactly(1)
	next.wantExactly(1)
}

func TestWhatWaitsGoesToTheNewURL(t *testing.T) {
	t.Parallel()
	old, next := newReceiver(t), newReceiver(t)
	old.answer(with(http.StatusInternalServerError))
	c := run(t, subscribed("crm", old, "retry 2s", "header X-Tenant old"))
	id := c.accept("order.paid", `1`).ID
	c.wantDelivery(id, "crm", stateRetrying, "")
	c.mustReload(subscribed("crm", next, "retry 2s", "header X-Tenant new"))
	got := next.want(1)
	if a := got[0]; a.id() != id || a.header.Get("Relay-Attempt") != "2" || a.header.Get("X-Tenant") != "new" {
		t.Errorf("the new URL got %v", a.header)
	}
	c.wantDelivery(id, "crm", stateDelivered, "")
	old.wantExactly(1)
}

func TestRemovedSubscriptionIsHeldAndComesBackWithItsName(t *testing.T) {
	t.Parallel()
	old, next, other := newReceiver(t), newReceiver(t), newReceiver(t)
	old.answer(with(http.StatusInternalServerError))
	rest := subscribed("other", other)
	c := run(t, rest+subscribed("legacy", old, "retry 1h", "max_in_flight 1"))
	tried := c.accept("order.paid", `1`).ID
	c.wantDelivery(tried, "legacy", stateRetrying, "")
	c.mustReload(rest + subscribed("legacy", old, "paused"))
	untried := c.accept("order.paid", `2`).ID
	c.wantDelivery(untried, "legacy", stateHeld, reasonPaused)
	c.wantDelivery(tried, "legacy", stateRetrying, reasonPaused)

	c.mustReload(rest)
	c.wantDelivery(untried, "legacy", stateHeld, reasonGone)
	c.wantDelivery(tried, "legacy", stateRetrying, reasonGone)
	if s := c.subscription("legacy"); s.State != "gone" || s.Pending != 2 {
		t.Errorf("%+v; want 2 pending of one that is gone", s)
	}
	if r := c.accept("order.paid", `3`); !slices.Equal(r.Matched, []string{"other"}) {
		t.Errorf("matched %v while legacy is gone", r.Matched)
	}
	// Also over a restart nothing is forgotten.
	if code := c.stop(); code != 0 {
		t.Errorf("exit code %d", code)
	}
	c.start()
	if s := c.subscription("legacy"); s.State != "gone" || s.Pending != 2 {
		t.Errorf("after a restart: %+v; want 2 pending of one that is gone", s)
	}
	other.wantExactly(3)
	old.wantExactly(1)

	c.mustReload(rest + subscribed("legacy", next, "retry 1h"))
	if got := next.want(1); got[0].id() != untried {
		t.Errorf("%s came; want %s, which was never tried", got[0].id(), untried)
	}
	c.wantDelivery(untried, "legacy", stateDelivered, "")
	c.wantDelivery(tried, "legacy", stateRetrying, "") // its hour is not over
	other.wantExactly(3)
}

func TestFailingReloadLeavesTheOldConfigurationWorking(t *testing.T) {
	t.Parallel()
	good, bad, squatter := newReceiver(t), newReceiver(t), newReceiver(t)
	c := run(t, subscribed("crm", good))
	wrong := subscribed("crm", bad)
	_, squatted, _ := strings.Cut(squatter.address, ":")
	for i, broken := range []struct{ name, relay, site, want string }{
		{"unknown word", wrong + "subscriptions x https://x.example.com", "", `did you mean \"subscription\"`},
		{"missing secret", subscribed("crm", bad, "sign standard {file."+c.path("none")+"}"), "", "there is no such file"},
		{"private address", wrong + "subscription lan http://10.1.2.3/", "", "10.1.2.3 is refused"},
		// By then the relay may have been started with it, since apps start in any order.
		{"another app fails", wrong, "http://:" + squatted + " {\nbind 127.0.0.1\nrespond ok\n}\n", "address already in use"},
	} {
		c.configure(broken.relay)
		c.write("Caddyfile", c.file("Caddyfile")+broken.site)
		if r := c.reload(); r.code == 0 || !strings.Contains(r.errors, broken.want) {
			t.Errorf("%s: %s; want an error with %q", broken.name, r, broken.want)
		}
		id := c.accept("order.paid", fmt.Sprint(i)).ID
		c.wantDelivery(id, "crm", stateDelivered, "")
	}
	good.wantExactly(4)
	bad.wantSilence("the URL that was never in force")
	if s := c.status(); len(s.Subscriptions) != 1 {
		t.Errorf("%+v", s)
	}
}

func TestValidateWorksBesideTheRunningInstance(t *testing.T) {
	t.Parallel()
	r := newReceiver(t)
	c := run(t, subscribed("crm", r))
	for range 3 {
		if v := c.caddy("validate", "--config", c.path("Caddyfile")); v.code != 0 {
			t.Fatal(v)
		}
	}
	c.wantDelivery(c.accept("order.paid", `1`).ID, "crm", stateDelivered, "")
}

func TestRotatedSecretSignsAfterAForcedReload(t *testing.T) {
	t.Parallel()
	r := newReceiver(t)
	before, after := newSecret(), newSecret()
	c := prepare(t)
	file := c.write("secret", before)
	c.configure(subscribed("crm", r, "sign standard {file."+file+"}"))
	c.start()
	deliver := func() *arrival {
		id := c.accept("order.paid", `1`).ID
		c.wantDelivery(id, "crm", stateDelivered, "")
		got := r.got()
		return &got[len(got)-1]
	}
	wantSigned := func(a *arrival, when string, yes, no string) {
		t.Helper()
		if err := verify(yes, a); err != nil {
			t.Errorf("%s: %v", when, err)
		}
		if no != "" && verify(no, a) == nil {
			t.Errorf("%s: the other secret signs, too", when)
		}
	}
	wantSigned(deliver(), "before", before, after)
	c.write("secret", after)
	wantSigned(deliver(), "with the file changed and nothing reloaded", before, after)
	if res := c.reload("--force"); res.code != 0 {
		t.Fatal(res)
	}
	wantSigned(deliver(), "after the reload", after, before)

	// A rotation with an overlap: receivers may know either.
	c.write("old", before)
	c.mustReload(subscribed("crm", r, "sign standard {\nsecret {file."+c.path("old")+"}\nsecret {file."+file+"}\n}"))
	a := deliver()
	wantSigned(a, "with both", before, "")
	wantSigned(a, "with both", after, "")
	for _, secret := range []string{before, after} {
		if strings.Contains(c.log(), secret) || strings.Contains(string(c.get("/config/").body), secret) {
			t.Error("a secret can be read in the log or at /config/")
		}
	}
	c.kill()
}
