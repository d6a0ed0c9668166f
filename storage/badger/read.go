package badger

import (
	"context"
	"errors"
	"fmt"

	bdb "github.com/dgraph-io/badger/v4"

	"github.com/caddyrelay/caddyrelay/relay"
)

// Read implements [relay.Store].
func (s *Store) Read(ctx context.Context, subscription string, after uint64, limit, maxBytes int) ([]relay.Entry, error) {
	u, st := s.subs.state(subscription)
	if u == nil || limit <= 0 || after >= st.progress.Head {
		return nil, s.check(ctx)
	}
	var entries []relay.Entry
	err := s.read(ctx, func(txn *bdb.Txn) error {
		places, err := logEntries(txn, u.id, max(after+1, st.floor), st.progress.Head, limit)
		if err != nil && len(places) == 0 {
			return err
		}
		entries = make([]relay.Entry, 0, len(places))
		bytes := 0
		for _, p := range places {
			e, err := s.event(txn, p.Seq)
			if err != nil {
				if len(entries) > 0 {
					return nil
				}
				return &relay.UnreadableError{Pos: p.Pos, Seq: p.Seq, Err: err}
			}
			bytes += len(e.Data)
			if len(entries) > 0 && bytes > maxBytes {
				return nil
			}
			entries = append(entries, relay.Entry{Pos: p.Pos, Event: e})
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return entries, nil
}

// check returns what a call that reads nothing has to answer.
func (s *Store) check(ctx context.Context) error {
	if s.gate.IsShut() {
		return relay.ErrClosed
	}
	return ctx.Err()
}

// event reads an event with its data.
func (s *Store) event(txn *bdb.Txn, seq relay.Seq) (*relay.Event, error) {
	key := eventKey(seq)
	var found storedEvent
	err := get(txn, key, func(rec []byte) (err error) {
		found, err = decodeEvent(key, rec, wholeEvent)
		return err
	})
	if errors.Is(err, bdb.ErrKeyNotFound) {
		return nil, fmt.Errorf("event at %d: %w", seq, relay.ErrNotFound)
	}
	if err != nil {
		return nil, err
	}
	return s.complete(key, &found)
}

// complete gives an event what does not stand in its record.
func (s *Store) complete(key []byte, found *storedEvent) (*relay.Event, error) {
	e := found.event
	if !e.Moved {
		e.ID = relay.FormatID(e.Seq, s.identity.tag)
	}
	if len(found.places) == 0 {
		return e, nil
	}
	all := s.subs.all()
	e.Deliveries = make([]relay.Placement, len(found.places))
	for i, p := range found.places {
		u, err := named(all, p.sub)
		if err != nil {
			return nil, &CorruptError{keyName(key), err}
		}
		e.Deliveries[i] = relay.Placement{Subscription: u.name, Pos: p.pos, Key: p.key}
	}
	return e, nil
}

// Event implements [relay.Store].
func (s *Store) Event(ctx context.Context, seq relay.Seq) (e *relay.Event, err error) {
	if seq > s.committed().last {
		if err := s.check(ctx); err != nil {
			return nil, err
		}
		return nil, fmt.Errorf("event at %d: %w", seq, relay.ErrNotFound)
	}
	err = s.read(ctx, func(txn *bdb.Txn) (err error) {
		e, err = s.event(txn, seq)
		return err
	})
	if corrupt := (*CorruptError)(nil); errors.As(err, &corrupt) {
		return nil, &relay.UnreadableError{Seq: seq, Err: err}
	}
	return e, err
}

// Find implements [relay.Store].
func (s *Store) Find(ctx context.Context, id string) (relay.Seq, error) {
	if err := s.check(ctx); err != nil {
		return 0, err
	}
	var seq relay.Seq
	err := s.read(ctx, func(txn *bdb.Txn) (err error) {
		if seq, err = s.find(txn, id); err == nil && seq == 0 {
			err = fmt.Errorf("event %q: %w", id, relay.ErrNotFound)
		}
		return err
	})
	return seq, err
}

// find returns the Seq of the event with this ID, its own or a moved one; 0 if there is none.
func (s *Store) find(txn *bdb.Txn, id string) (relay.Seq, error) {
	seq, tag, err := relay.ParseID(id)
	if err != nil {
		return 0, nil
	}
	if tag == s.identity.tag {
		if there, err := hasOwn(txn, seq); err != nil || there {
			return seq, err
		}
	}
	key := movedKey(id)
	err = get(txn, key, func(rec []byte) error {
		moved, err := decodeNumber(key, rec)
		seq = relay.Seq(moved)
		return err
	})
	if errors.Is(err, bdb.ErrKeyNotFound) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	there, err := exists(txn, eventKey(seq))
	if err != nil || !there {
		return 0, err
	}
	return seq, nil
}

// hasOwn reports whether there is an event at seq that has its ID from this store.
func hasOwn(txn *bdb.Txn, seq relay.Seq) (bool, error) {
	key := eventKey(seq)
	var found storedEvent
	err := get(txn, key, func(rec []byte) (err error) {
		found, err = decodeEvent(key, rec, placesOnly)
		return err
	})
	if errors.Is(err, bdb.ErrKeyNotFound) {
		return false, nil
	}
	if _, corrupt := errors.AsType[*CorruptError](err); corrupt {
		return true, nil // who reads it is told
	}
	return err == nil && found.movedID == "", err
}

// Attempts implements [relay.Store].
func (s *Store) Attempts(ctx context.Context, seq relay.Seq, subscription string) ([]relay.Attempt, error) {
	u := s.subs.get(subscription)
	if u == nil {
		return nil, s.check(ctx)
	}
	var attempts []relay.Attempt
	err := s.read(ctx, func(txn *bdb.Txn) error {
		e, err := placesOf(txn, seq)
		if err != nil {
			return err
		}
		pos := uint64(0)
		for _, p := range e.places {
			if p.sub == u.id {
				pos = p.pos
			}
		}
		attempts, err = attemptsOf(txn, seq, u.id, pos)
		for i := range attempts {
			if !e.erased.IsZero() { // it was added while the event was erased
				strip(&attempts[i])
			}
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	return attempts, nil
}
