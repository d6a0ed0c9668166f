package relay

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Exportable returns which events are to be moved to another store, oldest first: those that
// have an unfinished delivery, or all. They are found as of now; what is accepted later is not
// among them.
func (r *Relay) Exportable(ctx context.Context, all bool) ([]Seq, error) {
	if err := r.Flush(ctx); err != nil {
		return nil, err
	}
	var found []Seq
	var err error
	if all {
		found, err = r.allEvents(ctx)
	} else {
		found, err = r.unfinishedEvents(ctx)
	}
	slices.Sort(found)
	return slices.Compact(found), err
}

func (r *Relay) allEvents(ctx context.Context) (found []Seq, err error) {
	for q := (EventQuery{Limit: scanBound}); ; {
		page, err := r.store.Events(ctx, q)
		if err != nil {
			return nil, err
		}
		for _, e := range page.Events {
			found = append(found, e.Seq)
		}
		if q.Before = page.Next; q.Before == 0 {
			return found, nil
		}
	}
}

func (r *Relay) unfinishedEvents(ctx context.Context) (found []Seq, err error) {
	r.mu.RLock()
	lanes := make([]*lane, 0, len(r.lanes))
	for _, l := range r.lanes {
		lanes = append(lanes, l)
	}
	r.mu.RUnlock()
	for _, l := range lanes {
		if found, err = l.unfinishedEvents(ctx, found); err != nil {
			return nil, err
		}
	}
	return found, nil
}

// unfinishedEvents appends those that stand in the log and were not taken from it, and those
// that have an open exception.
func (l *lane) unfinishedEvents(ctx context.Context, found []Seq) ([]Seq, error) {
	l.mu.Lock()
	cur := l.cur.clone()
	for _, j := range l.inFlight {
		found = append(found, j.seq)
	}
	pending := l.pending() > 0
	l.mu.Unlock()
	if !pending {
		return found, nil
	}
	store := l.engine.store
	for before := uint64(0); ; {
		page, err := store.Log(ctx, l.name, before, scanBound)
		if err != nil {
			return nil, err
		}
		for _, entry := range page {
			if !cur.has(entry.Pos) {
				found = append(found, entry.Seq)
			}
		}
		if len(page) < scanBound || page[len(page)-1].Pos <= cur.low {
			break
		}
		before = page[len(page)-1].Pos
	}
	for after := uint64(0); ; {
		open, err := store.Open(ctx, l.name, after, scanBound)
		if err != nil {
			return nil, err
		}
		for _, x := range open {
			found = append(found, x.Seq)
			after = x.From
		}
		if len(open) < scanBound {
			return found, nil
		}
	}
}

// Export returns an event as another store may adopt it, and whether it has an unfinished
// delivery. An attempt that is under way has not been made. The error is [ErrNotFound] for an
// event that was removed meanwhile, or an [UnreadableError].
func (r *Relay) Export(ctx context.Context, s Seq) (m Moved, unfinished bool, err error) {
	e, err := r.store.Event(ctx, s)
	if err != nil {
		return m, false, err
	}
	m = Moved{Event: e, Exceptions: make([]Exception, len(e.Deliveries)), Attempts: make([][]Attempt, len(e.Deliveries))}
	for i, p := range e.Deliveries {
		if m.Exceptions[i], err = r.standing(ctx, e, p); err != nil {
			return m, false, err
		}
		unfinished = unfinished || !m.Exceptions[i].Kind.Closed()
	}
	r.flushForReading(ctx) // after the exceptions, so that the attempts that led to them are there
	var room attemptRoom
	for i, p := range e.Deliveries {
		if m.Attempts[i], err = r.store.Attempts(ctx, s, p.Subscription); err != nil {
			return m, false, err
		}
		m.Attempts[i] = room.fit(m.Attempts[i])
	}
	return m, unfinished, nil
}

// standing returns what is known of a delivery, as an exception that stands by itself: open
// ones are retries, since what else they wait for is judged anew where they come to.
func (r *Relay) standing(ctx context.Context, e *Event, p Placement) (Exception, error) {
	l := r.lane(p.Subscription)
	x, ok := l.remembered(e, p.Pos)
	if !ok {
		var found bool
		var err error
		if x, found, err = r.store.Exception(ctx, p.Subscription, p.Pos); err != nil {
			return x, err
		}
		if !found {
			x = Exception{Kind: Delivered}
		}
	}
	if !x.Kind.Closed() {
		x.Kind, x.Key = Retry, unpackKeys(p.Key).order
		x.Reason = parseMarks(x.Reason).String()
	}
	return x, nil
}

