package storagetest

import (
	"sync"
	"time"

	"github.com/caddyrelay/caddyrelay/relay"
)

// Times of a [Cluster].
const (
	// Lease is how long a member may be silent before others take over.
	Lease = 10 * time.Second
	// LeaseMargin is how much earlier a member itself counts with that.
	LeaseMargin = time.Second
)

// Cluster are several stores in memory over one content, each for one relay. What nobody
// carries goes to the member that could have it and carries the fewest; what somebody
// carries moves when [Cluster.Give] says so, when he no longer offers it and another one
// does, and when he is silent for longer than [Lease].
//
// A member is told of changes by a goroutine of its own, which ends with Close. All of it
// may be used inside testing/synctest.
type Cluster struct {
	clock func() time.Time
	*locks
	content *content

	// The rest is guarded by locks.mu.
	members []*ClusterStore // those alive, in the order in which they joined
	joined  int
	// owners are the members that carry subscriptions, wishes those that are to.
	owners, wishes map[string]*ClusterStore
	// leaving are those for which an owner was asked.
	leaving map[string]bool
	// seen is the ID of each owner, for who must not wait for a lock.
	seen sync.Map
}

// NewCluster returns one without members, which takes the time from clock.
func NewCluster(clock func() time.Time) *Cluster {
	return &Cluster{
		clock: clock, locks: new(locks), content: newContent(),
		owners: make(map[string]*ClusterStore), wishes: make(map[string]*ClusterStore), leaving: make(map[string]bool),
	}
}

// Open returns a store for one more relay, which is a member once it has joined.
func (c *Cluster) Open() *ClusterStore {
	s := &ClusterStore{cluster: c, wake: make(chan struct{}, 1), gone: make(chan struct{})}
	s.Memory = &Memory{clock: c.clock, locks: c.locks, content: c.content, reading: s.pass, takes: s.takes}
	return s
}

// Owner is the member that carries a subscription, or nil.
func (c *Cluster) Owner(subscription string) *ClusterStore {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return c.owners[subscription]
}

// Give makes a subscription move to a member, as soon as the one that carries it has yielded.
func (c *Cluster) Give(subscription string, to *ClusterStore) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.wishes[subscription] = to
	c.assign()
}

// assign sees to it that everything is carried, and by whom it is to be. The caller holds
// the lock.
func (c *Cluster) assign() {
	names := make(map[string]bool)
	for _, m := range c.members {
		for name := range m.offer.Subscriptions {
			names[name] = true
		}
	}
	for name := range names {
		owner, best := c.owners[name], c.best(name)
		switch {
		case best == nil || owner == best:
		case owner == nil:
			c.own(name, best)
			best.tell(notice{kind: carry, names: []string{name}})
		case !c.leaving[name]:
			c.leaving[name] = true
			owner.tell(notice{kind: yield, names: []string{name}})
		}
	}
}

// best is who should carry a subscription: the one it is given to, the one that has it, or
// the one that carries the fewest; nil if nobody could. The caller holds the lock.
func (c *Cluster) best(name string) *ClusterStore {
	for _, m := range []*ClusterStore{c.wishes[name], c.owners[name]} {
		if m != nil && m.offers(name) {
			return m
		}
	}
	var best *ClusterStore
	for _, m := range c.members {
		if m.offers(name) && (best == nil || len(c.carriedBy(m)) < len(c.carriedBy(best))) {
			best = m
		}
	}
	return best
}

// own notes who carries a subscription from now on; nil: nobody. The caller holds the lock.
func (c *Cluster) own(name string, m *ClusterStore) {
	delete(c.leaving, name)
	c.content.sub(name).progress.Epoch++
	if m == nil {
		delete(c.owners, name)
		c.seen.Delete(name)
		return
	}
	c.owners[name] = m
	c.seen.Store(name, m.id)
}

// carriedBy returns the names that a member carries. The caller holds the lock.
func (c *Cluster) carriedBy(m *ClusterStore) (names []string) {
	for name, owner := range c.owners {
		if owner == m {
			names = append(names, name)
		}
	}
	return names
}

// changed tells all but one member of subscriptions that it has changed. The caller holds
// the lock.
func (c *Cluster) changed(by *ClusterStore, names []string) {
	if len(names) == 0 {
		return
	}
	for _, m := range c.members {
		if m != by {
			m.tell(notice{kind: learn, names: names})
		}
	}
}

// remove takes a member out: what it carries is anybody's. The caller holds the lock.
func (c *Cluster) remove(m *ClusterStore) (names []string) {
	for i, other := range c.members {
		if other == m {
			c.members = append(c.members[:i:i], c.members[i+1:]...)
			break
		}
	}
	names = c.carriedBy(m)
	for _, name := range names {
		c.own(name, nil)
	}
	for name, wished := range c.wishes {
		if wished == m {
			delete(c.wishes, name)
		}
	}
	c.assign()
	return names
}

// notice is what a member is told.
type notice struct {
	kind  noticeKind
	names []string
	// progress is as it was then; that of carry and learn is filled in.
	progress []relay.Progress
}

type noticeKind int

const (
	carry noticeKind = iota
	yield
	lost
	learn
	// awake is none of the engine's: from here on the lease is renewed again.
	awake
)
