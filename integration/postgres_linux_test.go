package integration

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
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