// remembered returns what the lane knows of a position by itself, and whether that is all.
func (l *lane) remembered(e *Event, pos uint64) (Exception, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now()
	if j, ok := l.inFlight[pos]; ok {
		return j.exception(Retry, now), true
	}
	if w, ok := l.retries.byPos[pos]; ok {
		x := w.exception(Retry, now)
		x.Due = w.due
		return x, true
	}
	x, found, dropped := l.outbox.lookup(pos)
	switch {
	case found:
		return x, true
	case dropped:
		return Exception{Kind: Delivered}, true
	case !l.cur.has(pos):
		return Exception{Kind: Retry, At: now, Due: e.Accepted}, true
	}
	return Exception{}, false
}

// ExportKeys returns idempotency keys, as [Mover.Keys] does.
func (r *Relay) ExportKeys(ctx context.Context, after *KeyHash, limit int) ([]MovedKey, *KeyHash, error) {
	mover, err := r.mover(ctx)
	if err != nil {
		return nil, nil, err
	}
	return mover.Keys(ctx, after, limit)
}

// ErrNotMovable means that the store can neither give out nor take what was moved.
var ErrNotMovable = errors.New("this storage takes no events of another one")

// Movable returns [ErrNotMovable] if events can be neither exported nor imported, or a
// [NotAloneError].
func (r *Relay) Movable(ctx context.Context) error {
	_, err := r.mover(ctx)
	return err
}

func (r *Relay) mover(ctx context.Context) (Mover, error) {
	mover, ok := r.store.(Mover)
	if !ok {
		return nil, ErrNotMovable
	}
	members, err := r.Members(ctx)
	if err == nil && len(members) > 1 {
		err = &NotAloneError{members[1:]}
	}
	return mover, err
}

// NotAloneError means that other relays use the store, which what is asked for does not allow.
type NotAloneError struct{ Others []MemberStatus }

func (e *NotAloneError) Error() string {
	ids := make([]string, len(e.Others))
	for i, m := range e.Others {
		ids[i] = m.ID
	}
	return fmt.Sprintf("events are moved while one relay uses the store, and there are others: stop %s, and try again", strings.Join(ids, ", "))
}

// ExportEgress returns what was announced of addresses, for [Relay.ImportEgress]; nil if
// nothing was.
func (r *Relay) ExportEgress(ctx context.Context) ([]byte, error) {
	return r.store.Note(ctx, egressNote)
}

// Steering is what operators and endpoints have said of a subscription.
type Steering struct {
	Subscription string
	// Paused is a pause by the operator, Disabled what ends only by one; each with why.
	Paused, Disabled             bool
	PausedReason, DisabledReason string
}

// ExportSteering returns the subscriptions that are paused or disabled, but for what the
// configuration says.
func (r *Relay) ExportSteering() []Steering {
	r.mu.RLock()
	defer r.mu.RUnlock()
	var all []Steering
	for _, l := range r.lanes {
		l.mu.Lock()
		if c := &l.condition; c.Paused || c.Disabled {
			all = append(all, Steering{
				Subscription: l.name, Paused: c.Paused, PausedReason: c.PausedReason, Disabled: c.Disabled, DisabledReason: c.DisabledReason,
			})
		}
		l.mu.Unlock()
	}
	slices.SortFunc(all, func(a, b Steering) int { return strings.Compare(a.Subscription, b.Subscription) })
	return all
}

// What an export has of the attempts of one event, in bytes: an event for thousands of
// subscriptions may have gigabytes. Beyond the first bound what receivers have answered is left out,
// beyond the second all attempts of a delivery but the last.
const (
	answersMost  = 16 << 20
	attemptsMost = 24 << 20
)

// attemptRoom is what was taken of that.
type attemptRoom struct{ answers, attempts int }

// fit leaves out what there is no room for.
func (r *attemptRoom) fit(attempts []Attempt) []Attempt {
	if n := len(attempts); n > 1 && r.attempts >= attemptsMost {
		attempts = attempts[n-1:]
	}
	attempts = slices.Clone(attempts) // the store may keep them
	for i := range attempts {
		a := &attempts[i]
		if r.answers += len(a.Excerpt); r.answers > answersMost {
			a.Excerpt = nil
		}
		r.attempts += attemptSize + len(a.Error)
	}
	return attempts
}

// attemptSize is about what an attempt takes without what was said.
const attemptSize = 256
