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
	// failingAt is since when FailingFor has not grown: the last failed attempt, or the start.
	failingAt time.Time
	// window is what the breaker judges.
	window window
	// ramp is the number of attempts that may be in flight while an endpoint comes back:
	// one at first, one more for each success. 0: as many as the subscription says.
	ramp int
}

// held returns why nothing may be attempted now, and until when; the time is zero if
// somebody has to act. A time further off than anybody could have set it is from before the
// clock fell back, and holds nothing.
func (c *condition) held(s *Subscription, now time.Time) (Reason, time.Time) {
	switch {
	case s == nil:
		return ReasonGone, time.Time{}
	case s.Paused || c.Paused:
		return ReasonPaused, time.Time{}
	case c.Disabled:
		return ReasonDisabled, time.Time{}
	case c.HoldUntil.After(now) && !c.HoldUntil.After(now.Add(maxRetryAfter)):
		return ReasonRetryAfter, c.HoldUntil
	case c.unavailableUntil.After(now):
		return ReasonEgress, c.unavailableUntil
	case c.tripped(s) && c.ProbeAt.After(now) && !c.ProbeAt.After(now.Add(s.Breaker.Pause)):
		return ReasonBreaker, c.ProbeAt
	default:
		return ReasonNone, time.Time{}
	}
}

// tripped reports whether the breaker is open, or waits for its probe.
func (c *condition) tripped(s *Subscription) bool { return !c.ProbeAt.IsZero() && !s.Breaker.Off }

// count adds n, which may be negative, to the deliveries that have ended in a closed kind.
func (c *condition) count(kind Kind, n int64) {
	switch kind {
	case Superseded:
		c.Superseded += uint64(n)
	case Delivered:
		c.Delivered += uint64(n)
	default:
		c.Failed += uint64(n)
	}
}

// failing reports whether the last attempt failed.
func (c *condition) failing() bool { return !c.FailingSince.IsZero() }

// proven reports whether the last attempt succeeded.
func (c *condition) proven() bool { return !c.failing() && !c.LastSuccess.IsZero() }

// shown is held as users see it: what waits for a probe, or for a look at an address,
// stays held until that has succeeded.
func (c *condition) shown(s *Subscription, now time.Time) (Reason, time.Time) {
	reason, until := c.held(s, now)
	switch {
	case reason != ReasonNone:
		return reason, until
	case c.unavailable != "":
		return ReasonEgress, c.unavailableUntil
	case c.tripped(s):
		return ReasonBreaker, c.ProbeAt
	default:
		return ReasonNone, time.Time{}
	}
}

// limit returns how many attempts may be in flight.
func (c *condition) limit(s *Subscription) int {
	switch {
	case c.tripped(s):
		return 1 // the probe
	case c.ramp > 0:
		return min(c.ramp, s.MaxInFlight)
	default:
		return s.MaxInFlight
	}
}

// succeeded notes a delivery. It reports whether the endpoint had been failing.
func (c *condition) succeeded(s *Subscription, now time.Time) (recovered bool) {
	recovered = c.tripped(s)
	c.Delivered++
	c.LastSuccess, c.FailingSince, c.FailingFor = now, time.Time{}, 0
	c.unavailable, c.unavailableUntil = "", time.Time{}
	c.ProbeAt = time.Time{} // also of a breaker that is off now: it may be on again
	switch {
	case recovered:
		c.window, c.ramp = window{}, 1
	case c.ramp > 0:
		if c.ramp++; c.ramp >= s.MaxInFlight {
			c.ramp = 0
		}
	}
	if !s.Breaker.Off {
		c.window.add(now, s.Breaker.Window, true)
	}
	return recovered
}

// failed notes a failed attempt. It reports whether that opened the breaker, and whether
// it disabled the subscription.
func (c *condition) failed(s *Subscription, v verdict, now time.Time) (tripped, disabled bool) {
	c.unavailable, c.unavailableUntil = "", time.Time{}
	if c.FailingSince.IsZero() {
		c.FailingSince = now
	} else {
		c.FailingFor += now.Sub(c.failingAt)
	}
	c.failingAt = now
	if until := now.Add(v.wait); v.wait > 0 && until.After(c.HoldUntil) {
		c.HoldUntil, c.ramp = until, 1
	}
	switch {
	case c.Disabled:
	case v.end == endGone:
		c.Disabled, c.DisabledReason, disabled = true, v.message, true
	case s.DisableAfter > 0 && c.FailingFor >= s.DisableAfter:
		c.Disabled, disabled = true, true
		c.DisabledReason = "only failures since " + c.FailingSince.UTC().Format(time.RFC3339) + "; the last: " + v.message
	}
	if s.Breaker.Off {
		return false, disabled
	}
	counts := v.kind != Kind429 // which slows down, and never opens the breaker
	if counts {
		c.window.add(now, s.Breaker.Window, false)
	}
	switch {
	case c.tripped(s): // the probe failed, or what was in flight when it opened
		c.ProbeAt = now.Add(s.Breaker.Pause)
	case counts && c.window.trips(&s.Breaker):
		c.ProbeAt, c.window, tripped = now.Add(s.Breaker.Pause), window{}, true
	}
	return tripped, disabled
}

func (c *condition) noAddress(v verdict, now time.Time) {
	c.unavailable, c.unavailableUntil = v.message, now.Add(unavailablePause)
}

// resume clears what holds the subscription, but for its configuration. Everything
// retrying is due at once.
func (c *condition) resume(now time.Time) {
	c.Paused, c.PausedReason = false, ""
	c.Disabled, c.DisabledReason = false, ""
	c.HoldUntil, c.FailingSince, c.FailingFor, c.ProbeAt = time.Time{}, time.Time{}, 0, time.Time{}
	c.unavailable, c.unavailableUntil = "", time.Time{}
	c.window, c.ramp = window{}, 1
	c.ResumedAt = now
}
