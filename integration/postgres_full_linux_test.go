package integration

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/caddyrelay/caddyrelay/storage/postgres/postgrestest"
)

// TestPostgresFullDisk: the disk of the server is full. Events are refused as that, at once and
// for as long as it lasts; nothing that was accepted is lost, and nothing is delivered twice.
// When there is room all goes on by itself.
func TestPostgresFullDisk(t *testing.T) {
	t.Parallel()
	server := postgrestest.NewSmall(t, 192, true, "max_wal_size=48MB", "min_wal_size=32MB")
	r := newReceiver(t)
	o := &oracle{secret: newSecret(), matching: func(string) []string { return []string{"crm"} }}
	c := run(t, fmt.Sprintf(`
		subscription crm %s {
			allow_ips 127.0.0.1
			sign standard {env.SECRET}
			retry 100ms 1s 1s
			breaker off
		}`, r.url()), withPostgres(server), withEnv("SECRET="+o.secret))
	g := newGate(t)
	r.answer(g.then(with(http.StatusOK)))
	if taken, others := burst(c, o, "before", 30, 100); taken != 30 {
		t.Fatal(others)
	}
	eventually(t, func() bool { return c.subscription("crm").InFlight > 0 }, func() string { return "nothing is in flight" })
	server.FillUp(t, 512<<10)
	if full := fillUp(t, c, o, "full", 64<<10); !problemSlug(full, "store-full") || full.header.Get("Retry-After") == "" {
		t.Fatalf("%s; want store-full", full)
	}
	c.wantReadiness(http.StatusServiceUnavailable)
	g.open() // what is in flight ends, and its outcomes may have no room
	if res := c.relay("doctor"); !strings.Contains(res.out, "disk of the database server is full") || !strings.Contains(res.out, "make room on the server's disk") {
		t.Errorf("doctor does not say it: %s", res)
	}
	for range 10 {
		began := time.Now()
		if taken, others := burst(c, o, "small", 2, 10); taken != 0 || !problemSlug(others[0], "store-full") {
			t.Errorf("%d taken, %v; want store-full", taken, others)
		}
		if c.readiness() != http.StatusServiceUnavailable {
			t.Errorf("/readyz says that all is well, %s after a refusal", time.Since(began))
		}
		time.Sleep(100 * time.Millisecond)
	}
	server.MakeRoom(t)
	eventually(t, func() bool { return c.readiness() == http.StatusOK }, func() string { return "/readyz is not well again: " + c.log() })
	if taken, others := burst(c, o, "after", 30, 64<<10); taken != 30 {
		t.Fatal(others)
	}
	c.drained()
	got := r.got()
	for _, breach := range o.breaches(got, c.deliveries()) {
		t.Error(breach)
	}
	if accepted, _ := o.counts(); len(got) != accepted { // and what was refused was not stored
		t.Errorf("%d requests for %d events accepted; want one for each", len(got), accepted)
	}
}
