package relay

import (
	"cmp"
	"errors"
	"net/http"
	"net/url"
	"time"

	"github.com/caddyrelay/caddyrelay/relay/expression"
)

// Defaults of a [WaitFor].
const (
	DefaultWaitInterval = time.Second
	DefaultWaitLongest  = 15 * time.Second
	DefaultWaitTimeout  = 5 * time.Minute
)

// WaitFor holds the deliveries of a subscription until another URL, often that of a CDN,
// shows what they are about.
type WaitFor struct {
	// URL is the canonical one, as the destination guard made it; URLTemplate makes that of
	// each event, where it has placeholders, and is nil otherwise.
	URL         *url.URL
	URLTemplate *URLTemplate
	// Header is applied in order to the fields of each poll.
	Header []HeaderRule
	// Until has to be true of an answer.
	Until *expression.Expression
	// Interval is the time from the first poll to the second. Polls become as rare as the
	// wait is long, up to Longest. 0: [DefaultWaitInterval] and [DefaultWaitLongest], or
	// Interval if that is longer.
	Interval, Longest time.Duration
	// Timeout is how long a delivery waits. 0: [DefaultWaitTimeout].
	Timeout time.Duration
	// OnTimeout is what becomes of it then. Empty: [TimeoutDeliver].
	OnTimeout OnTimeout
	// Transport makes the polls. It does not follow redirects, binds to addresses of the
	// subscription's region and refuses forbidden destinations.
	Transport http.RoundTripper
}

// OnTimeout says what becomes of a delivery that has waited in vain.
type OnTimeout string

// What becomes of deliveries that have waited in vain.
const (
	TimeoutDeliver OnTimeout = "deliver" // it is made all the same, and says so
	TimeoutRetry   OnTimeout = "retry"   // a failed attempt, after which the schedule goes on
	TimeoutFail    OnTimeout = "fail"    // it is given up
)

// OnTimeouts lists all of them, the default first.
var OnTimeouts = []OnTimeout{TimeoutDeliver, TimeoutRetry, TimeoutFail}

func (w *WaitFor) prepare() error {
	switch {
	case w == nil:
		return nil
	case w.URL == nil:
		return errors.New("wait_for: the URL is missing")
	case w.Until == nil:
		return errors.New("wait_for: until is missing")
	case w.Transport == nil:
		return errors.New("wait_for: the transport is missing")
	}
	*w = w.WithDefaults()
	return nil
}

// WithDefaults returns what holds where nothing is said.
func (w WaitFor) WithDefaults() WaitFor {
	w.Interval = cmp.Or(w.Interval, DefaultWaitInterval)
	w.Longest = max(cmp.Or(w.Longest, DefaultWaitLongest), w.Interval)
	w.Timeout = cmp.Or(w.Timeout, DefaultWaitTimeout)
	w.OnTimeout = cmp.Or(w.OnTimeout, TimeoutDeliver)
	return w
}

// pause returns the time to the next poll of a delivery that has waited so long: polls at
// 0, 1, 2, 4, 8, 16, 31, 46 ... seconds with the defaults.
func (w *WaitFor) pause(waited time.Duration) time.Duration {
	return min(max(waited, w.Interval), w.Longest)
}

// Waited says how the wait of a delivery has ended. It is what the header field
// Relay-Waited holds, and a label of metrics.
type Waited string

// Ends of a wait.
const (
	WaitedReady   Waited = "ready"   // the answer was what is waited for
	WaitedTimeout Waited = "timeout" // it was not, for the time allowed
)

// AllWaited lists all of them.
var AllWaited = []Waited{WaitedReady, WaitedTimeout}

// Polled is what came of one poll. It is a label of metrics.
type Polled string

// Outcomes of a poll.
const (
	PolledReady     Polled = "ready"
	PolledNotReady  Polled = "not_ready"
	PolledThrottled Polled = "throttled" // the answer was to ask later
	PolledFailed    Polled = "failed"    // no answer
)

// AllPolled lists all of them.
var AllPolled = []Polled{PolledReady, PolledNotReady, PolledThrottled, PolledFailed}

// waits reports whether a delivery has to wait before it is attempted.
func (s *Subscription) waits(p *parcel) bool { return s.WaitFor != nil && p.wait == waitNone }

// waitEnds is when a delivery that waits has done so long enough.
func (j *job) waitEnds() time.Time { return j.waitingSince().Add(j.sub.WaitFor.Timeout) }
