package integration

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/caddyrelay/caddyrelay/storage/postgres/postgrestest"
)

// TestSeveralRelaysWhenOneIsKilled: the others take over what it did, and give it its part
// back when it is there again. Nothing is lost, and the order of a key is kept.
func TestSeveralRelaysWhenOneIsKilled(t *testing.T) {
	t.Parallel()
	f := newFleet(t, 3, postgrestest.New(t))
	f.shared(3)
	f.load(4)
	f.goesOn("three relays")
	f.oracle.killed(f.nodes[0].kill)
	f.shared(2)
	f.goesOn("one of three was killed")
	f.nodes[0].start()
	f.shared(3)
	f.goesOn("it is there again")
	f.judge(f.nodes...)
}

// TestSeveralRelaysWhenOneIsFrozen for longer than its lease: the others go on, and what it
// does when it wakes changes nothing of what they did.
func TestSeveralRelaysWhenOneIsFrozen(t *testing.T) {
	t.Parallel()
	f := newFleet(t, 3, postgrestest.New(t))
	f.shared(3)
	f.load(4)
	f.goesOn("three relays")
	frozen := f.nodes[0]
	freeze := func() { _ = frozen.cmd.Process.Signal(syscall.SIGSTOP) }
	thaw := func() { _ = frozen.cmd.Process.Signal(syscall.SIGCONT) }
	f.nodes = f.nodes[1:] // nobody waits for its answer
	f.oracle.killed(freeze)
	defer thaw()
	f.shared(2)
	f.goesOn("one of three is frozen")
	f.oracle.killed(thaw)
	f.nodes = append(f.nodes, frozen)
	eventually(t, func() bool { return frozen.readiness() == http.StatusOK }, func() string { return "it does not come to itself:\n" + frozen.log() })
	f.shared(3)
	f.goesOn("it is awake")
	f.judge(f.nodes...)
}

// TestSeveralRelaysWhenOneIsCutOff from the database: it takes nothing more, and the others
// do its work until it is back.
func TestSeveralRelaysWhenOneIsCutOff(t *testing.T) {
	t.Parallel()
	f := newFleet(t, 3, postgrestest.New(t))
	f.shared(3)
	f.load(4)
	f.goesOn("three relays")
	alone := f.nodes[0]
	f.nodes = f.nodes[1:]
	f.oracle.killed(f.cables[0].cut.Lock)
	began := time.Now()
	a := alone.post("/v1/events/order.paid", `{"key":"cut","n":1}`)
	t.Logf("answered %d after %s; promised are 503 and 10 s", a.status, time.Since(began).Round(100*time.Millisecond))
	if a.status != http.StatusServiceUnavailable || alone.readiness() != http.StatusServiceUnavailable {
		t.Errorf("without the database: %s, readiness %d", a, alone.readiness())
	}
	f.shared(2)
	f.goesOn("one of three is cut off")
	f.oracle.killed(f.cables[0].cut.Unlock)
	f.nodes = append(f.nodes, alone)
	eventually(t, func() bool { return alone.readiness() == http.StatusOK }, func() string { return "it is not well again:\n" + alone.log() })
	f.shared(3)
	f.goesOn("it is back")
	f.judge(f.nodes...)
}

// TestSeveralRelaysThroughFailover: the primary is killed, and its synchronous standby takes
// its place. What was acknowledged is there.
func TestSeveralRelaysThroughFailover(t *testing.T) {
	t.Parallel()
	primary := postgrestest.New(t)
	standby := primary.Standby(t)
	primary.Query(t, "postgres", "alter system set synchronous_standby_names = 'ANY 1 (*)'")
	primary.Query(t, "postgres", "select pg_reload_conf()")
	eventually(t, func() bool {
		return primary.Query(t, "postgres", "select count(*) from pg_stat_replication where sync_state in ('sync', 'quorum')") == "1"
	}, func() string { return "the standby is not synchronous" })
	f := newFleet(t, 0, primary)
	for range 2 {
		f.add(fmt.Sprintf("postgres://relay@127.0.0.1:%d,127.0.0.1:%d/postgres?sslmode=disable", primary.Port, standby.Port)).start()
	}
	f.shared(2)
	f.load(4)
	f.goesOn("two relays")
	f.oracle.killed(primary.Kill)
	standby.Promote(t)
	f.server = standby
	// Nobody follows it, and nobody is waited for.
	for _, c := range f.nodes {
		eventually(t, func() bool { return c.readiness() == http.StatusOK }, func() string { return "no way to the new primary:\n" + c.log() })
	}
	f.oracle.killed(func() {})
	f.shared(2)
	f.goesOn("the standby was promoted")
	f.judge(f.nodes...)
}

// TestSeveralRelaysRollOver: one after the other is reloaded and stopped, and another one
// comes. Nothing is made twice: what a relay has begun, it ends and tells before it hands over.
func TestSeveralRelaysRollOver(t *testing.T) {
	t.Parallel()
	server := postgrestest.New(t)
	f := newFleet(t, 2, server)
	f.shared(2)
	f.load(3)
	f.goesOn("two relays")
	for _, c := range f.nodes {
		c.configure(fleetLines(f.receiver.url(), "\t\tsubscription later "+f.receiver.url()+" later.*"))
		if out, err := c.command(t.Context(), "reload", "--config", c.path("Caddyfile"), "--address", c.admin()).CombinedOutput(); err != nil {
			t.Fatalf("reload: %v\n%s", err, out)
		}
	}
	f.goesOn("both were reloaded")
	third := f.add(server.DSN("postgres"))
	third.configure(fleetLines(f.receiver.url(), "\t\tsubscription later "+f.receiver.url()+" later.*"))
	third.start()
	f.shared(3)
	first := f.nodes[0]
	if code := first.stop(); code != 0 {
		t.Errorf("stopped with exit code %d", code)
	}
	f.shared(2)
	f.goesOn("one of three was stopped")
	f.judge(f.nodes[1:]...)
}

