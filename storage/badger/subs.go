package badger

import (
	"encoding/binary"
	"fmt"
	"slices"
	"sync"

	bdb "github.com/dgraph-io/badger/v4"

	"github.com/caddyrelay/caddyrelay/relay"
)

// sub is a subscription. It is known by its name outside and by a number in keys.
type sub struct {
	id   uint32
	name string

	// current is what is committed; guarded by table.mu, like what follows.
	current state
	// openFloor: no single delivery below it has an open exception, as found by the last
	// search from there. Without it each search from the beginning would step over all
	// that were ever retried. openPuts counts the groups that added open exceptions:
	// a search is out of date if it has changed.
	openFloor, openPuts uint64

	// What follows is the committer's alone.

	// next is current with what the group under way changes.
	next state
	// touched: next differs from current. dirty: the group writes next's progress.
	touched, dirty bool
	// lowestPut is the lowest open exception that the group adds, 0 if none.
	lowestPut uint64
	// lastPut is committer.changes when an exception was put last.
	lastPut uint64
	// added are the events that the group adds to the log; the last one stands at the head of
	// next.
	added []relay.Seq
	// tried are the attempts that the group adds to bundles.
	tried []*relay.AttemptRecord
}

// state is what is kept in memory of a subscription. Its slices are replaced, never
// changed in place, so that a copy of a state is a snapshot.
type state struct {
	// progress is as last committed, with the head of the log.
	progress relay.Progress
	// floor: every position below it was trimmed.
	floor uint64
	// spans are the replays and other spans, by From. There are few of them.
	spans []relay.Exception
}

// finished reports whether pos is finished or has an exception.
func (st *state) finished(pos uint64) bool {
	if pos <= st.progress.Low {
		return true
	}
	return slices.ContainsFunc(st.progress.Done, func(s relay.Span) bool { return s.From <= pos && pos <= s.To })
}

// span returns the last span (or replay) that covers pos.
func (st *state) span(pos uint64, replay bool) (found relay.Exception, ok bool) {
	for _, e := range st.spans {
		if e.From <= pos && pos <= e.To && (e.Kind == relay.Replay) == replay {
			found, ok = e, true
		}
	}
	return found, ok
}

// table holds the subscriptions.
type table struct {
	mu     sync.RWMutex
	byName map[string]*sub
	byID   []*sub // the id is the index plus one
}

func (t *table) get(name string) *sub {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return t.byName[name]
}

// state returns the committed state of a subscription.
func (t *table) state(name string) (*sub, state) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	if u := t.byName[name]; u != nil {
		return u, u.current
	}
	return nil, state{}
}

// floor returns u.openFloor and u.openPuts.
func (t *table) floor(u *sub) (floor, puts uint64) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return u.openFloor, u.openPuts
}

// raiseFloor notes that a search begun when openPuts was puts found nothing below
// floor.
func (t *table) raiseFloor(u *sub, floor, puts uint64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if u.openPuts == puts && floor > u.openFloor {
		u.openFloor = floor
	}
}

// all returns the subscriptions by id. Entries are only ever added.
func (t *table) all() []*sub {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return t.byID
}

func (t *table) add(u *sub) {
	t.byName[u.name] = u
	t.byID = append(t.byID, u)
}

// replace puts the subscriptions of another table in place of these.
func (t *table) replace(other *table) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.byName, t.byID = other.byName, other.byID
}

// named finds a subscription by its id in what all returned.
func named(all []*sub, id uint32) (*sub, error) {
	if id == 0 || int(id) > len(all) {
		return nil, fmt.Errorf("there is no subscription with the id %d", id)
	}
	return all[id-1], nil
}

// loadSubs reads names, progress and spans, and finds the heads of the logs.
func (im *image) loadSubs() error {
	return im.db.view(func(txn *bdb.Txn) error {
		if err := im.loadNames(txn); err != nil {
			return err
		}
		err := scan(txn, []byte{progressPrefix}, func(key, rec []byte) error {
			if len(key) != progressKeyLen {
				return &CorruptError{keyName(key), errShort}
			}
			u, err := named(im.subs.byID, binary.BigEndian.Uint32(key[1:]))
			if err != nil {
				return &CorruptError{keyName(key), err}
			}
			st, err := decodeProgress(key, rec)
			if err != nil {
				return err
			}
			st.progress.Subscription = u.name
			u.current = st
			return nil
		})
		if err != nil {
			return err
		}
		for _, c := range []class{classReplay, classSpan} {
			if err := scan(txn, []byte{exceptPrefix, byte(c)}, im.loadSpan); err != nil {
				return err
			}
		}
		return im.loadHeads(txn)
	})
}

// loadHeads finds where logs end. Every position between the head in the record of progress
// and the true one has an entry: removing one writes the head along.
func (im *image) loadHeads(txn *bdb.Txn) error {
	heads := newHeadFinder(txn)
	defer heads.close()
	for _, u := range im.subs.byID {
		last, err := heads.last(u.id)
		if err != nil {
			return err
		}
		p := &u.current.progress
		p.Head = max(p.Head, last)
		u.next = u.current
	}
	return nil
}

func (im *image) loadNames(txn *bdb.Txn) error {
	var all []*sub
	err := scan(txn, []byte{namePrefix}, func(key, rec []byte) error {
		id, err := decodeNumber(key, rec)
		if err != nil {
			return err
		}
		name := string(key[1:])
		all = append(all, &sub{id: uint32(id), name: name, current: state{progress: relay.Progress{Subscription: name}}})
		return nil
	})
	if err != nil {
		return err
	}
	slices.SortFunc(all, func(a, b *sub) int { return int(a.id) - int(b.id) })
	for i, u := range all {
		if int(u.id) != i+1 {
			return fmt.Errorf("the names of subscriptions are not complete: %d of them, and %q has the id %d; the store has lost records, restore a backup", len(all), u.name, u.id)
		}
		im.subs.add(u)
	}
	return nil
}

func (im *image) loadSpan(key, rec []byte) error {
	_, id, _, err := splitExceptKey(key)
	if err != nil {
		return &CorruptError{keyName(key), err}
	}
	u, err := named(im.subs.byID, id)
	if err != nil {
		return &CorruptError{keyName(key), err}
	}
	e, err := decodeException(key, rec)
	if err != nil {
		return err
	}
	u.current.spans = withSpan(u.current.spans, e)
	return nil
}

// withSpan returns spans with e in place of one of the same From and sort.
func withSpan(spans []relay.Exception, e relay.Exception) []relay.Exception {
	out, _ := withoutSpan(spans, e.From, classOf(&e))
	at, _ := slices.BinarySearchFunc(out, e.From, func(x relay.Exception, from uint64) int {
		if x.From < from {
			return -1
		}
		return 1
	})
	return slices.Insert(out, at, e)
}

// withoutSpan returns a copy of spans without that of the given From and class, and
// whether there was one.
func withoutSpan(spans []relay.Exception, from uint64, c class) ([]relay.Exception, bool) {
	out := make([]relay.Exception, 0, len(spans)+1)
	for _, x := range spans {
		if x.From != from || classOf(&x) != c {
			out = append(out, x)
		}
	}
	return out, len(out) < len(spans)
}
