package relay

import "time"

// unavailablePause is how long a lane waits before it tries again to leave from an
// address that was not there.
const unavailablePause = 2 * time.Second

// condition is what holds a whole subscription, beside its counters.
type condition struct {
	// Progress is the part that survives a restart. Its Low, Done and Head are not kept
	// up to date here.
	Progress
	// unavailable says that the last attempt found no usable address, in these words;
	// unavailableUntil is when to look again.
	unavailable      string
	unavailableUntil time.Time
}

// held returns why nothing may be attempted now, and until when; the time is zero if
// somebody has to act.
func (c *condition) held(s *Subscription, now time.Time) (Reason, time.Time) {
	switch {
	case s == nil:
		return ReasonGone, time.Time{}
	case s.Paused || c.Paused:
		return ReasonPaused, time.Time{}
	case c.Disabled:
		return ReasonDisabled, time.Time{}
	case c.HoldUntil.After(now):
		return ReasonRetryAfter, c.HoldUntil
	case c.unavailableUntil.After(now):
		return ReasonEgress, c.unavailableUntil
	default:
		return ReasonNone, time.Time{}
	}
}

// shown is held as users see it: a subscription without a usable address stays held
// between two looks.
func (c *condition) shown(s *Subscription, now time.Time) (Reason, time.Time) {
	reason, until := c.held(s, now)
	if reason == ReasonNone && c.unavailable != "" {
		return ReasonEgress, c.unavailableUntil
	}
	return reason, until
}

func (c *condition) succeeded(now time.Time) {
	c.Delivered++
	c.LastSuccess, c.FailingSince = now, time.Time{}
	c.unavailable, c.unavailableUntil = "", time.Time{}
}

func (c *condition) failed(v verdict, now time.Time) {
	c.unavailable, c.unavailableUntil = "", time.Time{}
	if c.FailingSince.IsZero() {
		c.FailingSince = now
	}
	if v.end == endGone {
		c.Disabled, c.DisabledReason = true, v.message
	}
	if until := now.Add(v.wait); v.wait > 0 && until.After(c.HoldUntil) {
		c.HoldUntil = until
	}
}

func (c *condition) noAddress(v verdict, now time.Time) {
	c.unavailable, c.unavailableUntil = v.message, now.Add(unavailablePause)
}
