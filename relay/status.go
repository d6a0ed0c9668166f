package relay

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// SubscriptionState is what a whole subscription is in.
type SubscriptionState string

// States of a subscription. One that waits for its endpoint (Retry-After) or for an
// egress address is active, with that reason.
const (
	SubscriptionActive   SubscriptionState = "active"
	SubscriptionPaused   SubscriptionState = "paused"
	SubscriptionDisabled SubscriptionState = "disabled"
	SubscriptionGone     SubscriptionState = "gone"
)

// SubscriptionStates lists all states of a subscription.
var SubscriptionStates = []SubscriptionState{
	SubscriptionActive, SubscriptionPaused, SubscriptionDisabled, SubscriptionGone,
}

// SubscriptionStatus is what an operator is told of a subscription.
type SubscriptionStatus struct {
	Name   string
	State  SubscriptionState
	Reason Reason
	// Detail says more about the reason, in words.
	Detail string
	// Pending counts deliveries that are not finished: pending, retrying and held.
	Pending uint64
	// InFlight counts attempts under way.
	InFlight int
	// Failed counts deliveries that were given up.
	Failed uint64
	// OldestDue is the due time of the delivery that has been due, or will be, first;
	// zero if nothing is pending.
	OldestDue   time.Time
	LastSuccess time.Time
	// FailingSince is when the first attempt failed after the last success; zero while
	// attempts succeed.
	FailingSince time.Time
}

// Status returns the subscriptions of the active plan in its order, then those that are
// gone from it but have deliveries left, by name.
//
// Where several relays share the store it is the same at each of them: that is asked which
// carries a subscription.
func (r *Relay) Status(ctx context.Context) ([]SubscriptionStatus, error) {
	said := r.look(ctx)
	r.mu.RLock()
	plan := r.active()
	var lanes, gone []*lane
	if plan != nil {
		for _, s := range plan.subscriptions {
			lanes = append(lanes, r.lanes[s.Name])
		}
	}
	for name, l := range r.lanes {
		if plan == nil || plan.byName[name] == nil {
			gone = append(gone, l)
		}
	}
	r.mu.RUnlock()

	var err error
	slices.SortFunc(gone, func(a, b *lane) int { return strings.Compare(a.name, b.name) })
	all := make([]SubscriptionStatus, 0, len(lanes)+len(gone))
	for i, l := range append(lanes, gone...) {
		s, ok := said[l.name]
		if !ok {
			if s, err = l.status(ctx); err != nil {
				return nil, err
			}
		}
		if i < len(lanes) || s.Pending > 0 || s.State != SubscriptionGone {
			all = append(all, s)
		}
	}
	return all, r.explainAbsence(ctx, all)
}

// StatusHere is Status of those subscriptions alone of which this relay makes the deliveries:
// all, where nobody shares its store. Of what nobody makes the deliveries of, one of all relays
// tells, so that the figures of all of them add up. Nobody else is asked.
func (r *Relay) StatusHere(ctx context.Context) ([]SubscriptionStatus, error) {
	if r.member == nil {
		return r.Status(ctx)
	}
	lanes := r.carried()
	if nobodys := r.carriedByNobody(); len(nobodys) > 0 {
		leads, err := r.member.leads(ctx)
		if err != nil {
			return nil, err
		}
		if leads {
			lanes = append(lanes, nobodys...)
		}
	}
	var all []SubscriptionStatus
	for _, l := range lanes {
		s, err := l.status(ctx)
		if err != nil {
			return nil, err
		}
		if s.State != SubscriptionGone || s.Pending > 0 {
			all = append(all, s)
		}
	}
	slices.SortFunc(all, func(a, b SubscriptionStatus) int { return strings.Compare(a.Name, b.Name) })
	return all, r.explainAbsence(ctx, all)
}

// SubscriptionStatus returns the status of one subscription.
func (r *Relay) SubscriptionStatus(ctx context.Context, name string) (SubscriptionStatus, error) {
	r.mu.RLock()
	l := r.lanes[name]
	r.mu.RUnlock()
	if l == nil {
		return SubscriptionStatus{}, &UnknownNameError{name}
	}
	if s, ok := r.look(ctx, name)[name]; ok {
		return s, nil
	}
	s, err := l.status(ctx)
	if err != nil {
		return s, err
	}
	all := []SubscriptionStatus{s}
	err = r.explainAbsence(ctx, all)
	return all[0], err
}

// explainAbsence says of what nobody carries why.
func (r *Relay) explainAbsence(ctx context.Context, all []SubscriptionStatus) error {
	var members []MemberStatus
	for i := range all {
		s := &all[i]
		if s.Reason != ReasonNoInstance {
			continue
		}
		if members == nil {
			var err error
			if members, err = r.Members(ctx); err != nil {
				return err
			}
		}
		s.Detail = "no relay has taken it up yet"
		if plan := r.matching.Load(); plan != nil && plan.byName[s.Name] != nil {
			if region := plan.byName[s.Name].Region; !anyHas(members, region) {
				s.Detail = fmt.Sprintf("no relay that is alive has an address of the region %q", region)
			}
		}
	}
	return nil
}

