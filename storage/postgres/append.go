package postgres

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
	fresh    []appended
}

// appended is what the event of an item will have once it is stored. It is given to the
// event only then, so that nothing is to be taken back after a failure.
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

func (r *appendRequest) keys(add func(*relay.Key)) {
	if r.batch.Key != nil {
		add(r.batch.Key)
	}
	for i := range r.batch.Items {
		if k := r.batch.Items[i].Key; k != nil {
			add(k)
		}
	}
}

func (r *appendRequest) alone() bool { return false }

// plan implements request.
func (r *appendRequest) plan(_ context.Context, c *committer) error {
	repeats, done, err := r.lookUp(c)
	if err != nil || done {
		return err
	}
	if err := r.weigh(repeats); err != nil {
		return err
	}
	return r.write(c, repeats)
}

// lookUp finds out which items were stored before. It returns done if the whole batch was:
// then the receipts are complete.
func (r *appendRequest) lookUp(c *committer) (repeats []repeat, done bool, err error) {
	if key := r.batch.Key; key != nil {
		if found := c.known[hashKey(key)]; found != nil {
			// The same content gives as many answers; a key of one event for a batch does not.
			if found.sum != key.Sum || len(found.receipts) != len(r.batch.Items) {
				return nil, false, &relay.KeyReusedError{Item: -1}
			}
			for i := range found.receipts {
				receipt, err := c.repeated(&found.receipts[i])
				if err != nil {
					return nil, false, err
				}
				r.receipts = append(r.receipts, receipt)
			}
			return nil, true, nil
		}
	}
	repeats = make([]repeat, len(r.batch.Items))
	var first map[hash]int
	for i := range r.batch.Items {
		repeats[i].of = -1
		key := r.batch.Items[i].Key
		if key == nil {
			continue
		}
		h := hashKey(key)
		if j, ok := first[h]; ok {
			if r.batch.Items[j].Key.Sum != key.Sum {
				return nil, false, &relay.KeyReusedError{Item: i}
			}
			repeats[i].of = j
			continue
		}
		if first == nil {
			first = make(map[hash]int)
		}
		first[h] = i
		found := c.known[h]
		switch {
		case found == nil:
			continue
		case found.sum != key.Sum || len(found.receipts) != 1:
			return nil, false, &relay.KeyReusedError{Item: i}
		}
		repeats[i].known = &found.receipts[0]
		if repeats[i].answer, err = c.repeated(repeats[i].known); err != nil {
			return nil, false, err
		}
	}
	return repeats, false, nil
}

// Bounds of one batch: the server would take more, but not within the time that a group may
// take.
const (
	batchRows  = 50_000
	batchBytes = 32 << 20
)

// weigh refuses a batch that is too large, and says how much of it would fit.
func (r *appendRequest) weigh(repeats []repeat) error {
	rows, bytes := 0, 0
	for i := range r.batch.Items {
		if repeats[i].known != nil || repeats[i].of >= 0 {
			continue
		}
		item := &r.batch.Items[i]
		rows += 2 + len(item.Targets)
		bytes += len(item.Event.Data) + rowWeight*(2+len(item.Targets))
		if rows > batchRows || bytes > batchBytes {
			return &relay.BatchTooLargeError{Fits: i}
		}
	}
	return nil
}

// write puts the rows of the batch into the group.
func (r *appendRequest) write(c *committer, repeats []repeat) error {
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
			var err error
			if answers[i], err = r.add(c, i, now); err != nil {
				return c.spoil(err)
			}
			if item.Key != nil {
				if err := c.remember(hashKey(item.Key), item.Key.Sum, stored, answers[i:i+1]); err != nil {
					return c.spoil(err)
				}
			}
		}
	}
	if r.batch.Key != nil {
		if err := c.remember(hashKey(r.batch.Key), r.batch.Key.Sum, stored, answers); err != nil {
			return c.spoil(err)
		}
	}
	return nil
}

// spoil gives up a group in the middle of a request, which leaves it in part.
func (c *committer) spoil(err error) error {
	c.fail(err)
	return c.broken
}

// add writes the event of item i with its entries.
func (r *appendRequest) add(c *committer, i int, now time.Time) (receipt, error) {
	item := &r.batch.Items[i]
	seq := max(relay.SeqAt(now), c.tail.last+1)
	c.tail.last = seq
	c.tail.ordinal++
	id := relay.FormatID(seq, c.s.identity.tag)
	targets := item.Confirmed(id, seq.Time())
	subs := make([]int32, len(targets))
	positions := make([]int64, len(targets))
	keys := make([]string, len(targets))
	matched := make([]string, len(targets))
	deliveries := make([]relay.Placement, len(targets))
	for j, target := range targets {
		u := c.sub(target.Subscription)
		c.touch(u)
		u.next.Head++
		subs[j], positions[j], keys[j] = u.id, int64(u.next.Head), target.Key
		matched[j] = target.Subscription
		deliveries[j] = relay.Placement{Subscription: target.Subscription, Pos: u.next.Head, Key: target.Key}
	}
	if err := c.group.addEvent(item.Event, seq, c.tail.ordinal, subs, positions, keys); err != nil {
		return receipt{}, err
	}
	c.tail.live += liveSize(len(item.Event.Data))
	r.fresh = append(r.fresh, appended{i, seq, deliveries})
	r.receipts[i] = relay.Receipt{ID: id, Type: item.Event.Type, Matched: matched}
	return receipt{Seq: seq, Type: text(item.Event.Type), Matched: subs}, nil
}

// liveSize is about what an event takes, by the size of its data.
func liveSize(data int) int64 { return int64(data) + 3*rowWeight }

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

func (r *appendRequest) answer() chan error { return r.done }
