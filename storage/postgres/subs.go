package postgres

import (
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/caddyrelay/caddyrelay/relay"
)

// sub is a subscription. It is known by its name outside and by a number in the tables.
type sub struct {
	id   int32
	name string

	// current is what is committed; guarded by table.mu.
	current record

	// What follows is the committer's alone: current with what the group under way
	// changes, and whether that is anything.
	next    record
	touched bool
	// told is the epoch under which the engine was told to carry it, 0: it was not. news says
	// that there is something to tell.
	told uint64
	news bool
	// moved is when it was seen that another member carries it than before.
	moved time.Time
}

// record is what the database says of a subscription.
type record struct {
	relay.Progress
	// owner is the number of the member that carries it, wanted that of the one which would
	// like to; 0: none. spare says that the owner has it no more in its configuration.
	owner, wanted int32
	spare         bool
	// rev is of the last change that may be news for others.
	rev int64
}

// table holds the subscriptions. The committer alone changes it, but for strangers.
type table struct {
	mu     sync.RWMutex
	byName map[string]*sub
	byID   []*sub // the number is the index plus one
	// coming are those of the group that is sent: readers may see its events before it is
	// published here.
	coming []*sub
	// strangers are those that a reader has met before the committer, by number.
	strangers map[int32]*sub
	// misses counts how often a reader has met a number that is not known.
	misses atomic.Int64
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
	u, err := named(t.byID, id)
	if err == nil {
		return u, nil
	}
	if u, ok := t.strangers[id]; ok {
		return u, nil
	}
	t.misses.Add(1)
	return nil, err
}

// last is the highest number that is known.
func (t *table) last() int32 {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return int32(len(t.byID))
}

// meet notes subscriptions that another member has made. Only their names are known.
func (t *table) meet(names map[int32]string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.strangers == nil {
		t.strangers = make(map[int32]*sub)
	}
	for id, name := range names {
		t.strangers[id] = &sub{id: id, name: name}
	}
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

// owner returns the number of the member that carries a subscription, 0 if none does.
func (t *table) owner(name string) int32 {
	t.mu.RLock()
	defer t.mu.RUnlock()
	if u := t.byName[name]; u != nil {
		return u.current.owner
	}
	return 0
}

// owners calls fn for all that somebody carries.
func (t *table) owners(fn func(name string, owner int32)) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	for _, u := range t.byID {
		if u.current.owner != 0 {
			fn(u.name, u.current.owner)
		}
	}
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
	delete(t.strangers, u.id)
}

// learn takes what another member has committed, and returns its subscription.
func (t *table) learn(id int32, name string, r record) (*sub, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if int(id) == len(t.byID)+1 {
		t.add(&sub{id: id, name: name})
	}
	u, err := named(t.byID, id)
	if err != nil {
		return nil, err
	}
	if u.current.owner != r.owner {
		u.moved = time.Now()
	}
	u.current, u.next = r, r
	return u, nil
}

// replace puts other subscriptions in place of these.
func (t *table) replace(subs []*sub) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.byName, t.byID, t.coming, t.strangers = make(map[string]*sub, len(subs)), nil, nil, nil
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
		all[i] = u.current.copied()
	}
	return all
}

// copied is the progress for somebody outside.
func (r *record) copied() relay.Progress {
	p := r.Progress
	p.Done = slices.Clone(p.Done)
	return p
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
