package postgres

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/caddyrelay/caddyrelay/relay"
)

// eventColumns are those of an event without its data.
const eventColumns = `e.seq, e.type, e.size, e.subscriptions, e.positions, e.order_keys, e.attributes, e.erased`

// eventRow is where the columns of an event are read to.
type eventRow struct {
	seq              int64
	typ              string
	size             int32
	subs             []int32
	positions        []int64
	keys, attributes []byte
	erased           *time.Time
	data             []byte
}

func (r *eventRow) columns() []any {
	return []any{&r.seq, &r.typ, &r.size, &r.subs, &r.positions, &r.keys, &r.attributes, &r.erased}
}

// event makes an event of what was read. Deliveries are of the subscriptions known to find.
func (r *eventRow) event(tag uint16, find func(id int32) (*sub, error)) (*relay.Event, error) {
	s := relay.Seq(r.seq)
	e := &relay.Event{ID: relay.FormatID(s, tag), Seq: s, Accepted: s.Time(), Type: r.typ, Size: int(r.size), Data: r.data}
	if r.erased != nil {
		e.Erased = r.erased.UTC()
	}
	if err := decodeAttributes(r.attributes, e); err != nil {
		return nil, fmt.Errorf("its attributes: %w", err)
	}
	var keys []text
	if r.keys != nil {
		if err := json.Unmarshal(r.keys, &keys); err != nil {
			return nil, fmt.Errorf("its ordering keys: %w", err)
		}
	}
	if len(r.positions) != len(r.subs) || keys != nil && len(keys) != len(r.subs) {
		return nil, errors.New("its deliveries are not complete")
	}
	if len(r.subs) > 0 {
		e.Deliveries = make([]relay.Placement, len(r.subs))
	}
	for i, id := range r.subs {
		u, err := find(id)
		if err != nil {
			return nil, err
		}
		e.Deliveries[i] = relay.Placement{Subscription: u.name, Pos: uint64(r.positions[i])}
		if keys != nil {
			e.Deliveries[i].Key = string(keys[i])
		}
	}
	return e, nil
}

const selectEvent = `select ` + eventColumns + `, e.data from events e where e.seq = $1`

// readEvent reads one event, [relay.ErrNotFound], or a [relay.UnreadableError].
func readEvent(ctx context.Context, conn *pgx.Conn, s relay.Seq, tag uint16, find func(id int32) (*sub, error)) (*relay.Event, error) {
	if !storable(s) {
		return nil, fmt.Errorf("event at %d: %w", s, relay.ErrNotFound)
	}
	var row eventRow
	err := conn.QueryRow(ctx, selectEvent, int64(s)).Scan(append(row.columns(), &row.data)...)
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		return nil, fmt.Errorf("event at %d: %w", s, relay.ErrNotFound)
	case isDamaged(err):
		return nil, &relay.UnreadableError{Seq: s, Err: err}
	case err != nil:
		return nil, err
	}
	e, err := row.event(tag, find)
	if err != nil {
		return nil, &relay.UnreadableError{Seq: s, Err: err}
	}
	return e, nil
}

// storable reports whether there can be such a position: the server's numbers have a sign.
func storable(s relay.Seq) bool { return s>>63 == 0 }

// isDamaged reports whether the server cannot read a row: its page or its data is corrupt.
func isDamaged(err error) bool { return isCode(err, "XX001", "XX002") }

func (s *Store) find(id int32) (*sub, error) { return s.subs.find(id) }

// Event implements [relay.Store].
func (s *Store) Event(ctx context.Context, seq relay.Seq) (e *relay.Event, err error) {
	err = s.read(ctx, func(ctx context.Context, conn *pgx.Conn) (err error) {
		e, err = readEvent(ctx, conn, seq, s.identity.tag, s.find)
		return err
	})
	return e, err
}

// selectFound finds events by their IDs: those of this store by the position that the ID
// holds, those of others by the table of them.
const selectFound = `select e.seq from events e where e.seq = $1 and e.attributes -> 'moved' is null
	union all select m.seq from moved m where m.id = $2`

// Find implements [relay.Store].
func (s *Store) Find(ctx context.Context, id string) (relay.Seq, error) {
	if err := s.check(ctx); err != nil {
		return 0, err
	}
	if _, _, err := relay.ParseID(id); err != nil {
		return 0, fmt.Errorf("event %q: %w", id, relay.ErrNotFound)
	}
	own, ok := s.ownSeq(id)
	if !ok {
		own = 0 // where there is no event
	}
	var seq int64
	err := s.read(ctx, func(ctx context.Context, conn *pgx.Conn) error {
		err := conn.QueryRow(ctx, selectFound, int64(own), id).Scan(&seq)
		if errors.Is(err, pgx.ErrNoRows) {
			err = fmt.Errorf("event %q: %w", id, relay.ErrNotFound)
		}
		return err
	})
	if err != nil {
		return 0, err
	}
	return relay.Seq(seq), nil
}

// ownSeq returns the position that an ID of this store holds.
func (s *Store) ownSeq(id string) (relay.Seq, bool) {
	seq, tag, err := relay.ParseID(id)
	return seq, err == nil && tag == s.identity.tag && storable(seq)
}
