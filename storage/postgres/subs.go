package postgres

import (
	"fmt"
	"slices"
	"sync"

	"github.com/caddyrelay/caddyrelay/relay"
)

// sub is a subscription. It is known by its name outside and by a number in the tables.
type sub struct {
	id   int32
	name string

	// current is what is committed; guarded by table.mu.
	current relay.Progress

	// What follows is the committer's alone: current with what the group under way
	// changes, and whether that is anything.
	next    relay.Progress
	touched bool
}

// table holds the subscriptions. The relay that has the lease is the only one to change
// them.
type table struct {
	mu     sync.RWMutex
	byName map[string]*sub
	byID   []*sub // the number is the index plus one
	// coming are those of the group that is sent: readers may see its events before it is
	// published here.
	coming []*sub
}

// expect notes the subscriptions that the group makes.
func (t *table) expect(fresh []*sub) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.coming = slices.Clone(fresh)
}

// find returns the subscription with a number that stands in the database.
func (t *table) find(id int32) (*sub, error) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	if n := int(id) - len(t.byID) - 1; n >= 0 && n < len(t.coming) {
		return t.coming[n], nil
	}
	return named(t.byID, id)
}

func (t *table) get(name string) *sub {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return t.byName[name]
}

// head returns a subscription and the head of its log, as committed.
func (t *table) head(name string) (*sub, uint64) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	u := t.byName[name]
	if u == nil {
		return nil, 0
	}
	return u, u.current.Head
}

// all returns the subscriptions by number. Entries are only ever added.
func (t *table) all() []*sub {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return t.byID
}

// add appends a subscription. The caller holds the lock.
func (t *table) add(u *sub) {
	t.byName[u.name] = u
	t.byID = append(t.byID, u)
}

// replace puts other subscriptions in place of these.
func (t *table) replace(subs []*sub) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.byName, t.byID, t.coming = make(map[string]*sub, len(subs)), nil, nil
	for _, u := range subs {
		t.add(u)
	}
}

// progress returns copies of what is committed.
func (t *table) progress() []relay.Progress {
	t.mu.RLock()
	defer t.mu.RUnlock()
	all := make([]relay.Progress, len(t.byID))
	for i, u := range t.byID {
		all[i] = u.current
		all[i].Done = slices.Clone(all[i].Done)
	}
	return all
}

// named returns the subscription with a number.
func named(all []*sub, id int32) (*sub, error) {
	if id < 1 || int(id) > len(all) {
		return nil, fmt.Errorf("the subscription with the number %d is not known", id)
	}
	return all[id-1], nil
}

// finished reports whether a position is finished or has an exception.
func finished(p *relay.Progress, pos uint64) bool {
	return pos <= p.Low || slices.ContainsFunc(p.Done, func(s relay.Span) bool { return s.From <= pos && pos <= s.To })
}
