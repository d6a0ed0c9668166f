package relay

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.uber.org/zap"
)

// Drop gives up everything that a subscription holds or has pending: it is recorded as
// failed, for the reason "dropped". What is in flight ends by itself.
func (r *Relay) Drop(ctx context.Context, name string) (SubscriptionStatus, error) {
	return r.steerAt(ctx, question{Do: doDrop, Subscription: name},
		func() (SubscriptionStatus, error) { return r.drop(ctx, name) })
}

func (r *Relay) drop(ctx context.Context, name string) (SubscriptionStatus, error) {
	var d *dropping
	status, err := r.steer(ctx, name, func(l *lane, now time.Time) error {
		if d = l.beginDrop(); d == nil { // first, so that it knows what memory lets go
			return ErrClosed
		}
		l.dropLog(now)
		l.dropMemory(now)
		l.order.count(-l.order.waiting)
		l.order = newOrder(&l.engine.behind)
		for _, j := range l.inFlight {
			j.dropped = j.polls
			if j.key != "" {
				l.order.claim(j.key, behindOf(&j.parcel))
			}
		}
		return nil
	})
	if err != nil {
		return status, err
	}
	select {
	case <-d.done:
	case err = <-d.delayed:
	case <-ctx.Done():
		err = context.Cause(ctx)
	}
	if err != nil {
		return status, fmt.Errorf("the drop goes on, but has not come to all that is in the store yet: %w", err)
	}
	if d.err != nil {
		return status, fmt.Errorf("dropping what is only in the store: %w", d.err)
	}
	return d.lane.status(ctx)
}

// dropping is a drop that goes through what is only in the store. Whoever asked for it waits,
// but need not: what memory let go nobody would attempt any more.
type dropping struct {
	lane *lane
	// head and cur are those of the log when the drop began, since collects what has changed from
	// then on.
	head  uint64
	cur   cursor
	since *watch
	// delayed has room for the first error after which it is tried again.
	delayed chan error
	// done is closed at the end, after err was set.
	done chan struct{}
	err  error
}

// beginDrop has what is only in the store given up in the background. Until that is done, nothing
// is taken from there into memory, and what a scan under way has found does not count. It
// returns nil if the engine closes. The caller holds the lock.
func (l *lane) beginDrop() *dropping {
	d := &dropping{
		lane: l, head: l.head, cur: l.cur.clone(), since: l.retries.watch(),
		delayed: make(chan error, 1), done: make(chan struct{}),
	}
	if !l.engine.inBackground(d.run) {
		l.retries.unwatch(d.since)
		return nil
	}
	l.drops++
	l.retries.outdated = true
	return d
}

// run ends with what it is about, with the engine, or when another one carries the subscription.
func (d *dropping) run() {
	l := d.lane
	ctx := l.engine.attempts
	defer close(d.done)
	for after := uint64(0); ; {
		if after, d.err = l.dropStored(ctx, d, after); d.err == nil || errors.Is(d.err, errMoved) {
			break
		}
		if ctx.Err() != nil || errors.Is(d.err, ErrClosed) {
			break
		}
		l.engine.storeFailed("read", d.err, zap.String("subscription", l.name))
		select {
		case d.delayed <- d.err:
		default:
		}
		select {
		case <-ctx.Done():
		case <-time.After(storePause):
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.retries.unwatch(d.since)
	l.drops--
	l.advance(time.Now())
}

// dropLog gives up what was not attempted yet. The caller holds the lock.
func (l *lane) dropLog(now time.Time) {
	l.unload()
	busy := l.cur.clone()
	for pos := range l.inFlight {
		busy.finish(pos)
	}
	for pos := range l.retries.byPos {
		busy.finish(pos)
	}
	for from := busy.skip(l.cur.low + 1); from <= l.head; from = busy.skip(from) {
		to := from
		for to < l.head && !busy.has(to+1) {
			to++
		}
		l.gaveUp(Exception{From: from, To: to, Kind: Failed, At: now, Reason: string(ReasonDropped)})
		l.cur.finishSpan(Span{from, to})
		busy.finishSpan(Span{from, to})
	}
	l.next, l.erased = l.cur.skip(l.next), nil
}

// dropMemory gives up the retries that are in memory, and what waits there. The caller holds
// the lock.
func (l *lane) dropMemory(now time.Time) {
	for _, q := range []*retries{&l.retries, &l.waiting.retries} {
		for len(q.heap) > 0 {
			w := q.first()
			q.remove(w)
			l.gaveUp(droppedException(&w.parcel, now))
			if w.stored {
				l.condition.Open--
			} else {
				l.cur.finish(w.pos)
			}
		}
		q.spilled = time.Time{} // what is only in the store is dropped next
	}
	for _, w := range l.windows.heap {
		x := w.newest.exception(Failed, now)
		x.Due, x.Reason = time.Time{}, string(ReasonDropped)
		l.gaveUp(x)
		l.retries.leave(x.From)
		l.condition.Open--
	}
	l.windows.clear()
}

// droppedException is how a delivery ends that the operator gives up.
func droppedException(p *parcel, now time.Time) Exception {
	return Exception{
		From: p.pos, To: p.pos, Seq: p.seq, Kind: Failed, Attempts: p.attempts, At: now, Reason: string(ReasonDropped),
	}
}

// gaveUp records that deliveries end without an attempt, by a closed exception. The caller
// holds the lock.
func (l *lane) gaveUp(x Exception) {
	l.outbox.put(x)
	n := x.To - x.From + 1
	l.condition.count(x.Kind, int64(n))
	l.engine.observer().Settled(l.name, x.Kind.state(), n)
	l.engine.feed.ended(l, x)
}

// dropPage is the number of exceptions that are given up in one transaction.
const dropPage = 1000

// dropStored gives up what is only in the store, after a position. It returns how far it came.
func (l *lane) dropStored(ctx context.Context, d *dropping, after uint64) (uint64, error) {
	for {
		if err := l.engine.Flush(ctx); err != nil {
			return after, err
		}
		open, err := l.engine.store.Open(ctx, l.name, after, dropPage)
		if err != nil || len(open) == 0 {
			return after, err
		}
		now := time.Now()
		l.mu.Lock()
		if l.tenure.mirror {
			l.mu.Unlock()
			return after, errMoved
		}
		for _, x := range open {
			after = x.From
			switch {
			case x.From > d.head || l.known(x.From) || d.since.has(x.From):
			case !d.cur.has(x.From): // adopted before a crash, and given up with the log, unread
				l.outbox.drops[x.From] = struct{}{}
			default:
				l.dropOne(x, now)
			}
		}
		l.engine.settler.add(l)
		l.mu.Unlock()
		if after >= d.head {
			return after, l.engine.Flush(ctx)
		}
	}
}

// dropOne gives up what only the store has of a delivery, but for its place among others of
// its key, which memory may have taken up since the drop began. The caller holds the lock.
func (l *lane) dropOne(x Exception, now time.Time) {
	k := x.keys()
	switch x.Kind {
	case Ordered:
		l.order.forget(k.order, x.From)
	case Debounced:
		l.windows.forget(k.debounce, x.From)
	default:
	}
	x.Kind, x.At, x.Due, x.Reason = Failed, now, time.Time{}, string(ReasonDropped)
	l.gaveUp(x)
	l.condition.Open--
	l.retries.leave(x.From)
	if line := l.order.lines[k.order]; line != nil && line.head.pos == x.From {
		l.release(k.order, now)
	}
}
