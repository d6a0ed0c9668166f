package relay

import (
	"context"
	"slices"
	"time"

	"go.uber.org/zap"
)

// carriedView is what the relay that carries a subscription says of it to others.
type carriedView struct {
	Status SubscriptionStatus
	// Progress is how it stands in the store, so that it fits to the exceptions there.
	Progress Progress
	// Unavailable and UnavailableUntil say that no address can be used.
	Unavailable      string    `json:",omitempty"`
	UnavailableUntil time.Time `json:",omitzero"`
}

// view returns those of the names, or of all, that this engine carries.
func (r *Relay) view(ctx context.Context, names []string) (all []carriedView, err error) {
	r.flushForReading(ctx)
	for _, l := range r.carried() {
		if len(names) > 0 && !slices.Contains(names, l.name) {
			continue
		}
		v := carriedView{}
		if v.Status, err = l.status(ctx); err != nil {
			return nil, err
		}
		l.mu.Lock()
		v.Progress = l.outbox.committed
		v.Progress.Head = l.head
		v.Unavailable, v.UnavailableUntil = l.condition.unavailable, l.condition.unavailableUntil
		over := l.tenure.mirror
		l.mu.Unlock()
		if !over {
			all = append(all, v)
		}
	}
	return all, nil
}

// carried returns the lanes whose deliveries this engine makes.
func (r *Relay) carried() []*lane {
	r.mu.RLock()
	defer r.mu.RUnlock()
	var all []*lane
	for _, l := range r.lanes {
		l.mu.Lock()
		if !l.tenure.mirror {
			all = append(all, l)
		}
		l.mu.Unlock()
	}
	return all
}

// carriedByNobody returns the lanes whose deliveries no engine makes.
func (r *Relay) carriedByNobody() []*lane {
	r.mu.RLock()
	defer r.mu.RUnlock()
	var all []*lane
	for name, l := range r.lanes {
		l.mu.Lock()
		if l.tenure.mirror && (l.sub != nil || l.pending() > 0) && !r.member.carried(name) {
			all = append(all, l)
		}
		l.mu.Unlock()
	}
	return all
}

// leads reports whether this member is the one of all that tells what only one is to tell.
func (m *member) leads(ctx context.Context) (bool, error) {
	members, err := m.store.Members(ctx)
	if err != nil || len(members) == 0 {
		return false, err
	}
	return !slices.ContainsFunc(members[1:], func(o MemberStatus) bool { return o.ID < members[0].ID }), nil
}

// shown is what holds the subscription, as users see it. The caller holds the lock.
func (l *lane) shown(now time.Time) (Reason, time.Time) {
	reason, until := l.condition.shown(l.sub, now)
	if reason == ReasonNone && l.tenure.mirror && !l.engine.member.carried(l.name) {
		return ReasonNoInstance, time.Time{}
	}
	return reason, until
}

// look brings the mirrors of some subscriptions up to date, or of all where no name is given,
// and returns what the relays that carry them say. What nobody answers for in time is shown as
// the store has it.
func (r *Relay) look(ctx context.Context, names ...string) map[string]SubscriptionStatus {
	if r.member == nil {
		return nil
	}
	if names != nil {
		slices.Sort(names)
		names = slices.Compact(names)
		if names = slices.DeleteFunc(names, r.carries); len(names) == 0 {
			return nil
		}
	}
	replies, err := r.member.askOthers(ctx, question{Do: doLook, Names: names})
	if err != nil {
		r.logger.Debug("reading without a word of the other relays", zap.Error(err))
	}
	said := make(map[string]SubscriptionStatus)
	for _, a := range replies {
		for _, v := range a.Views {
			said[v.Status.Name] = v.Status
			r.member.learn(v.Progress)
			l := r.lane(v.Status.Name)
			l.mu.Lock()
			if l.tenure.mirror {
				l.condition.unavailable, l.condition.unavailableUntil = v.Unavailable, v.UnavailableUntil
			}
			l.mu.Unlock()
		}
	}
	return said
}

// lookAt is look for the subscriptions of events.
func (r *Relay) lookAt(ctx context.Context, events ...*Event) {
	if r.member == nil {
		return
	}
	names := []string{}
	for _, e := range events {
		for _, p := range e.Deliveries {
			names = append(names, p.Subscription)
		}
	}
	r.look(ctx, names...)
}

// anyHas reports whether some member could make deliveries of a region.
func anyHas(members []MemberStatus, region string) bool {
	return region == "" || slices.ContainsFunc(members, func(m MemberStatus) bool { return slices.Contains(m.Regions, region) })
}
