package relay

import (
	"context"
	"errors"
	"slices"
	"time"
)

// Erase takes the data of an event away, and what its attempts keep of answers: nothing
// shows any of it from then on. Deliveries of it that were not made are failed, for the
// reason "erased"; one that is under way ends by itself. Erasing again changes nothing.
// The error is [ErrNotFound] if there is no such event.
func (r *Relay) Erase(ctx context.Context, id string) error {
	seq, err := r.store.Find(ctx, id)
	if err != nil {
		return err
	}
	e, err := r.store.Event(ctx, seq)
	if err != nil {
		return err
	}
	// Deliveries end first: with the data gone there is nothing that could be sent.
	here, elsewhere := r.split(e.Deliveries)
	if err := r.endAll(ctx, seq, here); err != nil {
		if !errors.Is(err, errMoved) {
			return err
		}
		elsewhere = append(elsewhere, here...) // once more, where they are now
	}
	for _, p := range elsewhere {
		if err := r.eraseElsewhere(ctx, e, p); err != nil {
			return err
		}
	}
	return r.store.Erase(ctx, seq, nil)
}

// endAll ends deliveries of an event that this engine makes.
func (r *Relay) endAll(ctx context.Context, seq Seq, places []Placement) error {
	lanes := make([]*lane, len(places))
	stored := make([]Placement, 0, len(places))
	for i, p := range places {
		lanes[i] = r.lane(p.Subscription)
		if !lanes[i].erase(p, seq, time.Now()) {
			stored = append(stored, p)
		}
	}
	if err := r.Flush(ctx); err != nil {
		return err
	}
	for _, p := range stored {
		if err := r.eraseStored(ctx, p); err != nil {
			return err
		}
	}
	if len(stored) > 0 {
		if err := r.Flush(ctx); err != nil {
			return err
		}
	}
	if slices.ContainsFunc(lanes, (*lane).wasLost) {
		return errMoved
	}
	return nil
}

// split tells the places of deliveries that this engine makes from those that others do.
func (r *Relay) split(places []Placement) (here, elsewhere []Placement) {
	if r.member == nil {
		return places, nil
	}
	for _, p := range places {
		if r.carries(p.Subscription) {
			here = append(here, p)
		} else {
			elsewhere = append(elsewhere, p)
		}
	}
	return here, elsewhere
}

// eraseElsewhere ends a delivery at the relay that makes it, if it is not over.
func (r *Relay) eraseElsewhere(ctx context.Context, e *Event, p Placement) error {
	l := r.lane(p.Subscription)
	l.mu.Lock()
	over := l.tenure.mirror && l.cur.has(p.Pos)
	l.mu.Unlock()
	if over {
		x, found, err := r.store.Exception(ctx, p.Subscription, p.Pos)
		if err != nil || !found || x.Kind.Closed() {
			return err
		}
	}
	_, err := routed(ctx, r, question{Do: doErase, Event: e.ID, Subscription: p.Subscription},
		func() (struct{}, error) { return struct{}{}, r.endAll(ctx, e.Seq, []Placement{p}) }, func(*reply) struct{} { return struct{}{} })
	return err
}

// erasedException is how a delivery ends whose event was erased.
func erasedException(pos uint64, s Seq, attempts int, now time.Time) Exception {
	return Exception{From: pos, To: pos, Seq: s, Kind: Erased, Attempts: attempts, At: now, Reason: string(ReasonErased)}
}

// erase ends a delivery as far as memory knows of it, and reports whether that is all.
func (l *lane) erase(p Placement, s Seq, now time.Time) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.tenure.mirror {
		return false
	}
	if j, ok := l.inFlight[p.Pos]; ok {
		j.erased = true
		return true
	}
	attempts, key := 0, ""
	if q, w := l.scheduled(p.Pos); w != nil {
		q.remove(w)
		if attempts, key = w.attempts, w.key; w.stored {
			l.condition.Open--
		}
	} else if l.cur.has(p.Pos) {
		return false
	} else if len(l.cur.done) >= spansMost {
		l.eraseInTurn(p.Pos, now)
		return true
	}
	if i := slices.IndexFunc(l.queue, func(e entry) bool { return e.pos == p.Pos }); i >= 0 {
		size := int64(len(l.queue[i].event.Data))
		l.queue = slices.Delete(l.queue, i, i+1)
		l.queued -= size
		l.engine.memory.Add(-size)
	}
	l.end(erasedException(p.Pos, s, attempts, now), key, now)
	return true
}