// Unfinished returns the number of deliveries that are not finished.
func (r *Relay) Unfinished() uint64 {
	var n uint64
	for _, waiting := range r.Backlogs() {
		n += waiting
	}
	return n
}

// Backlogs returns, by name, the number of unfinished deliveries of each subscription that
// has any: pending, retrying and held, as [SubscriptionStatus] counts them. It reads
// counters in memory, and nothing of the store.
func (r *Relay) Backlogs() map[string]uint64 {
	return r.backlogs(func(*lane) bool { return true })
}

// Gone returns, by name, the number of unfinished deliveries of each subscription that a plan
// does not have, which may not be the active one yet.
func (r *Relay) Gone(p *Plan) map[string]uint64 {
	return r.backlogs(func(l *lane) bool { return p.byName[l.name] == nil })
}

// backlogs returns those of some lanes. about is called with the lane's lock held.
func (r *Relay) backlogs(about func(l *lane) bool) map[string]uint64 {
	r.mu.RLock()
	defer r.mu.RUnlock()
	all := make(map[string]uint64)
	for name, l := range r.lanes {
		l.mu.Lock()
		if n := l.pending(); n > 0 && about(l) {
			all[name] = n
		}
		l.mu.Unlock()
	}
	return all
}

// Stats returns figures of the store.
func (r *Relay) Stats(ctx context.Context) (StoreStats, error) { return r.store.Stats(ctx) }

// pending counts what is not finished. The caller holds the lock.
func (l *lane) pending() uint64 {
	return l.head - min(l.head, l.cur.count()) + l.condition.Open
}

func (l *lane) status(ctx context.Context) (SubscriptionStatus, error) {
	now := time.Now()
	l.mu.Lock()
	c := &l.condition
	s := SubscriptionStatus{
		Name: l.name, State: SubscriptionActive,
		Pending: l.pending(), InFlight: l.attempts(), Failed: c.Failed, LastSuccess: c.LastSuccess,
		FailingSince: c.FailingSince,
	}
	reason, _ := l.shown(now)
	s.Reason = reason
	switch reason {
	case ReasonGone:
		s.State, s.Detail = SubscriptionGone, "the configuration has no subscription of this name"
	case ReasonPaused:
		s.State, s.Detail = SubscriptionPaused, c.PausedReason
		if l.sub.Paused {
			s.Detail = l.sub.PausedReason
		}
	case ReasonDisabled:
		s.State, s.Detail = SubscriptionDisabled, c.DisabledReason
	case ReasonEgress:
		s.Detail = c.unavailable
	case ReasonBreaker:
		s.Detail = "too many attempts failed; the next one probes the endpoint"
	case ReasonRetryAfter:
		s.Detail = "the endpoint asked to wait until " + c.HoldUntil.UTC().Format(time.RFC3339)
	default: // nothing holds it
	}
	unknown := l.unknown()
	s.OldestDue = l.oldestDue()
	first := l.cur.skip(1)
	behind := first <= l.head && len(l.inFlight) == 0 && len(l.queue) == 0
	if len(l.queue) > 0 {
		s.OldestDue = earlier(s.OldestDue, l.queue[0].event.Accepted)
	}
	l.mu.Unlock()

	due, err := l.oldestStored(ctx, unknown, behind, first)
	if err != nil && (l.engine.store.Err() == nil || errors.Is(err, ErrClosed)) {
		return s, err
	}
	// While the store is away, the rest is what people look for.
	s.OldestDue = earlier(s.OldestDue, due)
	return s, nil
}

// oldestStored returns when the first delivery was due of those that only the store knows:
// exceptions that were not read yet, and what stands in the log from position first on.
func (l *lane) oldestStored(ctx context.Context, unknown, behind bool, first uint64) (due time.Time, err error) {
	if unknown { // until they are read, any of them is better than none
		open, err := l.engine.store.Open(ctx, l.name, 0, 1)
		if err != nil {
			return due, err
		}
		if len(open) > 0 {
			due = open[0].Due
		}
	}
	if behind {
		log, err := l.engine.store.Log(ctx, l.name, first+1, 1)
		if err != nil {
			return due, err
		}
		if len(log) > 0 {
			due = earlier(due, log[0].Seq.Time())
		}
	}
	return due, nil
}

func earlier(a, b time.Time) time.Time {
	if a.IsZero() || (!b.IsZero() && b.Before(a)) {
		return b
	}
	return a
}
