package integration

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/caddyrelay/caddyrelay/storage/postgres/postgrestest"
)

// withPostgres keeps events in a server's database.
func withPostgres(server *postgrestest.Server) option {
	return func(c *instance) {
		c.storage = "\t\tstorage postgres {env.RELAY_POSTGRES_DSN}"
		c.env = append(c.env, "RELAY_POSTGRES_DSN="+server.DSN("postgres"))
	}
}

// readiness is the status of /readyz, 0 if there is no answer.
func (c *instance) readiness() int { return c.request(http.MethodGet, "/readyz", "").status }

// TestPostgresThroughKills: the relay is killed, and the database is, under load. What was
// acknowledged is delivered, and the three ledgers agree.
func TestPostgresThroughKills(t *testing.T) {
	t.Parallel()
	server := postgrestest.New(t)
	crm, audit := newReceiver(t), newReceiver(t)
	o := &oracle{secret: newSecret(), matching: func(typ string) []string {
		if strings.HasPrefix(typ, "order.") {
			return []string{"crm", "audit"}
		}
		return []string{"audit"}
	}}
	c := run(t, fmt.Sprintf(`
		defaults {
			allow_ips 127.0.0.1
			sign standard {env.SECRET}
			retry 50ms 100ms 500ms 1s 2s 5s 5s 5s
			breaker off
		}
		subscription crm %s order.*
		subscription audit %s`, crm.url(), audit.url()), withPostgres(server), withEnv("SECRET="+o.secret))

	load := startLoad(c, o, 6)
	accepted := func() int { n, _ := o.counts(); return n }
	more := func() {
		t.Helper()
		before := accepted()
		eventually(t, func() bool { return accepted() > before+100 }, func() string { return "no events are taken: " + c.log() })
	}
	more()
	for range 2 {
		o.killed(func() { c.kill() })
		c.start()
		more()
	}
	for range 2 {
		o.killed(server.Kill)
		eventually(t, func() bool { return c.readiness() == http.StatusServiceUnavailable },
			func() string { return "/readyz does not say that the database is away" })
		if a := c.post("/v1/events/order.paid", `{"during":"outage"}`); a.status != http.StatusServiceUnavailable || !strings.Contains(string(a.body), "store-failed") {
			t.Errorf("an event without a database: %s", a)
		}
		server.Start(t)
		eventually(t, func() bool { return c.readiness() == http.StatusOK }, func() string { return "/readyz is not well again" })
		more()
	}
	load.stop()
	c.drained()
	got := slices.Concat(crm.got(), audit.got())
	for _, breach := range o.breaches(got, c.deliveries()) {
		t.Error(breach)
	}
	n, unknown := o.counts()
	t.Logf("%d events accepted, %d unknown, %d requests", n, unknown, len(got))
	if storage := string(c.get("/relay/status").body); !strings.Contains(storage, `"postgres"`) || strings.Contains(storage, "relay@") {
		t.Errorf("status: %s", storage)
	}
}

