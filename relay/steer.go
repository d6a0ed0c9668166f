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
	return r.steer(ctx, name, func(l *lane, _ time.Time) error {
		l.condition.Paused, l.condition.PausedReason = true, reason
		return nil
	})
}

// Resume ends a pause, or whatever else holds a subscription, but for the configuration:
// then the error is [ErrPausedByConfiguration]. Everything held or retrying is due at
// once, also where nothing was held.
func (r *Relay) Resume(ctx context.Context, name string) (SubscriptionStatus, error) {
	return r.steer(ctx, name, func(l *lane, now time.Time) error {
		if l.sub != nil && l.sub.Paused {
			return ErrPausedByConfiguration
		}
		l.condition.resume(now)
		l.retries.dueAll(now)
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
	if l.sub == nil && l.pending() == 0 {
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
	return l.status(ctx)
}
