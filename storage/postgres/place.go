package postgres

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/caddyrelay/caddyrelay/relay"
)

// Place implements [relay.Store].
func (s *Store) Place(ctx context.Context, seq relay.Seq, to relay.Target, placed func(*relay.Event)) error {
	return s.submitNew(ctx, &placeRequest{seq: seq, to: to, placed: placed, done: make(chan error, 1)})
}

// placeRequest is an event on its way into one more log.
type placeRequest struct {
	seq    relay.Seq
	to     relay.Target
	placed func(*relay.Event)
	done   chan error

	// found is the event as it will be; nil if it has its place already.
	found *relay.Event
}

func (r *placeRequest) keys(func(*relay.Key)) {}
func (r *placeRequest) alone() bool           { return true }
func (r *placeRequest) answer() chan error    { return r.done }

const updatePlaces = `update events set subscriptions = subscriptions || $2::integer, positions = positions || $3::bigint, order_keys = $4::text::json where seq = $1`

// plan implements request.
func (r *placeRequest) plan(ctx context.Context, c *committer) error {
	r.found = nil
	e, err := c.event(ctx, r.seq)
	if err != nil {
		return err
	}
	if !e.Erased.IsZero() {
		return fmt.Errorf("event at %d: %w", r.seq, relay.ErrErased)
	}
	if slices.ContainsFunc(e.Deliveries, func(p relay.Placement) bool { return p.Subscription == r.to.Subscription }) {
		return nil
	}
	var keys []string
	for _, p := range e.Deliveries {
		keys = append(keys, p.Key)
	}
	encoded, err := encodeOrderKeys(append(keys, r.to.Key))
	if err != nil {
		return err
	}
	u := c.sub(r.to.Subscription)
	c.touch(u)
	u.next.Head++
	c.group.addEntry(u.id, int64(u.next.Head), r.seq, e.Size)
	c.group.add(updatePlaces, int64(r.seq), u.id, int64(u.next.Head), encoded)
	e.Deliveries = append(e.Deliveries, relay.Placement{Subscription: u.name, Pos: u.next.Head, Key: r.to.Key})
	r.found = e
	return nil
}

// settle implements request.
func (r *placeRequest) settle(err error) {
	if err == nil && r.found != nil {
		r.placed(r.found)
	}
}

// event reads an event by the connection that writes. An error of the connection breaks the
// store.
func (c *committer) event(ctx context.Context, s relay.Seq) (*relay.Event, error) {
	e, err := readEvent(ctx, c.conn, s, c.s.identity.tag, c.byID)
	if err != nil && !errors.Is(err, relay.ErrNotFound) && !isUnreadable(err) {
		return nil, c.spoil(err)
	}
	return e, err
}