// TestPostgresTakeover: a second relay is refused as long as the first one lives, even if
// that one is only silent for a while; when it stays frozen, the second one takes its place
// and the work goes on. Woken, the first one changes nothing any more, and says so.
func TestPostgresTakeover(t *testing.T) {
	t.Parallel()
	server := postgrestest.New(t)
	r := newReceiver(t)
	r.down()
	o := &oracle{secret: newSecret(), matching: func(string) []string { return []string{"crm"} }}
	lines := fmt.Sprintf(`
		subscription crm %s {
			allow_ips 127.0.0.1
			sign standard {env.SECRET}
			retry %s
			breaker off
		}`, r.url(), strings.Repeat("1s ", 100))
	first := run(t, lines, withPostgres(server), withEnv("SECRET="+o.secret))
	second := prepare(t, withPostgres(server), withEnv("SECRET="+o.secret))
	second.configure(lines)
	second.spawn()
	if code := second.wait(); code == 0 {
		t.Fatal("a second relay was started on the schema of the first")
	}
	name := fmt.Sprintf("process %d on ", first.cmd.Process.Pid)
	if log := second.log(); !strings.Contains(log, "another relay uses this schema: "+name) {
		t.Fatalf("the refusal does not name %q:\n%s", name, log)
	}

	const n = 50
	for i := range n {
		body := fmt.Sprintf(`{"order":%d}`, i)
		o.sending("order.paid", body)
		if !o.answered(body, first.post("/v1/events/order.paid", body, "Idempotency-Key", fmt.Sprint(i))) {
			t.Fatal("an event was not taken")
		}
	}
	if err := first.cmd.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = first.cmd.Process.Signal(syscall.SIGCONT) }()
	frozen := time.Now()
	r.up()
	second.start()
	t.Logf("taken over after %s", time.Since(frozen).Round(100*time.Millisecond))
	defer func() {
		if code := second.stop(); code != 0 {
			t.Errorf("stopped with exit code %d; want 0", code)
		}
	}()
	// It knows what was accepted by the other one, keys included.
	if a := second.post("/v1/events/order.paid", `{"order":0}`, "Idempotency-Key", "0"); !o.answered(`{"order":0}`, a) || !strings.Contains(string(a.body), `"duplicate":true`) {
		t.Errorf("a repeat at the relay that took over: %s", a)
	}
	r.want(n)
	second.drained()

	o.killed(func() { _ = first.cmd.Process.Signal(syscall.SIGCONT) })
	eventually(t, func() bool { return first.readiness() == http.StatusServiceUnavailable }, func() string { return "the first one does not notice:\n" + first.log() })
	if a := first.post("/v1/events/order.paid", `{"late":1}`); a.status != http.StatusServiceUnavailable {
		t.Errorf("the first one takes an event: %s", a)
	}
	// Was it in the middle of a commit, then it has ended without an answer, and it is the next
	// connection that finds the other one.
	taken := fmt.Sprintf("another relay has taken over this schema: process %d on ", second.cmd.Process.Pid)
	eventually(t, func() bool { return strings.Contains(first.log(), taken) },
		func() string { return "the first one does not say who has taken over:\n" + first.log() })
	if a := first.post("/v1/events/order.paid", `{"late":2}`); a.status != http.StatusServiceUnavailable || first.readiness() != http.StatusServiceUnavailable {
		t.Errorf("the first one takes an event: %s", a)
	}
	body := `{"order":"last"}`
	o.sending("order.paid", body)
	o.answered(body, second.post("/v1/events/order.paid", body))
	second.drained()
	for _, breach := range o.breaches(r.got(), second.deliveries()) {
		t.Error(breach)
	}
}

// TestPostgresHangs: a database that does not answer, with connections that stay, is as good
// as one that is gone.
func TestPostgresHangs(t *testing.T) {
	t.Parallel()
	server := postgrestest.New(t)
	r := newReceiver(t)
	o := &oracle{secret: newSecret(), matching: func(string) []string { return []string{"crm"} }}
	c := run(t, fmt.Sprintf(`
		subscription crm %s {
			allow_ips 127.0.0.1
			sign standard {env.SECRET}
		}`, r.url()), withPostgres(server), withEnv("SECRET="+o.secret))
	send := func(body string) answer {
		o.sending("order.paid", body)
		a := c.post("/v1/events/order.paid", body, "Idempotency-Key", body)
		o.answered(body, a)
		return a
	}
	if a := send(`{"n":1}`); a.status != http.StatusAccepted {
		t.Fatal(a)
	}
	r.want(1)
	o.killed(func() { server.Freeze(t) })
	defer server.Thaw(t)
	began := time.Now()
	a := send(`{"n":2}`)
	t.Logf("answered after %s; promised are 10 s", time.Since(began).Round(100*time.Millisecond))
	if a.status != http.StatusServiceUnavailable {
		t.Errorf("an event without an answer of the database: %s", a)
	}
	if c.readiness() != http.StatusServiceUnavailable {
		t.Error("/readyz says that all is well")
	}
	server.Thaw(t)
	eventually(t, func() bool { return c.readiness() == http.StatusOK }, func() string { return "/readyz is not well again" })
	// It may have been stored or not; with its key there is one.
	if a := send(`{"n":2}`); a.status != http.StatusAccepted {
		t.Error(a)
	}
	r.want(2)
	c.drained()
	for _, breach := range o.breaches(r.got(), c.deliveries()) {
		t.Error(breach)
	}
}
