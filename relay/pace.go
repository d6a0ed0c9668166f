package relay

import (
	"time"

	"golang.org/x/time/rate"
)

// pace keeps a lane's attempts to the rate limit of its subscription.
type pace struct {
	limit   RateLimit
	limiter *rate.Limiter // nil: no limit
	// next is when the next attempt may be made, after one was refused.
	next time.Time
}

// configure sets the limit. What was used up stays used up if it is the same one.
func (p *pace) configure(limit RateLimit) {
	if limit == p.limit {
		return
	}
	p.limit, p.limiter, p.next = limit, nil, time.Time{}
	if limit.Events > 0 {
		p.limiter = rate.NewLimiter(rate.Every(limit.Window/time.Duration(limit.Events)), limit.Events)
	}
}

// goOn takes over from somebody else who has kept to the same limit. Of what he has used up
// only when he last succeeded is known: the tokens that came since then are there at least.
func (p *pace) goOn(from *Progress, now time.Time) {
	if p.limiter == nil || from.LastSuccess.IsZero() && from.FailingSince.IsZero() {
		return
	}
	used := from.LastSuccess
	if !from.FailingSince.IsZero() || used.After(now) {
		used = now
	}
	p.limiter.AllowN(used, p.limit.Events)
}

// take reports whether an attempt may be made now.
func (p *pace) take(now time.Time) bool {
	if p.limiter == nil || p.limiter.AllowN(now, 1) {
		p.next = time.Time{}
		return true
	}
	r := p.limiter.ReserveN(now, 1)
	p.next = now.Add(r.DelayFrom(now))
	r.CancelAt(now)
	return false
}
