package relay

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"
)

// Errors of a replay.
var (
	// ErrUnfinished means that a delivery is still being made.
	ErrUnfinished = errors.New("the delivery is not finished; it will be attempted by itself, or resume its subscription")
	// ErrNoDelivery means that an event was never meant for a subscription.
	ErrNoDelivery = errors.New("the event has no delivery for the subscription; replay those that are missing")
)

// Replay reopens one finished delivery: its schedule starts anew, its attempts number on,
// and the receiver sees the same webhook-id.
func (r *Relay) Replay(ctx context.Context, id, subscription string) error {
	e, err := r.Event(ctx, id)
	switch {
	case err != nil:
		return err
	case !slices.Contains(e.Matched(), subscription):
		return ErrNoDelivery
	}
	return r.replayAt(ctx, id, subscription, func() error { return r.replayHere(ctx, e, subscription) })
}

// replayAt reopens a delivery where its subscription is carried.
func (r *Relay) replayAt(ctx context.Context, id, subscription string, here func() error) error {
	_, err := routed(ctx, r, question{Do: doReplay, Event: id, Subscription: subscription},
		func() (struct{}, error) { return struct{}{}, here() }, func(*reply) struct{} { return struct{}{} })
	return err
}

// replayHere reopens a delivery, and returns when that is stored.
func (r *Relay) replayHere(ctx context.Context, e *Event, subscription string) error {
	l := r.lane(subscription)
	if err := r.replay(ctx, e, subscription); err != nil {
		return err
	}
	if err := r.Flush(ctx); err != nil {
		return err
	}
	if l.wasLost() {
		return errMoved
	}
	return nil
}

