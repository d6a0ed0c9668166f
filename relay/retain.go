package relay

import (
	"context"
	"time"
)

// retainEvery is how often finished records are looked at for their age. It is less often
// where that takes long, as over a million that wait: one part in retainShare of the time.
const (
	retainEvery = time.Minute
	retainShare = 20
)

// retain removes finished records that are old enough, in bounded steps, until the
// engine is closed.
func (r *Relay) retain() {
	pause := retainEvery
	for {
		select {
		case <-r.stop:
			return
		case <-time.After(pause):
		}
		start := time.Now()
		if err := r.trim(context.Background()); err != nil {
			r.storeFailed("trim", err)
		}
		pause = max(retainEvery, retainShare*time.Since(start))
	}
}

// trim removes what the active plan's retention allows.
func (r *Relay) trim(ctx context.Context) error {
	plan := r.matching.Load()
	if plan == nil {
		return nil
	}
	now := time.Now()
	policy := TrimPolicy{
		DeliveredBefore: now.Add(-plan.retention.Delivered),
		FailedBefore:    now.Add(-plan.retention.Failed),
		KeysBefore:      now.Add(-plan.retention.IdempotencyKeys),
	}
	for {
		start := time.Now()
		step, err := r.store.Trim(ctx, policy)
		if err != nil {
			return err
		}
		if !step.More {
			return nil
		}
		// At least half of the time belongs to others.
		select {
		case <-r.stop:
			return nil
		case <-time.After(time.Since(start)):
		}
	}
}
