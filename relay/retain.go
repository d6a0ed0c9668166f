package relay

import (
	"context"
	"time"
)

// retainEvery is how often finished records are looked at for their age. It is less often
// where many are looked at in vain, as a million that wait: that takes one part in
// retainShare of the time.
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
		vain, err := r.trim(context.Background())
		if err != nil {
			r.storeFailed("trim", err)
		}
		pause = max(retainEvery, retainShare*vain)
	}
}

// trim removes what the active plan's retention allows. It returns the time in which it
// looked at what stays.
func (r *Relay) trim(ctx context.Context) (vain time.Duration, err error) {
	plan := r.matching.Load()
	if plan == nil {
		return 0, nil
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
			return vain, err
		}
		took := time.Since(start)
		if looked := step.Kept + step.Events; looked > 0 {
			vain += took * time.Duration(step.Kept) / time.Duration(looked)
		}
		if !step.More {
			return vain, nil
		}
		// At least half of the time belongs to others.
		select {
		case <-r.stop:
			return vain, nil
		case <-time.After(took):
		}
	}
}
