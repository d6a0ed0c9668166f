package badger

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"sync"

	bdb "github.com/dgraph-io/badger/v4"

	"github.com/caddyrelay/caddyrelay/relay"
)

// Bounds of one step of trimming: events looked at, records stepped over, bytes read.
const (
	trimEvents  = 500
	trimRecords = 20_000
	trimBytes   = 8 << 20

	// trimCost is about what the marks of one removal take.
	trimCost = 512
)

// trimmer walks the events from the oldest on, a step at a time, and begins again when
// it has come to what is too young.
type trimmer struct {
	mu     sync.Mutex // one step at a time
	cursor relay.Seq  // next to be looked at; 0: begin again
	kept   relay.Seq  // lowest event that this walk left, 0 if none yet
}

// Trim implements [relay.Store].
func (s *Store) Trim(ctx context.Context, p relay.TrimPolicy) (relay.Trimmed, error) {
	if !s.gate.Enter() {
		return relay.Trimmed{}, relay.ErrClosed
	}
	defer s.gate.Leave()
	if err := ctx.Err(); err != nil {
		return relay.Trimmed{}, err
	}
	s.trim.mu.Lock()
	defer s.trim.mu.Unlock()
	r := &trimRequest{policy: p, walk: &s.trim, seen: s.changes.Load(), done: make(chan error, 1)}
	if p.MaxBytes > 0 {
		r.excess = s.space.size() - p.MaxBytes
	}
	more := false
	err := s.view(func(txn *bdb.Txn) error {
		moreEvents, err := r.findEvents(s, txn)
		if err != nil {
			return err
		}
		moreKeys, err := r.findKeys(s, txn)
		more = moreEvents || moreKeys
		return err
	})
	if err != nil {
		return relay.Trimmed{}, err
	}
	if err := s.submit(ctx, r); err != nil {
		// What was walked over may not be removed: look at it again.
		s.trim.cursor, s.trim.kept = 0, 0
		return relay.Trimmed{}, err
	}
	s.space.removed.Add(int64(r.removed))
	return relay.Trimmed{Events: r.removed, Keys: len(r.keys), Kept: r.kept, More: more}, nil
}

// trimRequest removes what was found. Whether an event may still go is judged again by
// the committer: a replay may have been ordered since.
type trimRequest struct {
	policy relay.TrimPolicy
	walk   *trimmer
	// seen counts the changes that were committed before anything was looked at.
	seen uint64
	done chan error

	events []trimmable
	keys   []agedKey
	next   relay.Seq
	wrap   bool // the walk has come to its end

	// excess is how much is still to go for the store's size, whatever its age.
	excess  int64
	removed int
	kept    int
}

// trimmable is an event that may go, with the keys of its attempts.
type trimmable struct {
	// size is what goes with it; forSize says that it goes though it is young.
	size     int64
	forSize  bool
	seq      relay.Seq
	movedID  string // or empty
	places   []place
	attempts [][]byte
	// closed are the places whose delivery was given up or superseded, by their index.
	closed []int
}

// findEvents looks for events to be removed. It reports whether it stopped at a bound.
func (r *trimRequest) findEvents(s *Store, txn *bdb.Txn) (more bool, err error) {
	w := r.walk
	if w.cursor == 0 {
		w.cursor, w.kept = max(s.committed().mark, 1), 0
	}
	latest := r.policy.DeliveredBefore
	if r.policy.FailedBefore.After(latest) {
		latest = r.policy.FailedBefore
	}
	attempts := &ascender{Iterator: txn.NewIterator(bdb.IteratorOptions{Prefix: []byte{attemptPrefix}})}
	defer attempts.Close()
	exceptions := newExceptionFinder(txn)
	defer exceptions.close()
	// With all versions, deleted records count as steps too.
	it := txn.NewIterator(bdb.IteratorOptions{Prefix: []byte{eventPrefix}, AllVersions: true})
	defer it.Close()
	var key []byte
	size, looked := int64(0), 0
	r.next = w.cursor
	for steps := 0; ; steps++ {
		if steps == 0 {
			it.Seek(eventKey(w.cursor))
		} else {
			it.Next()
		}
		if !it.Valid() {
			r.wrap = true
			return false, nil
		}
		item := it.Item()
		if bytes.Equal(item.Key(), key) {
			continue // an older version
		}
		key = append(key[:0], item.Key()...)
		seq, err := seqOf(key)
		if err != nil {
			return false, &CorruptError{keyName(key), err}
		}
		if r.excess <= 0 && !seq.Time().Before(latest) {
			r.wrap = true
			return false, nil
		}
		r.next = seq
		if looked == trimEvents || steps >= trimRecords || size >= trimBytes {
			return true, nil
		}
		if item.IsDeletedOrExpired() {
			continue
		}
		looked++
		size += item.EstimatedSize()
		if err := r.look(s, item, attempts, exceptions); err != nil {
			return false, err
		}
		r.next = seq + 1
	}
}

