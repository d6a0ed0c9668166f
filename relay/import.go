package relay

import (
	"context"
	"errors"
	"time"
)

// Import takes events that another store gave out. They keep their IDs and the states of
// their deliveries; what was due there is due here. Those that are here already are left out.
// It returns how many were taken, also with an error.
func (r *Relay) Import(ctx context.Context, all []Moved) (taken int, err error) {
	mover, err := r.mover(ctx)
	if err != nil {
		return 0, err
	}
	if err := r.carryAll(ctx, all); err != nil {
		return 0, err
	}
	for len(all) > 0 {
		part := all
		n, err := mover.Adopt(ctx, part, r.takeIn)
		if large, ok := errors.AsType[*BatchTooLargeError](err); ok && large.Fits > 0 {
			part = all[:large.Fits]
			n, err = mover.Adopt(ctx, part, r.takeIn)
		}
		taken += n
		if err != nil {
			return taken, err
		}
		all = all[len(part):]
	}
	return taken, nil
}

// carryAll makes this engine the one that delivers all that is to be taken: it is to mark what
// was made elsewhere.
func (r *Relay) carryAll(ctx context.Context, all []Moved) error {
	if r.member == nil {
		return nil
	}
	seen := make(map[string]bool)
	for i := range all {
		for _, p := range all[i].Event.Deliveries {
			if seen[p.Subscription] {
				continue
			}
			seen[p.Subscription] = true
			if err := r.member.obtain(ctx, p.Subscription); err != nil {
				return err
			}
		}
	}
	return nil
}

// takeIn hands adopted events to their lanes. The store calls it in commit order.
func (r *Relay) takeIn(adopted []Moved) {
	now := time.Now()
	for i := range adopted {
		m := &adopted[i]
		for j, p := range m.Event.Deliveries {
			l := r.lane(p.Subscription)
			l.mu.Lock()
			l.takeIn(m.Exceptions[j], now)
			if j < len(m.Attempts) {
				for _, a := range m.Attempts[j] {
					l.outbox.attempt(m.Event.Seq, p.Pos, a)
				}
			}
			r.settler.add(l)
			l.advance(now)
			l.mu.Unlock()
		}
	}
}

// takeIn marks a position that came with its exception. Who reads the store may have met it
// before. The caller holds the lock.
func (l *lane) takeIn(x Exception, now time.Time) {
	l.head = max(l.head, x.From)
	if l.cur.has(x.From) {
		return
	}
	l.cur.finish(x.From)
	l.next = l.cur.skip(l.next)
	l.engine.settler.add(l)
	switch {
	case x.Kind == Delivered: // from here on the mark says so
		l.condition.count(x.Kind, 1)
		l.outbox.drops[x.From] = struct{}{}
		return
	case x.Kind.Closed():
		l.condition.count(x.Kind, 1)
		return
	}
	l.condition.Open++
	if _, put, dropped := l.outbox.lookup(x.From); put || dropped || l.known(x.From) {
		return
	}
	p := parcelOf(&x)
	switch {
	case p.key == "":
	case l.unread: // whose turn it is will be seen when the store is read
		l.order.line(p.key).queue(&l.order, behindOf(&p))
		l.outbox.put(p.exception(Ordered, now))
		l.retries.leave(p.pos)
		l.retries.spill(now)
		return
	case !l.claim(&p):
		l.outbox.put(p.exception(Ordered, now))
		return
	}
	l.retries.add(&retry{parcel: p, due: x.Due})
}

// carried returns the exceptions of those of the entries that were adopted, by position:
// after a crash their positions may not be marked.
func (l *lane) carried(entries []Entry) (map[uint64]Exception, error) {
	var found map[uint64]Exception
	for _, e := range entries {
		if !e.Event.Moved {
			continue
		}
		x, ok, err := l.engine.store.Exception(context.Background(), l.name, e.Pos)
		if err != nil {
			return nil, err
		}
		if ok {
			if found == nil {
				found = make(map[uint64]Exception)
			}
			l.engine.wall.bring(&x)
			found[e.Pos] = x
		}
	}
	return found, nil
}

// ImportKeys takes idempotency keys of another store, and returns how many were new.
func (r *Relay) ImportKeys(ctx context.Context, keys []MovedKey) (taken int, err error) {
	mover, err := r.mover(ctx)
	if err != nil {
		return 0, err
	}
	for len(keys) > 0 {
		part := keys
		n, err := mover.AdoptKeys(ctx, part)
		if large, ok := errors.AsType[*BatchTooLargeError](err); ok && large.Fits > 0 {
			part = keys[:large.Fits]
			n, err = mover.AdoptKeys(ctx, part)
		}
		taken += n
		if err != nil {
			return taken, err
		}
		keys = keys[len(part):]
	}
	return taken, nil
}

// ImportSteering pauses and disables what was so elsewhere. It ends neither.
func (r *Relay) ImportSteering(ctx context.Context, s Steering) error {
	if err := r.member.obtain(ctx, s.Subscription); err != nil {
		return err
	}
	l := r.lane(s.Subscription)
	l.mu.Lock()
	c := &l.condition
	if s.Paused && !c.Paused {
		c.Paused, c.PausedReason = true, s.PausedReason
	}
	if s.Disabled && !c.Disabled {
		c.Disabled, c.DisabledReason = true, s.DisabledReason
	}
	r.settler.add(l)
	l.mu.Unlock()
	return r.Flush(ctx)
}

// ImportEgress goes on from what was announced of addresses elsewhere, if nothing was
// announced here yet, and reports whether it does.
func (r *Relay) ImportEgress(note []byte) (bool, error) { return r.publisher.takeOver(note) }
