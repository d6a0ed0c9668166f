package badger

import (
	"context"
	"errors"
	"fmt"
	"slices"

	bdb "github.com/dgraph-io/badger/v4"

	"github.com/caddyrelay/caddyrelay/relay"
)

// Erase implements [relay.Store].
func (s *Store) Erase(ctx context.Context, seq relay.Seq, updates []relay.Update) error {
	return s.submit(ctx, &eraseRequest{seq: seq, updates: updates, done: make(chan error, 1)})
}

// eraseRequest takes an event's data away.
type eraseRequest struct {
	seq     relay.Seq
	updates []relay.Update
	done    chan error
}

// plan implements request. The event is marked first: from then on readers of its attempts
// leave out what they would have kept, whatever happens to the rest, which may be more than
// one transaction takes.
func (r *eraseRequest) plan(c *committer) error {
	places, err := r.mark(c)
	if err != nil {
		return err
	}
	for i := range r.updates {
		if err := c.update(&r.updates[i]); err != nil {
			return err
		}
	}
	if err := c.flush(); err != nil {
		return err
	}
	return c.db.view(func(txn *bdb.Txn) error {
		if err := r.stripAttempts(c, txn); err != nil {
			return err
		}
		for _, p := range places {
			if err := r.stripBundles(c, p); err != nil {
				return err
			}
		}
		return r.stripKeys(c, txn, places)
	})
}

// mark writes the event again, without its data and its ordering keys.
func (r *eraseRequest) mark(c *committer) ([]place, error) {
	key := eventKey(r.seq)
	var found storedEvent
	before := 0
	err := get(c.transaction(), key, func(rec []byte) (err error) {
		before = len(rec)
		found, err = decodeEvent(key, rec, withoutData)
		return err
	})
	if errors.Is(err, bdb.ErrKeyNotFound) {
		return nil, fmt.Errorf("event at %d: %w", r.seq, relay.ErrNotFound)
	}
	if err != nil || !found.erased.IsZero() {
		return found.places, err
	}
	found.event.Erased = c.s.clock()
	for i := range found.places {
		found.places[i].key = ""
	}
	rec := encodeEvent(key, found.event, found.ordinal, found.places)
	need := record(len(key) + len(rec))
	if err := c.s.space.admit(need.size, false); err != nil {
		return nil, err
	}
	if err := c.room(need.plus(record(tailSize))); err != nil {
		return nil, err
	}
	c.put(key, rec)
	c.tail.live -= min(c.tail.live, uint64(max(before-len(rec), 0)))
	c.tailDirty = true
	return found.places, nil
}

// stripAttempts takes out what the event's attempts keep of answers and errors: an answer
// often repeats what was sent, and an error may quote it.
func (r *eraseRequest) stripAttempts(c *committer, txn *bdb.Txn) error {
	prefix := attemptKey(r.seq, 0, 0)[:1+8]
	return scan(txn, prefix, func(key, rec []byte) error {
		a, err := decodeAttempt(key, rec)
		if corrupt := (*CorruptError)(nil); errors.As(err, &corrupt) {
			if err := c.room(record(attemptKeyLen)); err != nil {
				return err
			}
			c.remove(slices.Clone(key)) // nobody can read it, and it may hold anything
			return nil
		}
		if err != nil || !strip(&a) {
			return err
		}
		if err := c.room(record(attemptSize(&a))); err != nil {
			return err
		}
		key = slices.Clone(key)
		c.put(key, encodeAttempt(key, &a))
		return nil
	})
}

// stripBundles does the same with attempts that share a record.
func (r *eraseRequest) stripBundles(c *committer, p place) error {
	open, err := c.openWindow(windowOf(p.sub, p.pos))
	for _, o := range open {
		for i := range o.attempts {
			if o.attempts[i].seq != r.seq {
				continue
			}
			a, err := decodeAttemptFields(o.key(), o.attempts[i].fields)
			if err != nil {
				a = relay.Attempt{} // nobody can read it, and it may hold anything
			} else if !strip(&a) {
				continue
			}
			o.attempts[i].fields, o.changed = appendAttempt(nil, &a), true
		}
	}
	return err
}

// strip takes out of an attempt what may hold data of its event, and reports whether there
// was something.
func strip(a *relay.Attempt) bool {
	had := a.Error != "" || len(a.Excerpt) > 0
	a.Error, a.Excerpt = "", nil
	return had
}

// stripKeys takes ordering keys, which are made of the data, out of what is known of
// deliveries that are over.
func (r *eraseRequest) stripKeys(c *committer, txn *bdb.Txn, places []place) error {
	for _, p := range places {
		key := exceptKey(classClosed, p.sub, p.pos)
		var e relay.Exception
		err := get(txn, key, func(rec []byte) (err error) {
			e, err = decodeException(key, rec)
			return err
		})
		if errors.Is(err, bdb.ErrKeyNotFound) || err == nil && e.Key == "" {
			continue
		}
		if err != nil {
			return err
		}
		e.Key = ""
		if err := c.room(record(exceptSize(&e))); err != nil {
			return err
		}
		c.put(key, encodeException(key, &e))
	}
	return nil
}

// settle implements request.
func (r *eraseRequest) settle(error) {}

// answer implements request.
func (r *eraseRequest) answer() chan error { return r.done }
