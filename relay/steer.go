package relay

import (
	"context"
	"errors"
	"fmt"
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
	if r.member.carried(name) {
		return true
	}
	r.mu.RLock()
	l := r.lanes[name]
	r.mu.RUnlock()
	if l == nil {
		return false
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
