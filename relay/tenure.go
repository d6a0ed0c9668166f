package relay

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// tenure says whose the deliveries of a lane are. In a store with one user they are this
// engine's, for ever.
type tenure struct {
	// attempts is the parent of the contexts of attempts, cut ends it before the engine does.
	attempts context.Context
	cut      context.CancelCauseFunc
	// mirror says that this engine does not make them: the lane shows how they stand in the
	// store.
	mirror bool
	// rests says that nothing may begin: in a mirror, and while the subscription is handed over.
	rests bool
	// over says that another lane stands for the name; lost, that others had taken the
	// subscription before this lane could store all that it knew.
	over, lost bool
	// leaving is told when something has ended while the subscription is handed over; nil
	// while it is not.
	leaving *member
}

// errLost is the cause of the contexts of attempts that another relay makes again.
var errLost = fmt.Errorf("another relay makes the delivery: %w", errDraining)

// errMoved means that another engine carries a subscription, or will in a moment.
var errMoved = errors.New("the subscription is handed from one relay to another")

// ended tells whoever hands the subscription over that something of it has ended.
func (t *tenure) ended() {
	if t.leaving != nil {
		t.leaving.poke()
	}
}

// quiet reports whether the store knows all that the lane does, and nobody is about to change
// something. The caller holds the lock.
func (l *lane) quiet() bool {
	o := &l.outbox
	return len(l.inFlight) == 0 && len(l.retries.watches.all) == 0 &&
		!o.listed && o.flushing == nil && len(o.puts)+len(o.drops)+len(o.attempts) == 0
}

// replace puts a new lane in the place of one, which is over: whoever still has it finds it
// doing nothing. The caller holds the engine's lock and that of the lane.
func (r *Relay) replace(l *lane, p Progress) *lane {
	p.Head = max(p.Head, l.head) // what was appended meanwhile
	n := newLane(r, p)
	n.plan, n.sub = l.plan, l.sub
	r.lanes[l.name] = n
	l.abandon()
	return n
}

// abandon makes a lane let go of all that it has. The caller holds the lock.
func (l *lane) abandon() {
	t := &l.tenure
	t.mirror, t.rests, t.over, t.leaving = true, true, true, nil
	if t.cut != nil {
		t.cut(errLost)
	}
	l.unload()
	l.engine.schedule.set(l, time.Time{})
	for _, q := range []*retries{&l.retries, &l.waiting.retries} {
		q.held.Add(-int64(len(q.heap)))
		q.heap, q.byPos = nil, make(map[uint64]*retry)
	}
	l.order.count(-l.order.waiting)
	l.order = newOrder(&l.engine.behind)
	l.windows.clear()
	l.outbox = newOutbox(l.outbox.committed)
}

// carry makes the deliveries this engine's, from how they stand now. The caller holds the
// lock of the lane, of which nobody knows yet.
func (l *lane) carry() {
	l.tenure = tenure{}
	l.tenure.attempts, l.tenure.cut = context.WithCancelCause(l.engine.attempts)
	if l.sub != nil {
		l.pace.configure(l.sub.RateLimit)
		l.pace.goOn(&l.condition.Progress, time.Now())
	}
}

// reflect shows how the deliveries stand that another engine makes. The caller holds the lock.
func (l *lane) reflect(p Progress) {
	if p.Epoch < l.condition.Epoch {
		return
	}
	p.Head = max(p.Head, l.head)
	l.head = p.Head
	l.condition.Progress, l.outbox.committed = p, p
	l.cur = cursor{low: p.Low, done: p.Done}
	l.next = l.cur.skip(1)
	l.unread, l.retries.spilled = p.Open > 0, time.Time{}
	if l.unread {
		l.retries.spilled = p.NextDue
	}
}

// wasLost reports whether what the lane has told the store since it was last looked at may not
// be there.
func (l *lane) wasLost() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.tenure.lost
}
