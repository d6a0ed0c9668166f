package storagetest

import (
	"context"
	"fmt"
	"hash/fnv"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/caddyrelay/caddyrelay/relay"
)

// clusterShards is the number of parts of all subscriptions.
const clusterShards = 16

// ClusterStore is the store of one relay of a [Cluster].
type ClusterStore struct {
	*Memory
	cluster *Cluster

	// silent is since when the lease is not renewed, in nanoseconds of Unix time; 0: it is.
	silent atomic.Int64
	// gone is closed with the store.
	gone chan struct{}
	wake chan struct{}
	done sync.WaitGroup

	// The rest is guarded by the cluster's lock.
	id     string
	member relay.Member
	offer  relay.Offer
	alive  bool
	queue  []notice
	// frozen is open while calls wait, cut is what they return at once.
	frozen chan struct{}
	cut    error
	lease  *time.Timer
}

var _ relay.Shared = (*ClusterStore)(nil)

// Join implements [relay.Shared].
func (s *ClusterStore) Join(ctx context.Context, m relay.Member) error {
	if err := s.pass(ctx); err != nil {
		return err
	}
	c := s.cluster
	c.mu.Lock()
	defer c.mu.Unlock()
	c.joined++
	s.id, s.member = fmt.Sprintf("m%d", c.joined), m
	c.enter(s)
	s.done.Go(s.run)
	return nil
}

// enter makes a store a member. The caller holds the lock.
func (c *Cluster) enter(s *ClusterStore) {
	s.alive = true
	c.members = append(c.members, s)
	s.tell(notice{kind: learn, names: slices.Clone(c.content.names)})
	c.assign()
}

// run tells the engine what has happened.
func (s *ClusterStore) run() {
	for {
		n, ok := s.next()
		if !ok {
			return
		}
		switch n.kind {
		case carry:
			s.member.Carry(n.progress)
		case yield:
			s.member.Yield(n.names)
		case lost:
			s.member.Lost(n.names)
		case learn:
			s.member.Learn(n.progress)
		case awake:
			s.silent.Store(0)
		}
	}
}

// next waits for something to tell, and for the store to be thawed.
func (s *ClusterStore) next() (notice, bool) {
	for {
		select {
		case <-s.gone:
			return notice{}, false
		default:
		}
		s.mu.Lock()
		if len(s.queue) > 0 && s.frozen == nil && s.cut == nil {
			n := s.queue[0]
			s.queue = s.queue[1:]
			if n.kind == carry || n.kind == learn {
				n.progress = s.content.progressOf(n.names)
			}
			s.mu.Unlock()
			return n, true
		}
		s.mu.Unlock()
		select {
		case <-s.gone:
			return notice{}, false
		case <-s.wake:
		}
	}
}

// progressOf returns how subscriptions stand. The caller holds the lock.
func (c *content) progressOf(names []string) []relay.Progress {
	all := make([]relay.Progress, len(names))
	for i, name := range names {
		all[i] = c.sub(name).progress
		all[i].Done = slices.Clone(all[i].Done)
	}
	return all
}

// tell queues a notice. The caller holds the lock.
func (s *ClusterStore) tell(n notice) {
	s.queue = append(s.queue, n)
	s.poke()
}

func (s *ClusterStore) poke() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// pass comes before each call: a frozen store lets it wait, one that is cut off refuses it.
func (s *ClusterStore) pass(ctx context.Context) error {
	for {
		s.mu.RLock()
		frozen, cut := s.frozen, s.cut
		s.mu.RUnlock()
		if cut != nil || frozen == nil {
			return cut
		}
		select {
		case <-frozen:
		case <-s.gone:
			return relay.ErrClosed
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// Offer implements [relay.Shared].
func (s *ClusterStore) Offer(o relay.Offer) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.offer = o
	s.cluster.assign()
}

// offers reports whether the member is alive and could carry a subscription. The caller
// holds the lock.
func (s *ClusterStore) offers(name string) bool {
	region, ok := s.offer.Subscriptions[name]
	return ok && s.alive && (region == "" || slices.Contains(s.offer.Regions, region))
}

// Yielded implements [relay.Shared].
func (s *ClusterStore) Yielded(names []string) {
	c := s.cluster
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, name := range names {
		if c.owners[name] == s && c.leaving[name] {
			c.own(name, nil)
		}
	}
	c.assign()
}

// CarriedUntil implements [relay.Shared].
func (s *ClusterStore) CarriedUntil() time.Time {
	from := s.cluster.clock()
	if since := s.silent.Load(); since != 0 {
		from = time.Unix(0, since)
	}
	return from.Add(Lease - LeaseMargin)
}

// Carrier implements [relay.Shared].
func (s *ClusterStore) Carrier(subscription string) string {
	id, _ := s.cluster.seen.Load(subscription)
	text, _ := id.(string)
	return text
}

// Members implements [relay.Shared].
func (s *ClusterStore) Members(ctx context.Context) ([]relay.MemberStatus, error) {
	if err := s.pass(ctx); err != nil {
		return nil, err
	}
	c := s.cluster
	c.mu.RLock()
	defer c.mu.RUnlock()
	var all []relay.MemberStatus
	for _, m := range c.members {
		names := c.carriedBy(m)
		status := relay.MemberStatus{ID: m.id, Regions: slices.Clone(m.offer.Regions), Carries: len(names), Seen: c.clock()}
		if since := m.silent.Load(); since != 0 {
			status.Seen = time.Unix(0, since)
		}
		for _, name := range names {
			h := fnv.New32a()
			_, _ = h.Write([]byte(name))
			status.Shards = append(status.Shards, int(h.Sum32()%clusterShards))
		}
		slices.Sort(status.Shards)
		status.Shards = slices.Compact(status.Shards)
		if m == s {
			all = slices.Insert(all, 0, status)
		} else {
			all = append(all, status)
		}
	}
	return all, nil
}

// Close implements [relay.Store]: what the member carries goes to others at once.
func (s *ClusterStore) Close() error {
	if err := s.Memory.Close(); err != nil {
		return err
	}
	s.mu.Lock()
	if s.lease != nil {
		s.lease.Stop()
	}
	if s.alive {
		s.alive = false
		s.cluster.remove(s)
	}
	close(s.gone)
	s.mu.Unlock()
	s.done.Wait()
	return nil
}
