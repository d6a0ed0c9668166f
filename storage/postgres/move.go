package postgres

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/caddyrelay/caddyrelay/relay"
)

var _ relay.Mover = (*Store)(nil)

// Adopt implements [relay.Mover].
func (s *Store) Adopt(ctx context.Context, moved []relay.Moved, stored func([]relay.Moved)) (int, error) {
	r := &adoptRequest{moved: moved, stored: stored, done: make(chan error, 1)}
	if err := s.submitNew(ctx, r); err != nil {
		return 0, err
	}
	return len(r.fresh), nil
}

// adoptRequest are events of another store on their way.
type adoptRequest struct {
	moved  []relay.Moved
	stored func([]relay.Moved)
	done   chan error

	fresh []relay.Moved
}

func (r *adoptRequest) keys(func(*relay.Key)) {}
func (r *adoptRequest) alone() bool           { return true }
func (r *adoptRequest) answer() chan error    { return r.done }

const (
	selectKnown = `select id from moved where id = any($1)`
	selectOwn   = `select seq from events where seq = any($1) and attributes -> 'moved' is null`
	insertMoved = `insert into moved (id, seq) select * from unnest($1::text[], $2::bigint[])`
)

// plan implements request.
func (r *adoptRequest) plan(ctx context.Context, c *committer) error {
	r.fresh = nil
	if err := c.s.only("importing events"); err != nil {
		return err
	}
	known, err := r.known(ctx, c)
	if err != nil {
		return c.spoil(err)
	}
	var fresh []*relay.Moved
	rows, bytes := 0, 0
	for i := range r.moved {
		m := &r.moved[i]
		if known[m.Event.ID] {
			continue
		}
		known[m.Event.ID] = true
		rows += 2 + 2*len(m.Event.Deliveries)
		// One alone may be for as many subscriptions as the store that had it could note.
		if bytes += len(m.Event.Data); len(fresh) > 0 && (rows > batchRows || bytes > batchBytes) {
			return &relay.BatchTooLargeError{Fits: i}
		}
		fresh = append(fresh, m)
	}
	if len(fresh) == 0 {
		return nil
	}
	now := c.s.clock()
	var ids []string
	var seqs []int64
	for _, m := range fresh {
		out, err := r.add(c, m, now)
		if err != nil {
			return c.spoil(err)
		}
		r.fresh = append(r.fresh, out)
		ids = append(ids, column(out.Event.ID))
		seqs = append(seqs, int64(out.Event.Seq))
	}
	c.group.add(insertMoved, ids, seqs)
	return nil
}

// known returns which of the events are here already.
func (r *adoptRequest) known(ctx context.Context, c *committer) (map[string]bool, error) {
	known := make(map[string]bool)
	var ids []string
	var own []int64
	for i := range r.moved {
		id := r.moved[i].Event.ID
		ids = append(ids, column(id))
		if seq, ok := c.s.ownSeq(id); ok {
			own = append(own, int64(seq))
		}
	}
	rows, err := c.conn.Query(ctx, selectKnown, ids)
	if err != nil {
		return nil, err
	}
	var id string
	if _, err := pgx.ForEachRow(rows, []any{&id}, func() error { known[id] = true; return nil }); err != nil || len(own) == 0 {
		return known, err
	}
	if rows, err = c.conn.Query(ctx, selectOwn, own); err != nil {
		return nil, err
	}
	var seq int64
	_, err = pgx.ForEachRow(rows, []any{&seq}, func() error {
		known[relay.FormatID(relay.Seq(seq), c.s.identity.tag)] = true
		return nil
	})
	return known, err
}

// add puts an event with its entries and exceptions into the group, and returns it as it
// will be.
func (r *adoptRequest) add(c *committer, m *relay.Moved, now time.Time) (relay.Moved, error) {
	seq := relay.NextSeq(c.tail.last, now)
	c.tail.last = seq
	c.tail.ordinal++
	var subs []int32
	var positions []int64
	var keys []string
	here := m.At(seq, func(p relay.Placement) uint64 {
		u := c.sub(p.Subscription)
		c.touch(u)
		u.next.Head++
		subs, positions, keys = append(subs, u.id), append(positions, int64(u.next.Head)), append(keys, p.Key)
		return u.next.Head
	})
	for i, id := range subs {
		c.group.apply(id, &relay.Update{Put: here.Exceptions[i : i+1]})
	}
	e := here.Event
	c.tail.live += liveSize(len(e.Data))
	return here, c.group.addEvent(e, seq, c.tail.ordinal, subs, positions, keys)
}

