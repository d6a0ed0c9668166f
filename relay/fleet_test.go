package relay_test

import (
	"context"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddyrelay/caddyrelay/relay"
	"github.com/caddyrelay/caddyrelay/storage/storagetest"
)

// fleet is several engines on one store in memory, in virtual time.
type fleet struct {
	t       *testing.T
	cluster *storagetest.Cluster
	nodes   []*node
	// sent is what receivers were sent, by all of them.
	sent visits
}

// node is one of them. Its world has no memory of its own.
type node struct {
	*world
	fleet *fleet
	store *storagetest.ClusterStore
	plan  *relay.Plan
}

// runFleet opens n engines inside a bubble of virtual time, and closes them at the end.
func runFleet(t *testing.T, n int, test func(f *fleet)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		f := &fleet{t: t, cluster: storagetest.NewCluster(time.Now)}
		for range n {
			f.join()
		}
		defer func() {
			for _, n := range f.nodes {
				n.close()
			}
			time.Sleep(10 * time.Second) // for stores of tests that take their time to read
		}()
		test(f)
	})
}

// join opens one more engine.
func (f *fleet) join() *node {
	f.t.Helper()
	store := f.cluster.Open()
	return f.joinBy(store, store)
}

// joinBy opens one more engine on a store of the cluster, which it sees through another one.
func (f *fleet) joinBy(store *storagetest.ClusterStore, seen relay.Store) *node {
	f.t.Helper()
	n := &node{fleet: f, store: store}
	n.world = &world{t: f.t, store: seen}
	n.open()
	f.nodes = append(f.nodes, n)
	return n
}

// close closes the engine, if it is not.
func (n *node) close() {
	n.t.Helper()
	if n.engine == nil {
		return
	}
	if err := n.engine.Close(); err != nil {
		n.t.Errorf("closing: %v", err)
	}
	n.engine = nil
}

// attach makes a plan of subscriptions the only one of the node.
func (n *node) attach(o relay.PlanOptions) {
	n.t.Helper()
	p, err := relay.NewPlan(o)
	if err != nil {
		n.t.Fatal(err)
	}
	n.engine.Attach(p)
	if n.plan != nil {
		n.engine.Detach(n.plan)
	}
	n.plan = p
}

// everywhere attaches a plan to each node, of subscriptions that are made for it.
func (f *fleet) everywhere(subscriptions func(n *node) []*relay.Subscription) {
	f.t.Helper()
	for _, n := range f.nodes {
		n.attach(relay.PlanOptions{Subscriptions: subscriptions(n), UserAgent: "caddy-relay/test"})
	}
	f.wait(2 * time.Second)
}

// wait lets virtual time pass, and everything that is due in it happen.
func (f *fleet) wait(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

// give moves a subscription to a node, and waits until it carries it.
func (f *fleet) give(name string, to *node) {
	f.t.Helper()
	f.cluster.Give(name, to.store)
	for range 1000 {
		if f.wait(100 * time.Millisecond); f.cluster.Owner(name) == to.store {
			return
		}
	}
	f.t.Fatalf("%s does not move", name)
}

// carrier returns the node that carries a subscription, others the rest.
func (f *fleet) carrier(name string) (carrier *node, others []*node) {
	f.t.Helper()
	owner := f.cluster.Owner(name)
	for _, n := range f.nodes {
		if n.store == owner {
			carrier = n
		} else {
			others = append(others, n)
		}
	}
	if carrier == nil {
		f.t.Fatalf("nobody carries %s", name)
	}
	return carrier, others
}

// sub is a subscription to everything, whose receiver is the fleet's.
func (n *node) sub(name string) *relay.Subscription {
	s := subscription(name, &route{n}, "*")
	s.Retry.Delays = []time.Duration{time.Second, time.Second, 5 * time.Second, 5 * time.Second}
	return s
}

// route notes by which node a request came.
type route struct{ from *node }

func (r *route) RoundTrip(req *http.Request) (*http.Response, error) {
	return r.from.fleet.sent.visit(r.from, req)
}

// finished fails the test unless all events were delivered to a subscription just once.
func (f *fleet) finished(name string, ids []string) {
	f.t.Helper()
	for _, id := range ids {
		if n := f.sent.taken(name, id); n != 1 {
			f.t.Errorf("%s got %s %d times", name, id, n)
		}
	}
	for i, n := range f.nodes {
		if n.engine == nil {
			continue
		}
		s, err := n.engine.SubscriptionStatus(context.Background(), name)
		if err != nil {
			f.t.Error(err)
		}
		if s.Pending != 0 || s.InFlight != 0 {
			f.t.Errorf("the node %d says of %s: %+v", i, name, s)
		}
	}
}
