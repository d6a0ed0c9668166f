package badger

import (
	"context"
	"errors"
	"time"

	bdb "github.com/dgraph-io/badger/v4"

	"github.com/caddyrelay/caddyrelay/relay"
)

// Append implements [relay.Store].
func (s *Store) Append(ctx context.Context, b relay.Batch, stored func([]*relay.Event)) ([]relay.Receipt, error) {
	if !s.gate.Enter() {
		return nil, relay.ErrClosed
	}
	defer s.gate.Leave()
	r := &appendRequest{batch: b, stored: stored, done: make(chan error, 1)}
	if err := s.submit(ctx, r); err != nil {
		return nil, err
	}
	return r.receipts, nil
}

// appendRequest is a batch on its way.
type appendRequest struct {
	batch  relay.Batch
	stored func([]*relay.Event)
	done   chan error

	tag      uint16
	receipts []relay.Receipt
	fresh    []appended
}

// appended is what the event of an item will have once it is stored. It is given to
// the event only then, so that nothing is to be taken back after a failure.
type appended struct {
	item       int
	seq        relay.Seq
	deliveries []relay.Placement
}

// repeat says that an item is a repeat of an earlier item of its batch, or of what was
// stored before.
type repeat struct {
	of     int      // index, or -1
	known  *receipt // or nil
	answer relay.Receipt
}

// plan implements request.
func (r *appendRequest) plan(c *committer) error {
	r.tag = c.s.identity.tag
	hashes, repeats, done, err := r.lookUp(c)
	if err != nil || done {
		return err
	}
	need, err := r.weigh(c, repeats)
	if err != nil {
		return err
	}
	if need.count > 0 {
		if err := c.s.space.admit(need.size, true); err != nil {
			return err
		}
		if err := c.room(need); err != nil {
			return err
		}
	}
	r.write(c, hashes, repeats)
	return nil
}

// lookUp finds out which items were stored before. It returns done if the whole batch
// was: then the receipts are complete.
func (r *appendRequest) lookUp(c *committer) (hashes []idemHash, repeats []repeat, done bool, err error) {
	if key := r.batch.Key; key != nil {
		found, err := c.lookUp(hashKey(key))
		if err != nil {
			return nil, nil, false, err
		}
		if found != nil {
			// The same content gives as many answers; a key of one event for a batch does not.
			if found.sum != key.Sum || len(found.receipts) != len(r.batch.Items) {
				return nil, nil, false, &relay.KeyReusedError{Item: -1}
			}
			for i := range found.receipts {
				receipt, err := c.repeated(&found.receipts[i], r.tag)
				if err != nil {
					return nil, nil, false, err
				}
				r.receipts = append(r.receipts, receipt)
			}
			return nil, nil, true, nil
		}
	}
	hashes = make([]idemHash, len(r.batch.Items))
	repeats = make([]repeat, len(r.batch.Items))
	first := make(map[idemHash]int)
	for i := range r.batch.Items {
		repeats[i].of = -1
		key := r.batch.Items[i].Key
		if key == nil {
			continue
		}
		hashes[i] = hashKey(key)
		if j, ok := first[hashes[i]]; ok {
			if r.batch.Items[j].Key.Sum != key.Sum {
				return nil, nil, false, &relay.KeyReusedError{Item: i}
			}
			repeats[i].of = j
			continue
		}
		first[hashes[i]] = i
		found, err := c.lookUp(hashes[i])
		switch {
		case err != nil:
			return nil, nil, false, err
		case found == nil:
			continue
		case found.sum != key.Sum || len(found.receipts) != 1:
			return nil, nil, false, &relay.KeyReusedError{Item: i}
		}
		repeats[i].known = &found.receipts[0]
		if repeats[i].answer, err = c.repeated(repeats[i].known, r.tag); err != nil {
			return nil, nil, false, err
		}
	}
	return hashes, repeats, false, nil
}

// lookUp returns what is kept of an idempotency key, or nil.
func (c *committer) lookUp(h idemHash) (found *known, err error) {
	key := idemKey(h)
	err = get(c.transaction(), key, func(rec []byte) error {
		found, err = decodeKnown(key, rec)
		return err
	})
	if errors.Is(err, bdb.ErrKeyNotFound) {
		return nil, nil
	}
	return found, err
}

// repeated is the receipt of an event that was stored before.
func (c *committer) repeated(r *receipt, tag uint16) (relay.Receipt, error) {
	matched := make([]string, len(r.matched))
	for i, id := range r.matched {
		u, err := c.byID(id)
		if err != nil {
			return relay.Receipt{}, err
		}
		matched[i] = u.name
	}
	return relay.Receipt{ID: r.eventID(tag), Type: r.typ, Matched: matched, Duplicate: true}, nil
}

