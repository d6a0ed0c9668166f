package relay

import (
	"context"
	"time"
)

// retainEvery is how often finished records are looked at for their age.
const retainEvery = time.Minute

// retain removes finished records that are old enough, in bounded steps, until the
// engine is closed.
func (r *Relay) retain() {
	for {
		select {
		case <-r.stop:
			return
		case <-time.After(retainEvery):
		}
		if err := r.trim(context.Background()); err != nil {
			r.storeFailed("trim", err)
		}
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
		step, err := r.store.Trim(ctx, policy)
		if err != nil {
			return err
		}
		if !step.More {
			return nil
		}
		select {
		case <-r.stop:
			return nil
		default:
		}
	}
}
