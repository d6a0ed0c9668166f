package postgres

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/caddyrelay/caddyrelay/relay"
	"github.com/caddyrelay/caddyrelay/relay/shard"
)

var _ relay.Shared = (*Store)(nil)

// cluster is what a store knows of itself and of the other members.
type cluster struct {
	// shared says that others may use the schema, too; id is what they call this one.
	shared bool
	id     string
	shards int

	until atomic.Pointer[time.Time]
	// reopening says that what is in memory was read just now.
	reopening atomic.Bool
	// hints wake the committer, mail whoever answers.
	hints, mail chan struct{}
	background  sync.WaitGroup

	mu       sync.Mutex
	joined   relay.Member
	offered  relay.Offer
	returned []string // by Yielded
	me       int32
	members  []member
	told     map[string]bool // what the engine was told to carry
	heard    chan struct{}   // closed when there is an answer to somebody's question
}

// Join implements [relay.Shared].
func (s *Store) Join(ctx context.Context, m relay.Member) error {
	if !s.shared {
		return errors.New("the store was opened for one user alone")
	}
	if err := s.check(ctx); err != nil {
		return err
	}
	s.cluster.mu.Lock()
	again := s.joined != nil
	s.joined = m
	s.cluster.mu.Unlock()
	if again {
		return errors.New("a member joins once")
	}
	s.background.Go(s.listen)
	s.background.Go(s.answerAll)
	nudge(s.hints)
	return nil
}

// Offer implements [relay.Shared].
func (s *Store) Offer(o relay.Offer) {
	o.Subscriptions = maps.Clone(o.Subscriptions)
	o.Regions = slices.Compact(slices.Sorted(slices.Values(o.Regions)))
	s.cluster.mu.Lock()
	s.offered = o
	s.cluster.mu.Unlock()
	nudge(s.hints)
}

// Yielded implements [relay.Shared].
func (s *Store) Yielded(names []string) {
	s.cluster.mu.Lock()
	s.returned = append(s.returned, names...)
	s.cluster.mu.Unlock()
	nudge(s.hints)
}

// CarriedUntil implements [relay.Shared].
func (s *Store) CarriedUntil() time.Time {
	if until := s.until.Load(); until != nil {
		return *until
	}
	return time.Time{}
}

// Carrier implements [relay.Shared].
func (s *Store) Carrier(subscription string) string {
	owner := s.subs.owner(subscription)
	if owner == 0 {
		return ""
	}
	s.cluster.mu.Lock()
	defer s.cluster.mu.Unlock()
	for i := range s.members {
		if m := &s.members[i]; m.number == owner && !m.dead {
			return m.id
		}
	}
	return ""
}

// Members implements [relay.Shared].
func (s *Store) Members(ctx context.Context) (all []relay.MemberStatus, err error) {
	var members []member
	err = s.read(ctx, func(ctx context.Context, conn *pgx.Conn) (err error) {
		members, err = readMembers(ctx, conn, &s.times)
		return err
	})
	if err != nil {
		return nil, err
	}
	carries := make(map[int32]int)
	shards := make(map[int32]map[int]bool)
	s.subs.owners(func(name string, owner int32) {
		carries[owner]++
		if shards[owner] == nil {
			shards[owner] = make(map[int]bool)
		}
		shards[owner][shard.Of(name, s.shards)] = true
	})
	for i := range members {
		m := &members[i]
		if m.dead {
			continue
		}
		status := relay.MemberStatus{
			ID: m.id, Regions: m.regions, Carries: carries[m.number], Seen: m.seen.UTC(),
			Shards: slices.Sorted(maps.Keys(shards[m.number])),
		}
		if m.id == s.id {
			all = append([]relay.MemberStatus{status}, all...)
		} else {
			all = append(all, status)
		}
	}
	return all, nil
}

// Shards returns into how many parts the subscriptions of a region are divided.
func (s *Store) Shards() int { return s.shards }

// only returns an error unless there is no other member.
func (s *Store) only(what string) error {
	s.cluster.mu.Lock()
	defer s.cluster.mu.Unlock()
	for i := range s.members {
		if m := &s.members[i]; m.id != s.id && !m.dead {
			return fmt.Errorf("%s: another relay, %s, uses this store, too; stop all but one, and start them again afterwards", what, m.id)
		}
	}
	return nil
}

// others reports whether there is another member.
func (s *Store) others() bool {
	s.cluster.mu.Lock()
	defer s.cluster.mu.Unlock()
	return len(s.members) > 1
}

// leads reports whether this member does what one of all has to do.
func (s *Store) leads() bool {
	s.cluster.mu.Lock()
	defer s.cluster.mu.Unlock()
	for i := range s.members {
		if m := &s.members[i]; !m.dead {
			return m.id == s.id
		}
	}
	return true
}

// nudge wakes whoever waits for a channel of one place.
func nudge(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// What follows is the committer's way to what others ask for.

func (s *Store) engine() relay.Member {
	s.cluster.mu.Lock()
	defer s.cluster.mu.Unlock()
	return s.joined
}

func (s *Store) offer() relay.Offer {
	s.cluster.mu.Lock()
	defer s.cluster.mu.Unlock()
	return s.offered
}

func (s *Store) yielded() []string {
	s.cluster.mu.Lock()
	defer s.cluster.mu.Unlock()
	return slices.Clone(s.returned)
}

func (s *Store) forgetYielded(names []string) {
	s.cluster.mu.Lock()
	defer s.cluster.mu.Unlock()
	done := make(map[string]bool, len(names))
	for _, name := range names {
		done[name] = true
	}
	s.returned = slices.DeleteFunc(s.returned, func(name string) bool { return done[name] })
}

func (s *Store) setPlace(me int32) {
	s.cluster.mu.Lock()
	defer s.cluster.mu.Unlock()
	s.me = me
}

func (s *Store) setMembers(all []member) {
	all = slices.Clone(all)
	s.cluster.mu.Lock()
	defer s.cluster.mu.Unlock()
	s.members = all
}

func (s *Store) setTold(gained []relay.Progress, lost []string) {
	s.cluster.mu.Lock()
	defer s.cluster.mu.Unlock()
	for _, name := range lost {
		delete(s.told, name)
	}
	for i := range gained {
		s.told[gained[i].Subscription] = true
	}
}

func (s *Store) setUntil(at time.Time) { s.until.Store(&at) }