// spansMost bounds the spans of a log that erasures out of its middle leave: each commit writes
// all of them. Tests lower it.
var spansMost = 4096

// eraseInTurn leaves a delivery of the log to end when its turn comes, for its event has nothing
// then that could be sent. The caller holds the lock.
func (l *lane) eraseInTurn(pos uint64, now time.Time) {
	if l.erased == nil {
		l.erased = make(map[uint64]time.Time)
	}
	l.erased[pos] = now
	for i := range l.queue {
		l.strip(&l.queue[i])
	}
}

// strip takes the data from an entry whose event is erased, or will be in a moment: it may have
// been read before. The caller holds the lock.
func (l *lane) strip(e *entry) {
	at, gone := l.erased[e.pos]
	if !gone || !e.event.Erased.IsZero() {
		return
	}
	size := int64(len(e.event.Data))
	l.queued -= size
	l.engine.memory.Add(-size)
	bare := *e.event
	bare.Data, bare.Erased = nil, at
	e.event = &bare
}

// eraseStored ends a delivery that only the store knows, if it is open there.
func (r *Relay) eraseStored(ctx context.Context, p Placement) error {
	l := r.lane(p.Subscription)
	since, end := l.watch()
	defer end()
	x, found, err := r.store.Exception(ctx, p.Subscription, p.Pos)
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.tenure.mirror {
		return errMoved
	}
	now := time.Now()
	if j, ok := l.inFlight[p.Pos]; ok { // since then
		j.erased = true
		return nil
	}
	if newer, put, dropped := l.outbox.lookup(p.Pos); put {
		x, found = newer, true
	} else if dropped || since.has(p.Pos) {
		return nil // finished meanwhile
	}
	if err != nil || !found || x.Kind.Closed() || x.From != x.To {
		return err
	}
	if q, w := l.scheduled(p.Pos); w != nil {
		q.remove(w)
	}
	l.retries.leave(p.Pos)
	l.condition.Open--
	k := x.keys() // an event that was erased before has none
	l.order.forget(k.order, p.Pos)
	l.windows.forget(k.debounce, p.Pos)
	l.end(erasedException(p.Pos, x.Seq, x.Attempts, now), k.order, now)
	return nil
}

// end records that a delivery which is not under way is over, and failed. The caller holds
// the lock.
func (l *lane) end(x Exception, key string, now time.Time) {
	l.cur.finish(x.From)
	l.next = l.cur.skip(l.next)
	l.gaveUp(x)
	l.engine.settler.add(l)
	if line := l.order.lines[key]; key != "" && line != nil && line.head.pos == x.From {
		l.release(key, now)
	}
	l.advance(now)
}

// afterErasure is what the result of an attempt means whose event was erased meanwhile. A
// delivery stays one.
func (j *job) afterErasure(a *Attempt, v verdict) verdict {
	a.Error, a.Excerpt = "", nil
	switch v.end {
	case endDelivered:
		return v
	case endCut, endUnread, endUnavailable:
		*a = Attempt{} // not charged
	default:
	}
	return verdict{end: endErased}
}

// forget takes a delivery out of those that wait behind the head of its key.
func (o *order) forget(key string, pos uint64) {
	line := o.lines[key]
	if line == nil {
		return
	}
	if i := slices.IndexFunc(line.waiting, func(b behind) bool { return b.pos == pos }); i >= 0 {
		line.waiting = slices.Delete(line.waiting, i, i+1)
		o.count(-1)
	}
}
