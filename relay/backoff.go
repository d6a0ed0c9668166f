package relay

import (
	"math/rand/v2"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// RetryPolicy says when a failed attempt is made again.
type RetryPolicy struct {
	// Delays holds one delay for each retry, so that there is one attempt more than
	// delays.
	Delays []time.Duration
	// Off means a single attempt.
	Off bool
	// Jitter is the largest share of a delay that is added to it at random, 0 to 1.
	Jitter float64
	// OnStatus are the statuses that are retried: codes, or 1 to 5 for a class; empty:
	// all. Failures without a status are always retried, as are 429 and 503 that carry
	// Retry-After.
	OnStatus []int
	// GiveUpAfter bounds the time from the first attempt to the last; 0: no bound.
	GiveUpAfter time.Duration
}

// retries reports whether an answer with this status is tried again.
func (p *RetryPolicy) retries(status int) bool {
	if status == 0 || len(p.OnStatus) == 0 {
		return true
	}
	for _, s := range p.OnStatus {
		if s == status || s == status/100 {
			return true
		}
	}
	return false
}

// delay returns the time to wait after the attempt at this step of the schedule
// (0 for the first), or false if it was the last.
func (p *RetryPolicy) delay(step int) (time.Duration, bool) {
	if p.Off || step >= len(p.Delays) {
		return 0, false
	}
	d := p.Delays[step]
	if spread := int64(float64(d) * p.Jitter); spread > 0 {
		d += time.Duration(rand.Int64N(spread + 1)) // only ever later: the list is a promise
	}
	return d, true
}

// maxRetryAfter is the longest time that an endpoint can ask the relay to wait.
const maxRetryAfter = 24 * time.Hour

// retryAfter reads the Retry-After field (RFC 9110, section 10.2.3): seconds or an
// HTTP date. It returns false for what is missing, malformed or not in the future.
func retryAfter(h http.Header, now time.Time) (time.Duration, bool) {
	text := strings.TrimSpace(h.Get("Retry-After"))
	if text == "" {
		return 0, false
	}
	var d time.Duration
	if strings.Trim(text, "0123456789") == "" {
		seconds, err := strconv.ParseInt(text, 10, 64)
		if err != nil || seconds > int64(maxRetryAfter/time.Second) {
			return maxRetryAfter, true // a number too large for us is still a wish to wait
		}
		d = time.Duration(seconds) * time.Second
	} else {
		at, err := http.ParseTime(text)
		if err != nil {
			return 0, false
		}
		d = at.Sub(now)
	}
	if d <= 0 {
		return 0, false
	}
	return min(d, maxRetryAfter), true
}