// look judges one event.
func (r *trimRequest) look(s *Store, item *bdb.Item, attempts *ascender, exceptions *exceptionFinder) error {
	var found storedEvent
	err := item.Value(func(rec []byte) (err error) {
		found, err = decodeEvent(item.Key(), rec, placesOnly)
		return err
	})
	seq, _ := seqOf(item.Key())
	var corrupt *CorruptError
	if errors.As(err, &corrupt) {
		// What it belongs to is not known. It stays, and is found by who reads it.
		r.keep(seq)
		return nil
	}
	if err != nil {
		return err
	}
	t := trimmable{seq: seq, movedID: found.movedID, places: found.places, size: item.EstimatedSize(), forSize: r.excess > 0}
	all := s.subs.all()
	ok, err := r.policyAllows(&t, func(i int) (state, class, error) {
		p := t.places[i]
		u, err := named(all, p.sub)
		if err != nil {
			return state{}, 0, &CorruptError{keyName(item.Key()), err}
		}
		s.subs.mu.RLock()
		st := u.current
		s.subs.mu.RUnlock()
		if !st.finished(p.pos) {
			return st, 0, nil
		}
		at, err := exceptions.of(p.sub, p.pos)
		if at == classClosed {
			t.closed = append(t.closed, i)
		}
		return st, at, err
	})
	if err != nil {
		return err
	}
	if !ok {
		r.keep(seq)
		return nil
	}
	own := attemptKey(seq, 0, 0)[:1+8]
	for attempts.to(own); attempts.ValidForPrefix(own); attempts.Next() {
		t.attempts = append(t.attempts, attempts.Item().KeyCopy(nil))
		t.size += attempts.Item().EstimatedSize()
	}
	r.excess -= t.size
	r.events = append(r.events, t)
	return nil
}

func (r *trimRequest) keep(seq relay.Seq) {
	r.kept++
	if r.walk.kept == 0 || seq < r.walk.kept {
		r.walk.kept = seq
	}
}

// policyAllows reports whether all deliveries of an event are over, for long enough. The
// function tells what is known of the one at the place of an index.
func (r *trimRequest) policyAllows(t *trimmable, of func(i int) (state, class, error)) (bool, error) {
	limit := r.policy.DeliveredBefore
	for i, p := range t.places {
		st, at, err := of(i)
		if err != nil || !st.finished(p.pos) || at == classOpen {
			return false, err
		}
		if _, ok := st.span(p.pos, true); ok {
			return false, nil
		}
		if e, ok := st.span(p.pos, false); ok {
			if !e.Kind.Closed() {
				return false, nil
			}
			limit = r.policy.FailedBefore
		}
		if at == classClosed {
			limit = r.policy.FailedBefore
		}
	}
	return t.forSize || t.seq.Time().Before(limit), nil
}

// plan implements request. What is removed of one event may lie in several
// transactions, its own record in the last.
func (r *trimRequest) plan(c *committer) error {
	if err := c.s.space.admit(int64(len(r.events)+len(r.keys))*trimCost, false); err != nil {
		return err
	}
	var removed removedSpan
	for i := range r.events {
		t := &r.events[i]
		ok, err := r.stillAllowed(c, t)
		if err != nil {
			return err
		}
		if !ok {
			r.keep(t.seq)
			continue
		}
		if err := c.removeEvent(t); err != nil {
			return err
		}
		r.removed++
		removed.add(t)
	}
	if err := c.fence(removed); err != nil {
		return err
	}
	if err := r.removeKeys(c); err != nil {
		return err
	}
	return r.mark(c)
}

// stillAllowed judges an event again, by what the group will have changed. It reads again
// only what was changed since it was looked at.
func (r *trimRequest) stillAllowed(c *committer, t *trimmable) (bool, error) {
	// One more log may have got the event.
	if r.seen < c.lastPlaced {
		same, err := c.hasPlaces(t.seq, t.places)
		if err != nil || !same {
			return false, err
		}
	}
	return r.policyAllows(t, func(i int) (state, class, error) {
		p := t.places[i]
		u, err := c.byID(p.sub)
		if err != nil {
			return state{}, 0, err
		}
		at := class(0)
		switch {
		case r.seen < max(u.lastPut, c.born):
			if at, err = exceptionOf(c.transaction(), p.sub, p.pos); at == classClosed && !slices.Contains(t.closed, i) {
				t.closed = append(t.closed, i)
			}
		case slices.Contains(t.closed, i):
			at = classClosed
		}
		return u.next, at, err
	})
}

// cleared is how far no event is left, as far as the walk has come.
func (r *trimRequest) cleared() relay.Seq {
	if r.walk.kept > 0 {
		return min(r.walk.kept, r.next)
	}
	return r.next
}

// mark notes in the tail how far everything is removed.
func (r *trimRequest) mark(c *committer) error {
	t := c.tail
	t.mark = max(t.mark, r.cleared())
	if n := len(r.keys); n > 0 {
		t.keysMark = max(t.keysMark, r.keys[n-1].stored)
	}
	if t == c.tail && len(r.events) == 0 {
		return nil
	}
	if err := c.room(record(tailSize)); err != nil {
		return err
	}
	c.tail.mark, c.tail.keysMark, c.tailDirty = t.mark, t.keysMark, true
	// A group is committed only if something opened its transaction.
	c.transaction()
	return nil
}

// settle implements request. The walk goes on behind what was looked at.
func (r *trimRequest) settle(err error) {
	if err != nil {
		return
	}
	if r.walk.cursor = r.next; r.wrap {
		r.walk.cursor = 0
	}
}

func (r *trimRequest) answer() chan error { return r.done }
