package relay

import (
	"maps"
	"slices"
)

// updateBytes bounds the excerpts in one [Update], so that it fits into one
// transaction of the store.
const updateBytes = 256 << 10

// outbox collects what a lane has to tell the store with the next flush.
type outbox struct {
	puts     map[uint64]Exception
	drops    map[uint64]struct{}
	attempts []AttemptRecord
	// listed says that the lane is among those that the settler will flush.
	listed bool
	// flushing and flushingDrops are those of a flush that is under way: no longer in
	// puts and drops, not yet sure to be in the store.
	flushing      map[uint64]Exception
	flushingDrops map[uint64]struct{}
	// committed is what the store holds.
	committed Progress
}

func newOutbox(p Progress) outbox {
	return outbox{puts: make(map[uint64]Exception), drops: make(map[uint64]struct{}), committed: p}
}

func (o *outbox) put(x Exception) {
	delete(o.drops, x.From)
	o.puts[x.From] = x
}

// drop notes that a delivery succeeded.
func (o *outbox) drop(j *job) {
	delete(o.puts, j.pos)
	if j.stored {
		o.drops[j.pos] = struct{}{}
	}
}

func (o *outbox) attempt(s Seq, pos uint64, a Attempt) {
	o.attempts = append(o.attempts, AttemptRecord{Seq: s, Pos: pos, Attempt: a})
}

// lookup returns what is known of a position that the store may not know yet: an
// exception, or that it was dropped. What is newer counts.
func (o *outbox) lookup(pos uint64) (x Exception, found, dropped bool) {
	if x, found = o.puts[pos]; found {
		return x, true, false
	}
	if _, dropped = o.drops[pos]; dropped {
		return x, false, true
	}
	if x, found = o.flushing[pos]; found {
		return x, true, false
	}
	_, dropped = o.flushingDrops[pos]
	return x, false, dropped
}

// flushed notes that a flush is in the store.
func (o *outbox) flushed() { o.flushing, o.flushingDrops = nil, nil }

// updates returns what to commit, in order, and empties the outbox. The caller holds
// the lane's lock.
func (l *lane) updates() []Update {
	o := &l.outbox
	o.listed = false
	if l.tenure.mirror {
		return nil
	}
	last := Update{
		Progress: l.condition.Progress,
		Put:      slices.Collect(maps.Values(o.puts)),
		Drop:     slices.Collect(maps.Keys(o.drops)),
		Attempts: o.attempts,
	}
	last.Progress.Head = l.head
	last.Progress.Low, last.Progress.Done = l.cur.low, slices.Clone(l.cur.done)
	last.Progress.NextDue = l.firstDue()

	var all []Update
	for len(last.Attempts) > 0 {
		n, size := 0, 0
		for n < len(last.Attempts) && (n == 0 || size < updateBytes) {
			size += len(last.Attempts[n].Excerpt) + len(last.Attempts[n].Error) + 64
			n++
		}
		if n == len(last.Attempts) {
			break
		}
		// Attempts may be in the store before the progress that they led to, never after
		// it: the records explain the state, not the reverse.
		all = append(all, Update{Progress: o.committed, Attempts: last.Attempts[:n]})
		last.Attempts = last.Attempts[n:]
	}
	all = append(all, last)

	o.committed = last.Progress
	o.flushing, o.flushingDrops = o.puts, o.drops
	o.puts, o.drops, o.attempts = make(map[uint64]Exception), make(map[uint64]struct{}), nil
	return all
}