// settle implements request.
func (r *adoptRequest) settle(err error) {
	if err == nil && len(r.fresh) > 0 {
		r.stored(r.fresh)
	}
}

const selectKeysFrom = `select hash, sum, stored, receipts from keys where hash > $1 order by hash limit $2`

// Keys implements [relay.Mover]. They are in the order of their hashes.
func (s *Store) Keys(ctx context.Context, after *relay.KeyHash, limit int) (keys []relay.MovedKey, next *relay.KeyHash, err error) {
	if err := s.only("exporting idempotency keys"); err != nil {
		return nil, nil, err
	}
	from := []byte{}
	if after != nil {
		from = after[:]
	}
	err = s.read(ctx, func(ctx context.Context, conn *pgx.Conn) error {
		keys = nil
		rows, err := conn.Query(ctx, selectKeysFrom, from, limit+1)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var h, sum, raw []byte
			var stored int64
			if err := rows.Scan(&h, &sum, &stored, &raw); err != nil {
				return err
			}
			k, err := decodeKnown(h, sum, raw)
			if err != nil {
				return err
			}
			moved, err := s.movedKey(hash(h), relay.Seq(stored), k)
			if err != nil {
				return err
			}
			keys = append(keys, moved)
		}
		return rows.Err()
	})
	if len(keys) > limit {
		keys = keys[:limit]
		next = &keys[limit-1].Hash
	}
	return keys, next, err
}

// movedKey shows an idempotency key without the numbers of this store.
func (s *Store) movedKey(h hash, stored relay.Seq, k *known) (relay.MovedKey, error) {
	m := relay.MovedKey{Hash: h, Sum: k.Sum, Stored: stored.Time(), Receipts: make([]relay.Receipt, len(k.Receipts))}
	for i := range k.Receipts {
		r := &k.Receipts[i]
		m.Receipts[i] = relay.Receipt{ID: r.eventID(s.identity.tag), Type: string(r.Type), Matched: make([]string, len(r.Matched))}
		for j, id := range r.Matched {
			u, err := s.find(id)
			if err != nil {
				return m, err
			}
			m.Receipts[i].Matched[j] = u.name
		}
	}
	return m, nil
}

// AdoptKeys implements [relay.Mover].
func (s *Store) AdoptKeys(ctx context.Context, keys []relay.MovedKey) (int, error) {
	r := &adoptKeysRequest{moved: keys, done: make(chan error, 1)}
	if err := s.submitNew(ctx, r); err != nil {
		return 0, err
	}
	return r.adopted, nil
}

// adoptKeysRequest are idempotency keys of another store on their way.
type adoptKeysRequest struct {
	moved   []relay.MovedKey
	done    chan error
	adopted int
}

func (r *adoptKeysRequest) keys(func(*relay.Key)) {}
func (r *adoptKeysRequest) alone() bool           { return true }
func (r *adoptKeysRequest) settle(error)          {}
func (r *adoptKeysRequest) answer() chan error    { return r.done }

// plan implements request.
func (r *adoptKeysRequest) plan(ctx context.Context, c *committer) error {
	r.adopted = 0
	if err := c.s.only("importing idempotency keys"); err != nil {
		return err
	}
	if len(r.moved) > batchRows {
		return &relay.BatchTooLargeError{Fits: batchRows}
	}
	var hashes [][]byte
	for i := range r.moved {
		hashes = append(hashes, r.moved[i].Hash[:])
	}
	if err := c.loadKeys(ctx, hashes); err != nil {
		return c.spoil(err)
	}
	for i := range r.moved {
		k := &r.moved[i]
		if c.known[k.Hash] != nil {
			continue
		}
		receipts := make([]receipt, len(k.Receipts))
		for j, from := range k.Receipts {
			receipts[j] = receipt{Type: text(from.Type), ID: text(from.ID)}
			for _, name := range from.Matched {
				receipts[j].Matched = append(receipts[j].Matched, c.sub(name).id)
			}
		}
		if err := c.remember(k.Hash, k.Sum, relay.SeqAt(k.Stored), receipts); err != nil {
			return c.spoil(err)
		}
		r.adopted++
	}
	c.group.synced = true
	return nil
}
