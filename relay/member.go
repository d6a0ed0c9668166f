package relay

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"
)

const (
	// memberEvery is how often a member looks whether what it offers has changed, and whether
	// its lease goes on.
	memberEvery = time.Second
	// claimFor is how long a member offers what nobody can deliver, so that it can be steered.
	claimFor = time.Minute
	// hearsay is how late an engine may learn of what others have appended.
	hearsay = 1500 * time.Millisecond
)

// member is what an engine is to others that share its store. It implements [Member]. The
// methods that the engine calls at any time may be called on nil, where nobody else does.
type member struct {
	engine *Relay
	store  Shared
	wake   chan struct{}
	// missed says that something could not begin since the lease had lapsed.
	missed atomic.Bool

	mu sync.Mutex
	// claims are subscriptions that are offered although nothing of them can be delivered
	// here, each until a time.
	claims map[string]time.Time
	// leaving are the lanes that are handed over.
	leaving []*lane
	// left says that nothing is offered any more.
	left    bool
	offered Offer
}

func newMember(r *Relay, s Shared) *member {
	return &member{engine: r, store: s, wake: make(chan struct{}, 1), claims: make(map[string]time.Time)}
}

// join makes the engine a member of the store.
func (m *member) join(ctx context.Context) error {
	if m == nil {
		return nil
	}
	if err := m.store.Join(ctx, m); err != nil {
		return err
	}
	m.engine.inBackground(func() { m.run(m.engine.attempts) })
	return nil
}

// run offers what could be carried here, and hands over what is asked back.
func (m *member) run(ctx context.Context) {
	ticker := time.NewTicker(memberEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		case <-m.wake:
		}
		m.offer(time.Now())
		m.handOver(ctx)
		if m.missed.Load() && !m.lapsed() {
			m.missed.Store(false)
			m.engine.wakeAll()
		}
	}
}

// poke makes run look at once.
func (m *member) poke() {
	if m == nil {
		return
	}
	select {
	case m.wake <- struct{}{}:
	default:
	}
}

// lapsed reports whether others may have taken over what this engine carries. The clock that
// stands still while the machine sleeps is not believed alone.
func (m *member) lapsed() bool {
	if m == nil {
		return false
	}
	now, until := time.Now(), m.store.CarriedUntil()
	if !now.After(until) && !now.Round(0).After(until.Round(0)) {
		return false
	}
	m.missed.Store(true)
	return true
}

// carried reports whether some member carries a subscription.
func (m *member) carried(name string) bool { return m != nil && m.store.Carrier(name) != "" }

// known is when the engine knows all that was appended before t.
func (r *Relay) known(t time.Time) time.Time {
	if r.member == nil || t.IsZero() {
		return t
	}
	return t.Add(hearsay)
}

// offer tells the store what could be carried here, if that has changed.
func (m *member) offer(now time.Time) {
	o := Offer{Subscriptions: make(map[string]string)}
	m.engine.mu.RLock()
	if plan := m.engine.active(); plan != nil {
		for _, s := range plan.subscriptions {
			o.Subscriptions[s.Name] = s.Region
		}
		o.Regions = plan.usableRegions()
	}
	m.engine.mu.RUnlock()
	m.mu.Lock()
	defer m.mu.Unlock()
	for name, until := range m.claims {
		if now.After(until) {
			delete(m.claims, name)
			continue
		}
		o.Subscriptions[name] = ""
	}
	if m.left {
		o = Offer{}
	}
	if !maps.Equal(o.Subscriptions, m.offered.Subscriptions) || !slices.Equal(o.Regions, m.offered.Regions) {
		m.offered = o
		m.store.Offer(o)
	}
}

// claim offers a subscription for a while that nobody else could carry.
func (m *member) claim(name string) {
	m.mu.Lock()
	m.claims[name] = time.Now().Add(claimFor)
	m.mu.Unlock()
	m.poke()
}

// obtain claims a subscription, and waits until this engine carries it.
func (m *member) obtain(ctx context.Context, name string) error {
	if m == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, askWithin)
	defer cancel()
	for !m.engine.carries(name) {
		m.claim(name)
		select {
		case <-ctx.Done():
			return fmt.Errorf("taking up the subscription %q: %w", name, context.Cause(ctx))
		case <-time.After(askPause):
		}
	}
	return nil
}

