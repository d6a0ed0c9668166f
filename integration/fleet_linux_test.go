package integration

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/caddyrelay/caddyrelay/storage/postgres/postgrestest"
)

// fleet are several relays on one database, each with a cable of its own to it, and a load
// that all of them take.
type fleet struct {
	t        *testing.T
	server   *postgrestest.Server
	nodes    []*instance
	cables   []*cable
	receiver *receiver
	oracle   *oracle
	// subscriptions are those of an event; "ordered" is the one that keeps events in order.
	subscriptions []string

	stop context.CancelFunc
	done sync.WaitGroup
}

// fleetLines has the subscriptions ordered and s0 to s4, and whatever else stands in lines.
func fleetLines(receiver string, lines string) string {
	text := fmt.Sprintf(`
		defaults {
			allow_ips 127.0.0.1
			sign standard {env.SECRET}
			retry 50ms 100ms 500ms 1s 1s 1s 1s 1s 1s 1s 1s 1s
			breaker off
			max_in_flight 4
		}
		subscription ordered %s order.* {
			order_by {event.data.key}
		}
%s`, receiver, lines)
	for i := range 5 {
		text += fmt.Sprintf("\n\t\tsubscription s%d %s order.*", i, receiver)
	}
	// So that there is something in each shard.
	for i := range 40 {
		text += fmt.Sprintf("\n\t\tsubscription idle%d %s never.*", i, receiver)
	}
	return text
}

// newFleet starts n relays.
func newFleet(t *testing.T, n int, server *postgrestest.Server, options ...option) *fleet {
	t.Helper()
	f := &fleet{t: t, server: server, receiver: newReceiver(t), subscriptions: []string{"ordered", "s0", "s1", "s2", "s3", "s4"}}
	f.oracle = &oracle{secret: newSecret(), matching: func(string) []string { return f.subscriptions }}
	for i := range n {
		f.cables = append(f.cables, newCable(t, fmt.Sprintf("127.0.0.1:%d", server.Port)))
		f.add(f.cables[i].dsn(), options...)
	}
	for _, c := range f.nodes {
		c.start()
	}
	t.Cleanup(f.end)
	return f
}

// add makes one more relay, which is not started.
func (f *fleet) add(dsn string, options ...option) *instance {
	f.t.Helper()
	c := prepare(f.t, append([]option{withEnv("SECRET="+f.oracle.secret, "RELAY_POSTGRES_DSN="+dsn), func(c *instance) {
		c.storage = "\t\tstorage postgres {env.RELAY_POSTGRES_DSN}"
	}}, options...)...)
	c.configure(fleetLines(f.receiver.url(), ""))
	f.nodes = append(f.nodes, c)
	return c
}

// load begins to post: each application waits for its answer before it posts its next event,
// whatever relay gives it, so that its events are accepted in order.
func (f *fleet) load(applications int) {
	ctx, cancel := context.WithCancel(context.Background())
	f.stop = cancel
	for app := range applications {
		f.done.Go(func() {
			for n := 0; ctx.Err() == nil; n++ {
				f.send(ctx, app, n)
			}
		})
	}
}

// send posts one event until a relay takes it.
func (f *fleet) send(ctx context.Context, app, n int) {
	body := fmt.Sprintf(`{"key":"k%d","n":%d}`, app, n)
	f.oracle.sending("order.paid", body)
	for try := app + n; ; try++ {
		c := f.nodes[try%len(f.nodes)]
		a := c.post("/v1/events/order.paid", body, "Idempotency-Key", fmt.Sprintf("%d-%d", app, n))
		if f.oracle.answered(body, a) {
			break
		}
		if !wait(ctx, 50*time.Millisecond) {
			return
		}
	}
	wait(ctx, 25*time.Millisecond)
}

func wait(ctx context.Context, d time.Duration) bool {
	select {
	case <-time.After(d):
		return true
	case <-ctx.Done():
		return false
	}
}

// end stops the load.
func (f *fleet) end() {
	if f.stop != nil {
		f.stop()
	}
	f.done.Wait()
}

