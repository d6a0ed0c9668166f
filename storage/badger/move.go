package badger

import (
	"context"
	"time"

	bdb "github.com/dgraph-io/badger/v4"

	"github.com/caddyrelay/caddyrelay/relay"
)

var _ relay.Mover = (*Store)(nil)

// Adopt implements [relay.Mover].
func (s *Store) Adopt(ctx context.Context, moved []relay.Moved, stored func([]relay.Moved)) (int, error) {
	r := &adoptRequest{moved: moved, stored: stored, done: make(chan error, 1)}
	if err := s.submit(ctx, r); err != nil {
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

// plan implements request.
func (r *adoptRequest) plan(c *committer) error {
	var fresh []int
	var need load
	twice := make(map[string]bool)
	for i := range r.moved {
		e := r.moved[i].Event
		known, err := c.s.find(c.transaction(), e.ID)
		if err != nil {
			return err
		}
		if known != 0 || twice[e.ID] {
			continue
		}
		twice[e.ID] = true
		size, one := r.weigh(c, &r.moved[i])
		// One alone may be for as many subscriptions as it could be when it was appended.
		if need = need.plus(one); size >= valueThreshold || len(fresh) > 0 && !need.fits(largestBatch) {
			return &relay.BatchTooLargeError{Fits: i}
		}
		fresh = append(fresh, i)
	}
	if len(fresh) == 0 {
		return nil
	}
	if err := c.admit(need, true); err != nil {
		return err
	}
	if err := c.room(need); err != nil {
		return err
	}
	now := c.s.clock()
	for _, i := range fresh {
		r.fresh = append(r.fresh, r.add(c, &r.moved[i], now))
	}
	return nil
}

// weigh returns the size of an event's record, and what it takes with all others.
func (r *adoptRequest) weigh(c *committer, m *relay.Moved) (size int, need load) {
	e := *m.Event
	e.Moved = true
	size = eventSize(&e, len(e.Deliveries))
	need = record(len(movedKey(e.ID)) + numberLen)
	for i, p := range e.Deliveries {
		size += maxStringLen + len(p.Key)
		need = need.plus(c.nameLoad(p.Subscription)).plus(record(entryLen)).
			plus(record(exceptSize(&m.Exceptions[i]))).plus(records(2, exceptKeyLen))
	}
	return size, need.plus(record(size))
}

// add writes an event with its entries and exceptions, and returns it as it is then.
func (r *adoptRequest) add(c *committer, m *relay.Moved, now time.Time) relay.Moved {
	seq := relay.NextSeq(c.tail.last, now)
	c.tail.last = seq
	c.tail.ordinal++
	places := make([]place, 0, len(m.Event.Deliveries))
	here := m.At(seq, func(p relay.Placement) uint64 {
		added := c.extend(c.sub(p.Subscription), seq, p.Key)
		places = append(places, added)
		return added.pos
	})
	for i := range here.Exceptions {
		c.putException(c.sub(here.Event.Deliveries[i].Subscription), &here.Exceptions[i])
	}
	key := eventKey(seq)
	rec := encodeEvent(key, here.Event, c.tail.ordinal, places)
	c.put(key, rec)
	c.grow(len(key) + len(rec))
	id := movedKey(here.Event.ID)
	c.put(id, encodeNumber(id, uint64(seq)))
	return here
}

// settle implements request.
func (r *adoptRequest) settle(err error) {
	if err == nil && len(r.fresh) > 0 {
		r.stored(r.fresh)
	}
}

// answer implements request.
func (r *adoptRequest) answer() chan error { return r.done }

// Keys implements [relay.Mover]. They are in the order of their hashes.
func (s *Store) Keys(ctx context.Context, after *relay.KeyHash, limit int) (keys []relay.MovedKey, next *relay.KeyHash, err error) {
	err = s.read(ctx, func(txn *bdb.Txn) error {
		all := s.subs.all()
		it := txn.NewIterator(bdb.IteratorOptions{Prefix: []byte{idemPrefix}})
		defer it.Close()
		from := []byte{idemPrefix}
		if after != nil {
			from = append(idemKey(*after), 0)
		}
		for it.Seek(from); it.ValidForPrefix([]byte{idemPrefix}); it.Next() {
			if len(keys) == limit {
				next = &keys[limit-1].Hash
				return nil
			}
			key := it.Item().KeyCopy(nil)
			var k *known
			err := it.Item().Value(func(rec []byte) (err error) {
				k, err = decodeKnown(key, rec)
				return err
			})
			if err != nil || len(key) != idemKeyLen {
				continue // it is as good as forgotten
			}
			moved, err := s.movedKey(key, k, all)
			if err != nil {
				return err
			}
			keys = append(keys, moved)
		}
		return nil
	})
	return keys, next, err
}

// movedKey shows an idempotency key without the numbers of this store.
func (s *Store) movedKey(key []byte, k *known, all []*sub) (relay.MovedKey, error) {
	m := relay.MovedKey{Hash: idemHash(key[1:]), Sum: k.Sum, Stored: k.stored.Time(), Receipts: make([]relay.Receipt, len(k.Receipts))}
	for i, r := range k.Receipts {
		matched := make([]string, len(r.matched))
		for j, id := range r.matched {
			u, err := named(all, id)
			if err != nil {
				return m, &CorruptError{keyName(key), err}
			}
			matched[j] = u.name
		}
		m.Receipts[i] = relay.Receipt{ID: r.eventID(s.identity.tag), Type: r.typ, Matched: matched}
	}
	return m, nil
}

// AdoptKeys implements [relay.Mover].
func (s *Store) AdoptKeys(ctx context.Context, keys []relay.MovedKey) (int, error) {
	r := &adoptKeysRequest{keys: keys, done: make(chan error, 1)}
	if err := s.submit(ctx, r); err != nil {
		return 0, err
	}
	return r.adopted, nil
}

// adoptKeysRequest are idempotency keys of another store on their way.
type adoptKeysRequest struct {
	keys    []relay.MovedKey
	done    chan error
	adopted int
}

// plan implements request.
func (r *adoptKeysRequest) plan(c *committer) error {
	var fresh []*relay.MovedKey
	var need load
	for i := range r.keys {
		k := &r.keys[i]
		found, err := c.LookUp(k.Hash)
		if err != nil {
			return err
		}
		if found != nil {
			continue
		}
		size := idemSize(nil)
		for _, receipt := range k.Receipts {
			size += receiptSize(len(receipt.Type), len(receipt.Matched)) + maxStringLen + len(receipt.ID)
			for _, name := range receipt.Matched {
				need = need.plus(c.nameLoad(name))
			}
		}
		need = need.plus(records(2, 0)).plus(load{size: int64(size)})
		if size >= valueThreshold || !need.fits(largestBatch) {
			return &relay.BatchTooLargeError{Fits: i}
		}
		fresh = append(fresh, k)
	}
	if len(fresh) == 0 {
		return nil
	}
	if err := c.admit(need, true); err != nil {
		return err
	}
	if err := c.room(need); err != nil {
		return err
	}
	for _, k := range fresh {
		receipts := make([]receipt, len(k.Receipts))
		for i, from := range k.Receipts {
			receipts[i] = receipt{typ: from.Type, id: from.ID}
			for _, name := range from.Matched {
				receipts[i].matched = append(receipts[i].matched, c.sub(name).id)
			}
		}
		// Not below what was removed already, where nobody looks any more.
		stored := max(relay.SeqAt(k.Stored), c.tail.keysMark)
		c.remember(k.Hash, stored, newKnown(k.Sum, receipts))
	}
	r.adopted = len(fresh)
	return nil
}

// settle implements request.
func (r *adoptKeysRequest) settle(error) {}

// answer implements request.
func (r *adoptKeysRequest) answer() chan error { return r.done }