// leave offers nothing any more, so that others take over before the engine is closed.
func (m *member) leave() {
	if m == nil {
		return
	}
	m.mu.Lock()
	m.left = true
	m.mu.Unlock()
	m.offer(time.Now())
}

// Carry implements [Member].
func (m *member) Carry(all []Progress) {
	r := m.engine
	for _, p := range all {
		r.mu.Lock()
		l := r.lanes[p.Subscription]
		if l == nil {
			l = newLane(r, Progress{Subscription: p.Subscription})
		}
		l.mu.Lock()
		l.tenure.lost = !l.tenure.mirror
		n := r.replace(l, p)
		n.carry()
		l.mu.Unlock()
		r.mu.Unlock()
		n.wake()
	}
}

// Yield implements [Member].
func (m *member) Yield(names []string) {
	for _, name := range names {
		l := m.engine.lane(name)
		l.mu.Lock()
		if begin := !l.tenure.rests; begin {
			l.tenure.rests, l.tenure.leaving = true, m
			l.unload()
			m.mu.Lock()
			m.leaving = append(m.leaving, l)
			m.mu.Unlock()
		}
		l.mu.Unlock()
	}
	m.poke()
}

// handOver gives back those of the lanes that are asked for of which nothing is under way.
func (m *member) handOver(ctx context.Context) {
	m.mu.Lock()
	leaving := m.leaving
	m.leaving = nil
	m.mu.Unlock()
	if len(leaving) == 0 {
		return
	}
	if err := m.engine.Flush(ctx); err != nil {
		m.engine.logger.Debug("a subscription is handed over once its outcomes are stored", zap.Error(err))
	}
	r := m.engine
	var yielded []string
	var later []*lane
	r.mu.Lock()
	for _, l := range leaving {
		l.mu.Lock()
		switch {
		case l.tenure.over:
		case l.quiet():
			r.replace(l, l.outbox.committed)
			yielded = append(yielded, l.name)
		default:
			later = append(later, l)
		}
		l.mu.Unlock()
	}
	r.mu.Unlock()
	m.mu.Lock()
	m.leaving = append(m.leaving, later...)
	m.mu.Unlock()
	if len(yielded) > 0 {
		m.store.Yielded(yielded)
	}
}

// Lost implements [Member].
func (m *member) Lost(names []string) {
	for _, name := range names {
		m.lose(name, ^uint64(0))
	}
	m.engine.logger.Warn("other relays have taken over what this one carried, since it was silent for too long",
		zap.Strings("subscriptions", names))
}

// lose forgets what the engine has in memory of a subscription that it carried up to an epoch.
func (m *member) lose(name string, epoch uint64) {
	r := m.engine
	r.mu.Lock()
	defer r.mu.Unlock()
	l := r.lanes[name]
	if l == nil {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.tenure.mirror && l.condition.Epoch <= epoch {
		l.tenure.lost = true
		r.replace(l, l.outbox.committed)
	}
}

// refused reports whether err says no more than that others carry some of the subscriptions of
// updates. Of these nothing is known any more.
func (m *member) refused(updates []Update, err error) bool {
	if m == nil || err == nil {
		return false
	}
	left, ok := errors.AsType[*NotCarriedError](err)
	if !ok {
		return false
	}
	for i := range updates {
		if p := &updates[i].Progress; slices.Contains(left.Subscriptions, p.Subscription) {
			m.lose(p.Subscription, p.Epoch)
		}
	}
	return true
}

// Learn implements [Member].
func (m *member) Learn(all []Progress) {
	for _, p := range all {
		m.learn(p)
	}
}

func (m *member) learn(p Progress) {
	for {
		l := m.engine.lane(p.Subscription)
		l.mu.Lock()
		over := l.tenure.over
		switch {
		case over:
		case l.tenure.mirror:
			l.reflect(p)
		default:
			l.head = max(l.head, p.Head)
			l.advance(time.Now())
		}
		l.mu.Unlock()
		if !over {
			return
		}
	}
}

// Members lists the relays that share the store, this one first; none where it has one user.
func (r *Relay) Members(ctx context.Context) ([]MemberStatus, error) {
	if r.member == nil {
		return nil, nil
	}
	return r.member.store.Members(ctx)
}
