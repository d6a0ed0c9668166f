package relay

import (
	"context"
	"slices"
	"time"

	"go.uber.org/zap"
)

// Inspect returns an event with its deliveries and their attempts, or [ErrNotFound].
func (r *Relay) Inspect(ctx context.Context, id string) (*Event, []Delivery, error) {
	seq, err := r.store.Find(ctx, id)
	if err != nil {
		return nil, nil, err
	}
	e, err := r.store.Event(ctx, seq)
	if err != nil {
		return nil, nil, err
	}
	r.lookAt(ctx, e)
	deliveries := make([]Delivery, len(e.Deliveries))
	for i, p := range e.Deliveries {
		if deliveries[i], err = r.delivery(ctx, e, p); err != nil {
			return nil, nil, err
		}
	}
	if err := r.askAhead(ctx, deliveries); err != nil {
		return nil, nil, err
	}
	r.flushForReading(ctx) // after the states: no state is shown without the attempt that led to it
	for i := range deliveries {
		d := &deliveries[i]
		if d.Attempts, err = r.store.Attempts(ctx, e.Seq, d.Subscription); err != nil {
			return nil, nil, err
		}
		d.countAttempts()
	}
	return e, deliveries, nil
}

// Event returns an event with its data, or [ErrNotFound].
func (r *Relay) Event(ctx context.Context, id string) (*Event, error) {
	seq, err := r.store.Find(ctx, id)
	if err != nil {
		return nil, err
	}
	return r.store.Event(ctx, seq)
}

// DeliveriesOf returns deliveries of one event with the last attempt of each: those whose
// places are given, which are some of the event's own.
func (r *Relay) DeliveriesOf(ctx context.Context, e *Event, places []Placement) ([]Delivery, error) {
	r.flushForReading(ctx)
	r.lookAt(ctx, e)
	deliveries := make([]Delivery, len(places))
	for i, p := range places {
		d, err := r.delivery(ctx, e, p)
		if err == nil {
			err = r.lastAttempt(ctx, &d, e.Seq)
		}
		if err != nil {
			return nil, err
		}
		deliveries[i] = d
	}
	return deliveries, r.askAhead(ctx, deliveries)
}

// Delivery returns one delivery of an event with its attempts, or [ErrNoDelivery].
func (r *Relay) Delivery(ctx context.Context, e *Event, subscription string) (Delivery, error) {
	i := slices.IndexFunc(e.Deliveries, func(p Placement) bool { return p.Subscription == subscription })
	if i < 0 {
		return Delivery{}, ErrNoDelivery
	}
	r.look(ctx, subscription)
	one := make([]Delivery, 1)
	d := &one[0]
	var err error
	if *d, err = r.delivery(ctx, e, e.Deliveries[i]); err == nil {
		err = r.askAhead(ctx, one)
	}
	if err != nil {
		return *d, err
	}
	r.flushForReading(ctx) // after the state: it is not shown without the attempt that led to it
	d.Attempts, err = r.store.Attempts(ctx, e.Seq, subscription)
	d.countAttempts()
	return *d, err
}

// lastAttempt fills in the last attempt, where there was one, and with it the number.
func (r *Relay) lastAttempt(ctx context.Context, d *Delivery, s Seq) error {
	attempts, err := r.store.Attempts(ctx, s, d.Subscription)
	d.Attempts = attempts[max(0, len(attempts)-1):]
	d.countAttempts()
	return err
}

// flushForReading makes the store have every attempt that states and counts speak of. If
// it cannot, readers see attempts a little later: that is better than no answer.
func (r *Relay) flushForReading(ctx context.Context) {
	if r.stalled.Load() {
		return
	}
	if err := r.Flush(ctx); err != nil {
		r.logger.Debug("reading before outcomes are stored", zap.Error(err))
	}
}

// countAttempts takes the number of attempts from the last record, where there is one:
// a delivered one has no exception that would know it.
func (d *Delivery) countAttempts() {
	if n := len(d.Attempts); n > 0 {
		d.AttemptCount = max(d.AttemptCount, d.Attempts[n-1].Number)
	}
}

// delivery returns what a delivery is in, without its attempts. Its AttemptCount is 0 if
// only the attempts' records know it.
func (r *Relay) delivery(ctx context.Context, e *Event, p Placement) (Delivery, error) {
	d := Delivery{Event: e.ID, EventType: e.Type, Accepted: e.Accepted, Subscription: p.Subscription}
	l := r.lane(p.Subscription)
	if l.stateInMemory(&d, p.Pos) {
		return d, r.waitingFor(ctx, &d, p)
	}
	x, ok, err := r.store.Exception(ctx, p.Subscription, p.Pos)
	if err != nil {
		return d, err
	}
	r.wall.bring(&x)
	l.mu.Lock()
	if ok {
		l.stateOf(&d, x)
	} else {
		d.State = StateDelivered
	}
	l.mu.Unlock()
	return d, r.waitingFor(ctx, &d, p)
}

// stateInMemory fills in what the lane knows by itself, and reports whether that is all.
func (l *lane) stateInMemory(d *Delivery, pos uint64) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.recall(d, pos)
}

// recall is stateInMemory for who holds the lock.
func (l *lane) recall(d *Delivery, pos uint64) bool {
	if l.sub != nil {
		d.Region = l.sub.Region
	}
	if j, ok := l.inFlight[pos]; ok && j.polls {
		l.stateOf(d, Exception{Kind: Waiting, Attempts: j.attempts, Step: j.step, Due: time.Now()})
		return true
	} else if ok {
		d.AttemptCount = j.attempts
		d.State = StatePending
		if j.step > 0 {
			d.State = StateRetrying
		}
		return true
	}
	if q, w := l.scheduled(pos); w != nil {
		x := Exception{Kind: Retry, Attempts: w.attempts, Step: w.step, Due: w.due}
		if q == &l.waiting.retries {
			x.Kind = Waiting
		}
		l.stateOf(d, x)
		return true
	}
	switch x, found, dropped := l.outbox.lookup(pos); {
	case found:
		l.stateOf(d, x)
		return true
	case dropped:
		d.State = StateDelivered
		return true
	}
	if l.cur.has(pos) {
		return false
	}
	l.stateOf(d, Exception{Kind: Retry})
	return true
}

// stateOf translates an exception, and what holds the subscription, into a state. The
// caller holds the lock.
func (l *lane) stateOf(d *Delivery, x Exception) {
	d.AttemptCount = x.Attempts
	switch {
	case x.Kind.Closed():
		d.State, d.Reason = x.Kind.state(), Reason(x.Reason)
	default:
		reason, until := l.shown(time.Now())
		d.Reason, d.NextAttempt = reason, x.Due
		if reason == ReasonNone {
			switch x.Kind {
			case Ordered:
				reason, until = ReasonOrder, time.Time{}
			case Debounced:
				reason, until = ReasonDebounce, x.Due
			case Waiting:
				reason, until = ReasonWaiting, x.Due
			default:
			}
			d.Reason = reason
		}
		if reason != ReasonNone && (until.IsZero() || until.After(x.Due)) {
			d.NextAttempt = until
		}
		switch { // by the step, since a replay begins anew after attempts of long ago
		case x.Step > 0:
			d.State = StateRetrying
		case reason != ReasonNone:
			d.State = StateHeld
		default:
			d.State = StatePending
		}
	}
}
