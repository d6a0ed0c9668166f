package relay

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"
)

// UnknownNameError means that there is no subscription of that name, neither in the
// configuration nor with deliveries left.
type UnknownNameError struct{ Name string }

func (e *UnknownNameError) Error() string {
	return fmt.Sprintf("there is no subscription named %q", e.Name)
}

// ErrPausedByConfiguration means that a pause cannot be ended from outside.
var ErrPausedByConfiguration = errors.New("the configuration pauses the subscription; take the word \"paused\" out and reload")

// Pause holds the deliveries of a subscription until it is resumed. The pause is stored.
func (r *Relay) Pause(ctx context.Context, name, reason string) (SubscriptionStatus, error) {
	return r.steerAt(ctx, question{Do: doPause, Subscription: name, Reason: reason},
		func() (SubscriptionStatus, error) { return r.pause(ctx, name, reason) })
}

func (r *Relay) pause(ctx context.Context, name, reason string) (SubscriptionStatus, error) {
	return r.steer(ctx, name, func(l *lane, _ time.Time) error {
		l.condition.Paused, l.condition.PausedReason = true, reason
		return nil
	})
}

// Resume ends a pause, or whatever else holds a subscription, but for the configuration:
// then the error is [ErrPausedByConfiguration]. Everything held or retrying is due at
// once, also where nothing was held.
func (r *Relay) Resume(ctx context.Context, name string) (SubscriptionStatus, error) {
	return r.steerAt(ctx, question{Do: doResume, Subscription: name},
		func() (SubscriptionStatus, error) { return r.resume(ctx, name) })
}

func (r *Relay) resume(ctx context.Context, name string) (SubscriptionStatus, error) {
	return r.steer(ctx, name, func(l *lane, now time.Time) error {
		if l.sub != nil && l.sub.Paused {
			return ErrPausedByConfiguration
		}
		l.condition.resume(now)
		l.retries.dueAll(now)
		l.waiting.dueAll(now)
		l.waiting.restUntil = time.Time{}
		l.windows.endAll(now)
		return nil
	})
}

// Drop gives up everything that a subscription holds or has pending: it is recorded as
// failed, for the reason "dropped". What is in flight ends by itself.
func (r *Relay) Drop(ctx context.Context, name string) (SubscriptionStatus, error) {
	return r.steerAt(ctx, question{Do: doDrop, Subscription: name},
		func() (SubscriptionStatus, error) { return r.drop(ctx, name) })
}

func (r *Relay) drop(ctx context.Context, name string) (SubscriptionStatus, error) {
	status, err := r.steer(ctx, name, func(l *lane, now time.Time) error {
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
	l := r.lane(name)
	if err := l.dropStored(ctx); err != nil {
		return status, fmt.Errorf("dropping what is only in the store: %w", err)
	}
	return l.status(ctx)
}

// dropLog gives up what was not attempted yet. The caller holds the lock.
func (l *lane) dropLog(now time.Time) {
	l.unload()
	busy := l.cur
	busy.done = slices.Clone(busy.done)
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
	l.next = l.cur.skip(l.next)
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

// dropStored gives up what is only in the store.
func (l *lane) dropStored(ctx context.Context) error {
	since, end := l.watch()
	defer end()
	for after := uint64(0); ; {
		if err := l.engine.Flush(ctx); err != nil {
			return err
		}
		open, err := l.engine.store.Open(ctx, l.name, after, dropPage)
		if err != nil || len(open) == 0 {
			return err
		}
		now := time.Now()
		l.mu.Lock()
		if l.tenure.mirror {
			l.mu.Unlock()
			return errMoved
		}
		for _, x := range open {
			after = x.From
			if l.known(x.From) || since.has(x.From) {
				continue
			}
			l.dropOne(x, now)
		}
		l.engine.settler.add(l)
		l.mu.Unlock()
	}
}

// dropOne gives up what only the store has of a delivery, but for its place among others of
// its key, which memory may have taken up since the drop began. The caller holds the lock.
func (l *lane) dropOne(x Exception, now time.Time) {
	key := x.Key
	switch x.Kind {
	case Ordered:
		l.order.forget(key, x.From)
	case Debounced:
		key = ""
		l.windows.forget(unpackKeys(x.Key).debounce, x.From)
	default:
	}
	x.Kind, x.At, x.Due, x.Reason = Failed, now, time.Time{}, string(ReasonDropped)
	l.gaveUp(x)
	l.condition.Open--
	l.retries.leave(x.From)
	if line := l.order.lines[key]; line != nil && line.head.pos == x.From {
		l.release(key, now)
	}
}

// steer changes a lane, stores the change, and returns the status after it.
func (r *Relay) steer(ctx context.Context, name string, change func(*lane, time.Time) error) (SubscriptionStatus, error) {
	r.mu.RLock()
	l := r.lanes[name]
	r.mu.RUnlock()
	if l == nil {
		return SubscriptionStatus{}, &UnknownNameError{name}
	}
	now := time.Now()
	l.mu.Lock()
	switch {
	case l.tenure.mirror:
		l.mu.Unlock()
		return SubscriptionStatus{}, errMoved
	case l.sub == nil && l.pending() == 0:
		l.mu.Unlock()
		return SubscriptionStatus{}, &UnknownNameError{name}
	}
	err := change(l, now)
	if err == nil {
		r.settler.add(l)
	}
	l.advance(now)
	l.mu.Unlock()
	if err != nil {
		return SubscriptionStatus{}, err
	}
	if err := r.Flush(ctx); err != nil {
		return SubscriptionStatus{}, fmt.Errorf("the change holds, but is not stored yet: %w", err)
	}
	if l.wasLost() {
		return SubscriptionStatus{}, errMoved
	}
	return l.status(ctx)
}

// steerAt changes a subscription where it is carried.
func (r *Relay) steerAt(ctx context.Context, q question, here func() (SubscriptionStatus, error)) (SubscriptionStatus, error) {
	if !r.knows(q.Subscription) {
		return SubscriptionStatus{}, &UnknownNameError{q.Subscription}
	}
	return routed(ctx, r, q, here, func(a *reply) SubscriptionStatus { return a.Status })
}

// knows reports whether there is a subscription of that name: in the plan, with deliveries
// left, or carried by another relay, which may have another plan.
func (r *Relay) knows(name string) bool {
	r.mu.RLock()
	l := r.lanes[name]
	r.mu.RUnlock()
	if l == nil {
		return false
	}
	if r.member != nil && r.member.store.Carrier(name) != "" {
		return true
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.sub != nil || l.pending() > 0
}

// TopicTest is the type of the event that [Relay.Test] makes.
const TopicTest Topic = "relay.test"

// Test sends an event of the type "relay.test" to one subscription, whatever its topics
// are, as any other delivery.
func (r *Relay) Test(ctx context.Context, name string) (Receipt, error) {
	plan := r.matching.Load()
	if plan == nil || plan.byName[name] == nil {
		return Receipt{}, &UnknownNameError{name}
	}
	receipts, err := r.store.Append(ctx, Batch{Items: []Item{{
		Event: &Event{
			Type: string(TopicTest), Source: "relay", Subject: name,
			ContentType: "application/json", Data: []byte(`{"test":true}`), Only: []string{name},
		},
		Targets: []Target{{Subscription: name}},
	}}}, r.offer)
	if err != nil {
		return Receipt{}, err
	}
	return receipts[0], nil
}
