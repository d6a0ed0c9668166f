package caddymodule

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/caddyrelay/caddyrelay/relay"
)

// Retry says when a failed attempt is made again.
type Retry struct {
	// The delay before each retry, so that there is one attempt more than delays.
	// Default: 5s 5m 30m 2h 5h 10h 14h 20h 24h
	Delays []Duration `json:"delays,omitempty"`

	// No retries: one attempt, and no more.
	Off bool `json:"off,omitempty"`

	// The largest share of a delay, 0 to 1, that is added to it at random, so that
	// many failures at once do not come back at once. Nothing is ever subtracted.
	// Default: 0.2
	Jitter *float64 `json:"jitter,omitempty"`

	// The statuses that are retried: 300 to 599, or 3, 4 or 5 for a whole class. With
	// any other a delivery fails at once. Failures without a status are always
	// retried, and so are 429 and 503 with Retry-After. Default: all
	OnStatus []int `json:"on_status,omitempty"`

	// The longest time from the first attempt to the last. Default: no bound but the
	// delays
	GiveUpAfter Duration `json:"give_up_after,omitempty"`
}

// check takes nil for the default.
func (r *Retry) check() error {
	if r == nil {
		return nil
	}
	if r.Off && (len(r.Delays) > 0 || r.Jitter != nil || len(r.OnStatus) > 0 || r.GiveUpAfter != 0) {
		return errors.New("retry off: one attempt needs no delays, jitter, on_status or give_up_after; leave them out")
	}
	for _, d := range r.Delays {
		if err := checkDelay(time.Duration(d)); err != nil {
			return err
		}
	}
	if r.Jitter != nil {
		if err := checkJitter(*r.Jitter); err != nil {
			return err
		}
	}
	if err := eachOf(r.OnStatus, checkStatus); err != nil {
		return err
	}
	return checkOptional("give_up_after", r.GiveUpAfter)
}

func checkDelay(d time.Duration) error {
	if d < 0 {
		return fmt.Errorf("retry: the delay %s is negative", d)
	}
	return nil
}

func checkJitter(share float64) error {
	if !(share >= 0 && share <= 1) { // so that NaN is refused, too
		return fmt.Errorf("jitter: %v is not possible; write a share from 0 to 1, e.g. 0.2", share)
	}
	return nil
}

func checkStatus(status int) error {
	if status >= 3 && status <= 5 || status >= 300 && status <= 599 {
		return nil
	}
	return fmt.Errorf("on_status: %d is not possible; write a status from 300 to 599, or a class: 3xx, 4xx or 5xx", status)
}

// parseStatus reads a status or a class, as in 503 and 5xx.
func parseStatus(text string) (int, error) {
	digits, class := strings.CutSuffix(strings.ToLower(text), "xx")
	n, err := strconv.Atoi(digits)
	if err != nil || class != (n < 10) {
		return 0, fmt.Errorf("on_status: %q is no status; write e.g. 503, or a class: 5xx", text)
	}
	return n, checkStatus(n)
}

// policy takes nil for the default.
func (r *Retry) policy() relay.RetryPolicy {
	p := relay.RetryPolicy{Delays: relay.DefaultSchedule, Jitter: relay.DefaultJitter}
	if r == nil {
		return p
	}
	if r.Off {
		return relay.RetryPolicy{Off: true}
	}
	if len(r.Delays) > 0 {
		p.Delays = make([]time.Duration, len(r.Delays))
		for i, d := range r.Delays {
			p.Delays[i] = time.Duration(d)
		}
	}
	if r.Jitter != nil {
		p.Jitter = *r.Jitter
	}
	p.OnStatus = r.OnStatus
	p.GiveUpAfter = time.Duration(r.GiveUpAfter)
	return p
}
