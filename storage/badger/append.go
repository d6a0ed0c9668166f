package badger

import (
	"context"
	"time"

	"github.com/caddyrelay/caddyrelay/relay"
)

// Append implements [relay.Store].
func (s *Store) Append(ctx context.Context, b relay.Batch, stored func([]*relay.Event)) ([]relay.Receipt, error) {
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

	receipts []relay.Receipt
	fresh    []relay.Appended
}

// plan implements request.
func (r *appendRequest) plan(c *committer) error {
	repeats, all, err := relay.Repeats(&r.batch, c)
	if err != nil || all != nil {
		r.receipts = all
		return err
	}
	need, err := r.weigh(c, repeats)
	if err != nil {
		return err
	}
	if need.count > 0 {
		if err := c.admit(need, true); err != nil {
			return err
		}
		if err := c.room(need); err != nil {
			return err
		}
	}
	r.write(c, repeats)
	return nil
}

// LookUp implements [relay.KeyBook].
func (c *committer) LookUp(h idemHash) (*relay.KnownKey[receipt], error) {
	found, err := knownUnder(c.transaction(), h)
	if found == nil || err != nil {
		return nil, err
	}
	return &found.KnownKey, nil
}

// Repeated implements [relay.KeyBook].
func (c *committer) Repeated(r *receipt) (relay.Receipt, error) {
	matched := make([]string, len(r.matched))
	for i, id := range r.matched {
		u, err := c.byID(id)
		if err != nil {
			return relay.Receipt{}, err
		}
		matched[i] = u.name
	}
	return relay.Receipt{ID: r.eventID(c.s.identity.tag), Type: r.typ, Matched: matched, Duplicate: true}, nil
}

// weigh returns what the batch takes at most, or how much of it would fit.
func (r *appendRequest) weigh(c *committer, repeats []relay.Repeat[receipt]) (load, error) {
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
		if repeats[i].New() {
			size := eventSize(item.Event, len(item.Targets)) + orderKeysSize(item.Targets)
			// A larger record would go to the value log, whose syncs are not reliable.
			if size >= valueThreshold {
				return load{}, &relay.BatchTooLargeError{Fits: i}
			}
			need = need.plus(record(size)).plus(records(len(item.Targets), entryLen))
			for _, target := range item.Targets {
				need = need.plus(c.nameLoad(target.Subscription))
			}
			if item.Key != nil {
				need = need.plus(records(2, 0)).plus(load{size: int64(idemSize(nil) + answer)})
			}
		}
		if !need.fits(largestBatch) || r.batch.Key != nil && batchKey >= valueThreshold {
			return load{}, &relay.BatchTooLargeError{Fits: i}
		}
	}
	return need, nil
}

// write puts the records of the batch into the group. There is room for them.
func (r *appendRequest) write(c *committer, repeats []relay.Repeat[receipt]) {
	now := c.s.clock()
	// Keys count as stored at the time that their events get, which does not fall back.
	stored := max(relay.SeqAt(now), c.tail.last)
	answers := make([]receipt, len(r.batch.Items))
	r.receipts = make([]relay.Receipt, len(r.batch.Items))
	for i := range r.batch.Items {
		item := &r.batch.Items[i]
		switch {
		case repeats[i].Of >= 0:
			j := repeats[i].Of
			answers[i] = answers[j]
			r.receipts[i] = r.receipts[j]
			r.receipts[i].Duplicate = true
		case repeats[i].Known != nil:
			answers[i], r.receipts[i] = *repeats[i].Known, repeats[i].Answer
		default:
			answers[i] = r.add(c, i, now)
			if item.Key != nil {
				c.remember(repeats[i].Hash, stored, newKnown(item.Key.Sum, answers[i:i+1]))
			}
		}
	}
	if r.batch.Key != nil {
		c.remember(r.batch.Key.Hash(), stored, newKnown(r.batch.Key.Sum, answers))
	}
}

// add writes the event of item i with its entries.
func (r *appendRequest) add(c *committer, i int, now time.Time) receipt {
	item := &r.batch.Items[i]
	seq := relay.NextSeq(c.tail.last, now)
	c.tail.last = seq
	c.tail.ordinal++
	id := relay.FormatID(seq, c.s.identity.tag)
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
	rec := appendEvent(c.records.begin(eventSize(item.Event, len(places))+orderKeysSize(targets)), key, item.Event, c.tail.ordinal, places)
	c.records.end(rec)
	c.put(key, rec)
	c.grow(len(key) + len(rec))

	r.fresh = append(r.fresh, relay.Appended{Item: i, Seq: seq, Deliveries: deliveries})
	matched := make([]string, len(deliveries))
	for j, target := range targets {
		matched[j] = target.Subscription
	}
	r.receipts[i] = relay.Receipt{ID: id, Type: item.Event.Type, Matched: matched}
	return answer
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
	key, age := idemKey(h), idemAgeKey(stored, h)
	rec, mark := encodeKnown(key, stored, k), seal(age, newRecord(0))
	c.put(key, rec)
	c.put(age, mark)
	c.tail.addKey(stored, len(key)+len(rec)+len(age)+len(mark))
	c.tailDirty = true
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
	if events := r.batch.Complete(r.receipts, r.fresh); r.stored != nil {
		r.stored(events)
	}
}

// answer implements request.
func (r *appendRequest) answer() chan error { return r.done }