// shared waits until n relays have a part in the work, and none that is gone.
func (f *fleet) shared(n int) {
	f.t.Helper()
	want := fmt.Sprintf("%d|%[1]d|t", n)
	eventually(f.t, func() bool { return f.server.Query(f.t, "postgres", sharing) == want },
		func() string {
			return fmt.Sprintf("%d relays do not share the work: %s\n%s", n, f.server.Query(f.t, "postgres", sharing), f.nodes[0].log())
		})
}

// sharing is how many relays there are, how many of them make deliveries, and whether there is
// one for each subscription.
const sharing = `set search_path = caddyrelay; select (select count(*) from members),
	count(distinct m.number), count(*) = count(m.number) from subscriptions s left join members m on m.number = s.owner`

// goesOn waits until each subscription gets events that were accepted from now on.
func (f *fleet) goesOn(what string) {
	f.t.Helper()
	began := time.Now()
	var missing []string
	eventually(f.t, func() bool {
		seen := make(map[string]bool)
		for _, a := range f.receiver.got() {
			if a.at.After(began) {
				seen[a.subscription()] = true
			}
		}
		missing = slices.DeleteFunc(slices.Clone(f.subscriptions), func(name string) bool { return seen[name] })
		return len(missing) == 0
	}, func() string { return fmt.Sprintf("%s: nothing comes any more for %v", what, missing) })
	f.t.Logf("%s: all subscriptions go on after %s", what, time.Since(began).Round(100*time.Millisecond))
}

// judge ends the load, and compares what was answered, what came, and what each relay lists.
func (f *fleet) judge(nodes ...*instance) {
	f.t.Helper()
	eventually(f.t, func() bool { n, _ := f.oracle.counts(); return n > 50 }, func() string { return "there is hardly any load" })
	f.end()
	for _, c := range nodes {
		c.drained()
	}
	got := f.receiver.got()
	listed := nodes[0].deliveries()
	for _, breach := range f.oracle.breaches(got, listed) {
		f.t.Error(breach)
	}
	for _, c := range nodes[1:] {
		if other := c.deliveries(); len(other) != len(listed) {
			f.t.Errorf("one relay lists %d deliveries, another one %d", len(listed), len(other))
		}
	}
	f.inOrder(got)
	accepted, unknown := f.oracle.counts()
	repeats := len(got) - len(f.subscriptions)*(accepted+unknown)
	f.t.Logf("%d events accepted, %d unknown, %d requests, about %d of them repeats", accepted, unknown, len(got), max(0, repeats))
}

// inOrder fails the test unless the events of each key came in the order in which they were
// accepted, whatever came again later.
func (f *fleet) inOrder(got []arrival) {
	f.t.Helper()
	last := make(map[string]int)
	seen := make(map[string]bool)
	for i := range got {
		a := &got[i]
		if a.subscription() != "ordered" || a.status/100 != 2 || seen[a.id()] {
			continue
		}
		seen[a.id()] = true
		var body struct {
			Key string
			N   int
		}
		if err := json.Unmarshal(a.body, &body); err != nil {
			f.t.Fatal(err)
		}
		if body.N < last[body.Key] {
			f.t.Errorf("of the key %s number %d came after number %d", body.Key, body.N, last[body.Key])
		}
		last[body.Key] = body.N
	}
	if len(last) == 0 {
		f.t.Error("nothing came in order")
	}
}

// cable is a way to a server that can be cut without anybody being told.
type cable struct {
	listener net.Listener
	cut      sync.RWMutex // locked while it is
}

func newCable(t *testing.T, target string) *cable {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	w := &cable{listener: l}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			client, err := l.Accept()
			if err != nil {
				return
			}
			upstream, err := net.Dial("tcp", target)
			if err != nil {
				_ = client.Close()
				continue
			}
			go w.copy(upstream, client)
			go w.copy(client, upstream)
		}
	}()
	return w
}

func (w *cable) copy(to, from net.Conn) {
	defer to.Close()
	defer from.Close()
	buf := make([]byte, 64<<10)
	for {
		n, err := from.Read(buf)
		w.cut.RLock()
		if n > 0 {
			if _, err := to.Write(buf[:n]); err != nil {
				n = 0
			}
		}
		w.cut.RUnlock()
		if err != nil || n == 0 {
			return
		}
	}
}

func (w *cable) dsn() string {
	return fmt.Sprintf("postgres://relay@%s/postgres?sslmode=disable", w.listener.Addr())
}