// replay reopens a delivery of an event.
func (r *Relay) replay(ctx context.Context, e *Event, subscription string) error {
	i := slices.IndexFunc(e.Deliveries, func(p Placement) bool { return p.Subscription == subscription })
	if i < 0 {
		return ErrNoDelivery
	}
	if !e.Erased.IsZero() {
		return ErrErased
	}
	p := e.Deliveries[i]
	l := r.lane(subscription)
	// One at a time: what the store is asked for next may be a part of a span that another
	// replay splits.
	select {
	case l.replaying <- struct{}{}:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	defer func() { <-l.replaying }()
	since, end := l.watch()
	defer end()
	if err := r.Flush(ctx); err != nil {
		return err
	}
	attempts, err := r.store.Attempts(ctx, e.Seq, subscription)
	if err != nil {
		return err
	}
	x, found, err := r.store.Exception(ctx, subscription, p.Pos)
	if err != nil {
		return err
	}
	made := x.Attempts
	if n := len(attempts); n > 0 {
		made = max(made, attempts[n-1].Number)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.tenure.mirror {
		return errMoved
	}
	_, put, dropped := l.outbox.lookup(p.Pos) // since the store was asked
	if put || dropped || since.has(p.Pos) || l.known(p.Pos) || !l.cur.has(p.Pos) || (found && !x.Kind.Closed()) {
		return ErrUnfinished
	}
	now := time.Now()
	if found {
		l.condition.count(x.Kind, -1)
		l.outbox.split(x, p.Pos)
	}
	again := parcel{pos: p.Pos, seq: e.Seq, attempts: made, stored: true, marks: marks{replayed: true}}
	if l.sub == nil || l.sub.OrderBy != nil { // what is gone may come back in order
		again.key = unpackKeys(p.Key).order
	}
	l.condition.Open++
	l.lineUp(&again, now)
	l.advance(now)
	return nil
}

// split takes one position out of a span that was given up.
func (o *outbox) split(x Exception, pos uint64) {
	if x.From == x.To {
		return // what takes its place is put under the same position
	}
	if x.From == pos {
		o.drops[x.From] = struct{}{}
	}
	before, after := x, x
	before.To, after.From = pos-1, pos+1
	after.Seq = 0
	for _, part := range []Exception{before, after} {
		if part.From <= part.To {
			o.put(part)
		}
	}
}

// Selection says which deliveries a replay is about.
type Selection string

// Selections. All of them look at events accepted in a window of time.
const (
	SelectFailed  Selection = "failed"  // deliveries that were given up
	SelectAll     Selection = "all"     // every finished delivery
	SelectMissing Selection = "missing" // events that match today and have no delivery
)

// Selections lists all selections.
var Selections = []Selection{SelectFailed, SelectAll, SelectMissing}

// SelectionError means that a selection is none of [Selections].
type SelectionError struct{ Select Selection }

func (e *SelectionError) Error() string {
	return fmt.Sprintf("%q selects nothing; there are failed, all and missing", e.Select)
}

// ReplayRequest asks for a replay of many.
type ReplayRequest struct {
	Subscription string
	Select       Selection
	// Since is inclusive and Until exclusive, on acceptance time; zero: open.
	Since, Until time.Time
	// Rate bounds the deliveries reopened a second. Default: 100.
	Rate int
}

// defaultReplayRate is in deliveries a second.
const defaultReplayRate = 100

func (q *ReplayRequest) covers(s Seq) bool {
	at := s.Time()
	return !at.Before(q.Since) && (q.Until.IsZero() || at.Before(q.Until))
}

// selected returns what a replay is about, oldest first.
func (r *Relay) selected(ctx context.Context, q *ReplayRequest) ([]LogEntry, error) {
	if q.Select == SelectMissing {
		return r.missing(ctx, q)
	}
	var all []LogEntry
	for before := uint64(0); ; {
		page, err := r.store.Log(ctx, q.Subscription, before, scanBound)
		if err != nil {
			return nil, err
		}
		for _, entry := range page {
			if q.covers(entry.Seq) {
				all = append(all, entry)
			}
		}
		if len(page) < scanBound {
			slices.Reverse(all)
			return all, nil
		}
		before = page[len(page)-1].Pos
	}
}

// missing returns the events without a place in the subscription's log that it would
// match today. Their Pos is 0.
func (r *Relay) missing(ctx context.Context, q *ReplayRequest) ([]LogEntry, error) {
	plan := r.matching.Load()
	if plan == nil || plan.byName[q.Subscription] == nil {
		return nil, &UnknownNameError{q.Subscription}
	}
	var all []LogEntry
	query := EventQuery{Since: q.Since, Until: q.Until, Limit: scanBound}
	for {
		page, err := r.store.Events(ctx, query)
		if err != nil {
			return nil, err
		}
		for _, e := range page.Events {
			has := slices.ContainsFunc(e.Deliveries, func(p Placement) bool { return p.Subscription == q.Subscription })
			if has || !e.Erased.IsZero() {
				continue
			}
			wanted, err := r.wants(ctx, plan, plan.byName[q.Subscription], e)
			if err != nil {
				return nil, err
			}
			if wanted {
				all = append(all, LogEntry{Seq: e.Seq})
			}
		}
		if page.Next == 0 {
			slices.Reverse(all)
			return all, nil
		}
		query.Before = page.Next
	}
}

// wants reports whether a subscription wants an event of a list, which comes without data.
func (r *Relay) wants(ctx context.Context, plan *Plan, s *Subscription, e *Event) (bool, error) {
	if !s.addressed(e) {
		return false, nil
	}
	if !s.selective() {
		return true, nil
	}
	whole, err := r.store.Event(ctx, e.Seq)
	if errors.Is(err, ErrNotFound) { // removed by age meanwhile
		return false, nil
	}
	return err == nil && plan.meets(s, whole), err
}

// target is what an event is for a subscription of the active plan that gets it late.
func (r *Relay) target(e *Event, name string) Target {
	k := keys{placed: true}
	if plan := r.matching.Load(); plan != nil && plan.byName[name] != nil {
		k = plan.byName[name].keysOf(e)
		k.placed = true
	}
	return Target{Subscription: name, Key: k.pack()}
}

// apply replays one of what was selected. It reports whether there was something to do.
func (r *Relay) apply(ctx context.Context, q *ReplayRequest, entry LogEntry) (did bool, err error) {
	if q.Select == SelectFailed {
		x, found, err := r.store.Exception(ctx, q.Subscription, entry.Pos)
		if err != nil || !found || x.Kind.state() != StateFailed {
			return false, err
		}
	}
	e, err := r.store.Event(ctx, entry.Seq)
	switch {
	case err != nil:
	case q.Select == SelectMissing:
		err = r.store.Place(ctx, entry.Seq, r.target(e, q.Subscription), func(e *Event) {
			did = true
			r.offerPlace(e.Deliveries[len(e.Deliveries)-1], e)
		})
	default:
		err = r.replayAt(ctx, e.ID, q.Subscription, func() error { return r.replay(ctx, e, q.Subscription) })
		did = err == nil
	}
	switch { // removed, erased or taken up again meanwhile, or damaged: no reason to stop
	case errors.Is(err, ErrNotFound), errors.Is(err, ErrErased), errors.Is(err, ErrUnfinished), isUnreadable(err):
		return did, nil
	case err != nil:
		return did, fmt.Errorf("replaying the event at %d: %w", entry.Seq, err)
	}
	return did, nil
}