// weigh returns what the batch takes at most, or how much of it would fit.
func (r *appendRequest) weigh(c *committer, repeats []repeat) (load, error) {
	var need load
	batchKey := 0
	if r.batch.Key != nil {
		batchKey = idemSize(nil)
		need = records(2, 0).plus(load{size: int64(batchKey)})
	}
	for i := range r.batch.Items {
		item := &r.batch.Items[i]
		answer := receiptSize(len(item.Event.Type), len(item.Targets))
		if batchKey += answer; r.batch.Key != nil {
			need.size += int64(answer)
		}
		if repeats[i].known == nil && repeats[i].of < 0 {
			size := eventSize(item.Event, len(item.Targets)) + orderKeysSize(item.Targets)
			// A larger record would go to the value log, whose syncs are not reliable.
			if size >= valueThreshold {
				return load{}, &relay.BatchTooLargeError{Fits: i}
			}
			need = need.plus(record(size)).plus(records(len(item.Targets), logKeyLen+numberLen))
			for _, target := range item.Targets {
				need = need.plus(c.nameLoad(target.Subscription))
			}
			if item.Key != nil {
				need = need.plus(records(2, 0)).plus(load{size: int64(idemSize(nil) + answer)})
			}
		}
		if !need.fits(c.batchLimit) || r.batch.Key != nil && batchKey >= valueThreshold {
			return load{}, &relay.BatchTooLargeError{Fits: i}
		}
	}
	return need, nil
}

// write puts the records of the batch into the group. There is room for them.
func (r *appendRequest) write(c *committer, hashes []idemHash, repeats []repeat) {
	now := c.s.clock()
	// Keys count as stored at the time that their events get, which does not fall back.
	stored := max(relay.SeqAt(now), c.tail.last)
	answers := make([]receipt, len(r.batch.Items))
	r.receipts = make([]relay.Receipt, len(r.batch.Items))
	for i := range r.batch.Items {
		item := &r.batch.Items[i]
		switch {
		case repeats[i].of >= 0:
			j := repeats[i].of
			answers[i] = answers[j]
			r.receipts[i] = r.receipts[j]
			r.receipts[i].Duplicate = true
		case repeats[i].known != nil:
			answers[i], r.receipts[i] = *repeats[i].known, repeats[i].answer
		default:
			answers[i] = r.add(c, i, now)
			if item.Key != nil {
				c.remember(hashes[i], stored, &known{sum: item.Key.Sum, receipts: answers[i : i+1]})
			}
		}
	}
	if r.batch.Key != nil {
		c.remember(hashKey(r.batch.Key), stored, &known{sum: r.batch.Key.Sum, receipts: answers})
	}
}

// add writes the event of item i with its entries.
func (r *appendRequest) add(c *committer, i int, now time.Time) receipt {
	item := &r.batch.Items[i]
	seq := max(relay.SeqAt(now), c.tail.last+1)
	c.tail.last = seq
	c.tail.ordinal++
	id := relay.FormatID(seq, r.tag)
	targets := item.Confirmed(id, seq.Time())
	places := make([]place, len(targets))
	deliveries := make([]relay.Placement, len(targets))
	answer := receipt{seq: seq, typ: item.Event.Type, matched: make([]uint32, len(targets))}
	for j, target := range targets {
		u := c.sub(target.Subscription)
		places[j] = c.extend(u, seq, target.Key)
		deliveries[j] = relay.Placement{Subscription: target.Subscription, Pos: places[j].pos, Key: target.Key}
		answer.matched[j] = u.id
	}
	key := eventKey(seq)
	rec := encodeEvent(key, item.Event, c.tail.ordinal, places)
	c.put(key, rec)
	c.grow(len(key) + len(rec))

	r.fresh = append(r.fresh, appended{i, seq, deliveries})
	matched := make([]string, len(deliveries))
	for j, target := range targets {
		matched[j] = target.Subscription
	}
	r.receipts[i] = relay.Receipt{ID: id, Type: item.Event.Type, Matched: matched}
	return answer
}

// extend adds an event to the log of a subscription.
func (c *committer) extend(u *sub, seq relay.Seq, orderKey string) place {
	c.touch(u)
	u.next.progress.Head++
	pos := u.next.progress.Head
	key := logKey(u.id, pos)
	c.put(key, encodeNumber(key, uint64(seq)))
	c.grow(logKeyLen + numberLen)
	return place{u.id, pos, orderKey}
}

// orderKeysSize is what the ordering keys of an event take at most.
func orderKeysSize(targets []relay.Target) int {
	size, any := 0, false
	for _, t := range targets {
		size += maxStringLen + len(t.Key)
		any = any || t.Key != ""
	}
	if !any {
		return 0
	}
	return size
}

// remember writes an idempotency key.
func (c *committer) remember(h idemHash, stored relay.Seq, k *known) {
	key := idemKey(h)
	c.put(key, encodeKnown(key, stored, k))
	age := idemAgeKey(stored, h)
	c.put(age, seal(age, newRecord(0)))
}

// settle implements request.
func (r *appendRequest) settle(err error) {
	if err != nil {
		r.receipts = nil
		return
	}
	if len(r.fresh) == 0 {
		return
	}
	events := make([]*relay.Event, len(r.fresh))
	for i, a := range r.fresh {
		e := r.batch.Items[a.item].Event
		e.ID, e.Seq, e.Accepted, e.Deliveries = r.receipts[a.item].ID, a.seq, a.seq.Time(), a.deliveries
		e.Size = len(e.Data)
		events[i] = e
	}
	if r.stored != nil {
		r.stored(events)
	}
}

// answer implements request.
func (r *appendRequest) answer() chan error { return r.done }
