package postgres

import (
	"context"
	"time"

	"github.com/caddyrelay/caddyrelay/relay"
)

// Append implements [relay.Store].
func (s *Store) Append(ctx context.Context, b relay.Batch, stored func([]*relay.Event)) ([]relay.Receipt, error) {
	r := &appendRequest{batch: b, stored: stored, done: make(chan error, 1)}
	if err := s.submitNew(ctx, r); err != nil {
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
	r.receipts, r.fresh = nil, nil
	repeats, all, err := relay.Repeats(&r.batch, c)
	if err != nil || all != nil {
		r.receipts = all
		return err
	}
	if err := r.weigh(repeats); err != nil {
		return err
	}
	return r.write(c, repeats)
}

// Bounds of one batch: the server would take more, but not within the time that a group may
// take.
const (
	batchRows  = 50_000
	batchBytes = 32 << 20
)

// weigh refuses a batch that is too large, and says how much of it would fit.
func (r *appendRequest) weigh(repeats []relay.Repeat[receipt]) error {
	rows, bytes := 0, 0
	for i := range r.batch.Items {
		if !repeats[i].New() {
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
func (r *appendRequest) write(c *committer, repeats []relay.Repeat[receipt]) error {
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
			var err error
			if answers[i], err = r.add(c, i, now); err != nil {
				return c.spoil(err)
			}
			if item.Key != nil {
				if err := c.remember(repeats[i].Hash, item.Key.Sum, stored, answers[i:i+1]); err != nil {
					return c.spoil(err)
				}
			}
		}
	}
	if r.batch.Key != nil {
		if err := c.remember(r.batch.Key.Hash(), r.batch.Key.Sum, stored, answers); err != nil {
			return c.spoil(err)
		}
	}
	return nil
}

// add writes the event of item i with its entries.
func (r *appendRequest) add(c *committer, i int, now time.Time) (receipt, error) {
	item := &r.batch.Items[i]
	seq := relay.NextSeq(c.tail.last, now)
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
	r.fresh = append(r.fresh, relay.Appended{Item: i, Seq: seq, Deliveries: deliveries})
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
	if events := r.batch.Complete(r.receipts, r.fresh); r.stored != nil {
		r.stored(events)
	}
}

func (r *appendRequest) answer() chan error { return r.done }