// TestEveryRelayAnswersForTheWhole: what is done at one of them holds at all.
func TestEveryRelayAnswersForTheWhole(t *testing.T) {
	t.Parallel()
	f := newFleet(t, 2, postgrestest.New(t))
	f.shared(2)
	one, two := f.nodes[0], f.nodes[1]

	// A pause, from either side, of whatever the other one carries.
	for i, name := range f.subscriptions {
		c, other := f.nodes[i%2], f.nodes[(i+1)%2]
		began := time.Now()
		if a := c.adminRequest(http.MethodPost, "/relay/subscriptions/"+name+"/pause", ""); a.status != http.StatusOK {
			t.Fatalf("pausing %s: %s", name, a)
		}
		eventually(t, func() bool { return other.subscription(name).State == "paused" }, func() string {
			return fmt.Sprintf("%s is not paused elsewhere: %+v", name, other.subscription(name))
		})
		t.Logf("%s is paused everywhere after %s; promised are 5 s", name, time.Since(began).Round(time.Millisecond))
	}
	// Requests with one key that come to both at once.
	for i := range 10 {
		body := fmt.Sprintf(`{"key":"same","n":%d}`, i)
		f.oracle.sending("order.paid", body)
		var got [2]receipt
		var wg sync.WaitGroup
		for j, c := range f.nodes {
			wg.Go(func() {
				a := c.post("/v1/events/order.paid", body, "Idempotency-Key", fmt.Sprint(i))
				f.oracle.answered(body, a)
				_ = json.Unmarshal(a.body, &got[j])
			})
		}
		wg.Wait()
		if got[0].ID == "" || got[0].ID != got[1].ID || got[0].Duplicate == got[1].Duplicate {
			t.Errorf("one key at two relays: %+v", got)
		}
	}
	if got := f.receiver.got(); len(got) != 0 {
		t.Errorf("%d deliveries while all is paused", len(got))
	}
	for _, c := range f.nodes {
		for _, name := range f.subscriptions {
			s := c.subscription(name)
			if s.Pending != 10 || s.State != "paused" {
				t.Errorf("%s has %d pending, state %s; want 10, paused", s.Name, s.Pending, s.State)
			}
		}
		if list := c.deliveries(); len(list) != 60 {
			t.Errorf("%d deliveries are listed; want 60", len(list))
		}
	}
	streams := []*stream{one.follow(), two.follow()}
	for i, name := range f.subscriptions {
		if a := f.nodes[(i+1)%2].adminRequest(http.MethodPost, "/relay/subscriptions/"+name+"/resume", ""); a.status != http.StatusOK {
			t.Fatalf("resuming %s: %s", name, a)
		}
	}
	f.receiver.wantExactly(60)
	one.drained()
	two.drained()
	for i, s := range streams {
		seen := make(map[string]bool)
		for range 60 {
			d := s.next()
			seen[d.Event+" "+d.Subscription] = d.State == "delivered"
		}
		if len(seen) != 60 {
			t.Errorf("the stream of relay %d has %d different deliveries among the first 60", i, len(seen))
		}
	}
	for _, c := range f.nodes {
		var s struct {
			Instances []struct {
				ID     string
				Shards []int
				Seen   time.Time
			}
		}
		a := c.get("/relay/status")
		if err := json.Unmarshal(a.body, &s); err != nil || len(s.Instances) != 2 {
			t.Fatalf("the relays of one store: %v, %s", err, a)
		}
		for _, i := range s.Instances {
			if len(i.Shards) == 0 || i.Seen.IsZero() || i.ID == "" {
				t.Errorf("%+v", i)
			}
		}
	}
	for _, breach := range f.oracle.breaches(f.receiver.got(), two.deliveries()) {
		t.Error(breach)
	}
}

// stream is what becomes of deliveries, as a relay tells it.
type stream struct {
	t     *testing.T
	lines *bufio.Scanner
}

// follow begins to read the stream of a relay: what settles from now on is in it.
func (c *instance) follow() *stream {
	c.t.Helper()
	client := http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", c.path("admin.sock"))
	}}}
	resp, err := client.Get("http://caddy/relay/stream")
	if err != nil || resp.StatusCode != http.StatusOK {
		c.t.Fatalf("GET /relay/stream: %v, %+v", err, resp)
	}
	c.t.Cleanup(func() { _ = resp.Body.Close() })
	time.AfterFunc(2*patience, func() { _ = resp.Body.Close() })
	s := &stream{c.t.(*testing.T), bufio.NewScanner(resp.Body)}
	if !s.lines.Scan() { // the stream begins
		c.t.Fatalf("the stream ends at once: %v", s.lines.Err())
	}
	return s
}

// next waits for what becomes of a delivery.
func (s *stream) next() (d delivery) {
	s.t.Helper()
	for s.lines.Scan() {
		if data, ok := strings.CutPrefix(s.lines.Text(), "data: "); ok {
			if err := json.Unmarshal([]byte(data), &d); err != nil || d.Event == "" {
				s.t.Fatalf("the stream says %s (%v)", data, err)
			}
			return d
		}
	}
	s.t.Fatalf("the stream has ended: %v", s.lines.Err())
	return d
}
