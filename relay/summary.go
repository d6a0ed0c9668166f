package relay

import (
	"context"
	"time"

	"go.uber.org/zap"
)

// summaryEvery is how often the log gets a record of what was delivered.
const summaryEvery = time.Minute

// summary is what all lanes have done since their logs began, and how they stand.
type summary struct {
	delivered, failed, superseded, pending uint64
	// held counts subscriptions with deliveries that something holds.
	held int
}

// summarize writes one record a minute, of each minute in which deliveries ended, until ctx
// ends, counted from before: whoever reads the log on its usual level sees that the relay works. It reads counters
// that there are anyway, so that deliveries do not pay for it.
func (r *Relay) summarize(ctx context.Context, before summary) {
	ticker := time.NewTicker(summaryEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		r.wall.look(time.Now())
		now := r.summary()
		plan := r.matching.Load()
		if plan != nil && now.ended() != before.ended() {
			plan.logger.Info("deliveries of the last minute",
				zap.Uint64("delivered", since(now.delivered, before.delivered)), zap.Uint64("failed", since(now.failed, before.failed)),
				zap.Uint64("superseded", since(now.superseded, before.superseded)),
				zap.Uint64("pending", now.pending), zap.Int("subscriptions_held", now.held))
		}
		before = now
	}
}

// ended changes whenever a delivery ends.
func (s summary) ended() [3]uint64 { return [3]uint64{s.delivered, s.failed, s.superseded} }

// since is the difference of two counts, of which replays take away.
func since(now, before uint64) uint64 { return now - min(now, before) }

func (r *Relay) summary() summary {
	r.mu.RLock()
	lanes := make([]*lane, 0, len(r.lanes))
	for _, l := range r.lanes {
		lanes = append(lanes, l)
	}
	r.mu.RUnlock()
	var s summary
	at := time.Now()
	for _, l := range lanes {
		l.mu.Lock()
		s.delivered += l.condition.Delivered
		s.failed += l.condition.Failed
		s.superseded += l.condition.Superseded
		n := l.pending()
		s.pending += n
		if reason, _ := l.condition.shown(l.sub, at); n > 0 && reason != ReasonNone {
			s.held++
		}
		l.mu.Unlock()
	}
	return s
}
