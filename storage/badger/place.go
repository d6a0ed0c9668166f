package badger

import (
	"context"
	"errors"
	"fmt"
	"slices"

	bdb "github.com/dgraph-io/badger/v4"

	"github.com/caddyrelay/caddyrelay/relay"
)

// Place implements [relay.Store].
func (s *Store) Place(ctx context.Context, seq relay.Seq, to relay.Target, placed func(*relay.Event)) error {
	return s.submit(ctx, &placeRequest{s: s, seq: seq, to: to, placed: placed, done: make(chan error, 1)})
}

// placeRequest is an event on its way into one more log.
type placeRequest struct {
	s      *Store
	seq    relay.Seq
	to     relay.Target
	placed func(*relay.Event)
	done   chan error

	// found is the event as it will be; nil if it has its place already.
	found *storedEvent
}

// plan implements request. The event's record is written again with the new place, so
// that whoever reads the event sees all its deliveries.
func (r *placeRequest) plan(c *committer) error {
	key := eventKey(r.seq)
	var found storedEvent
	err := get(c.transaction(), key, func(rec []byte) (err error) {
		found, err = decodeEvent(key, rec, wholeEvent)
		return err
	})
	if errors.Is(err, bdb.ErrKeyNotFound) {
		return fmt.Errorf("event at %d: %w", r.seq, relay.ErrNotFound)
	}
	if err != nil {
		return err
	}
	if !found.erased.IsZero() {
		return fmt.Errorf("event at %d: %w", r.seq, relay.ErrErased)
	}
	if u := c.known(r.to.Subscription); u != nil {
		if slices.ContainsFunc(found.places, func(p place) bool { return p.sub == u.id }) {
			return nil
		}
	}
	size := eventSize(found.event, len(found.places)+1) + len(r.to.Key) + maxStringLen
	for _, p := range found.places {
		size += maxStringLen + len(p.key)
	}
	if size >= valueThreshold {
		return &relay.BatchTooLargeError{}
	}
	need := c.nameLoad(r.to.Subscription).plus(record(size)).plus(record(entryLen))
	if err := c.s.space.admit(need.size, true); err != nil {
		return err
	}
	if err := c.room(need); err != nil {
		return err
	}
	c.changes++
	c.lastPlaced = c.changes
	found.places = append(found.places, c.extend(c.sub(r.to.Subscription), r.seq, r.to.Key))
	c.put(key, encodeEvent(key, found.event, found.ordinal, found.places))
	r.found = &found
	return nil
}

// hasPlaces reports whether an event has just these places.
func (c *committer) hasPlaces(seq relay.Seq, places []place) (bool, error) {
	key := eventKey(seq)
	var found storedEvent
	err := get(c.transaction(), key, func(rec []byte) (err error) {
		found, err = decodeEvent(key, rec, placesOnly)
		return err
	})
	if errors.Is(err, bdb.ErrKeyNotFound) {
		return false, nil
	}
	return slices.Equal(found.places, places), err
}

// settle implements request.
func (r *placeRequest) settle(err error) {
	if err != nil || r.found == nil {
		return
	}
	e, err := r.s.complete(eventKey(r.seq), r.found)
	if err != nil {
		r.s.log.Error("an event has a place that nobody knows: " + err.Error())
		return
	}
	r.placed(e)
}

// answer implements request.
func (r *placeRequest) answer() chan error { return r.done }
