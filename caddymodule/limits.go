package caddymodule

import (
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddyrelay/caddyrelay/relay"
)

// RateLimit bounds the attempts of a subscription over time: a bucket of events that
// refills evenly over the window.
type RateLimit struct {
	// The number of attempts, at least 1.
	Events int `json:"events"`

	// The time over which the bucket refills.
	Window Duration `json:"window"`
}

func (r *RateLimit) check() error {
	switch {
	case r == nil:
		return nil
	case r.Events < 1:
		return fmt.Errorf("rate_limit: %d events are not possible; write at least 1, e.g. rate_limit 50 1s", r.Events)
	}
	return checkDuration("rate_limit", time.Duration(r.Window))
}

func (r *RateLimit) parse(args []string) error {
	events, err := strconv.Atoi(args[0])
	if err != nil {
		return fmt.Errorf("rate_limit: %q is no number of events; write e.g. rate_limit 50 1s", args[0])
	}
	window, err := caddy.ParseDuration(args[1])
	if err != nil {
		return fmt.Errorf("rate_limit: %q is no window; write a number with its unit, e.g. 1s or 1m", args[1])
	}
	r.Events, r.Window = events, Duration(window)
	return r.check()
}

func (r *RateLimit) build() relay.RateLimit {
	if r == nil {
		return relay.RateLimit{}
	}
	return relay.RateLimit{Events: r.Events, Window: time.Duration(r.Window)}
}

// Breaker leaves an endpoint alone for a while whose attempts fail. While it is open
// nothing is attempted or charged; after the pause one attempt probes the endpoint, and
// if that succeeds the number of attempts under way grows step by step.
type Breaker struct {
	// Switches it off. Default: false
	Off bool `json:"off,omitempty"`

	// The share of failed attempts within the window that opens it, above 0 and at most
	// 1. Answers of 429 count neither way. Default: 0.7
	FailureRatio float64 `json:"failure_ratio,omitempty"`

	// The least number of attempts within the window that says anything. Default: 10
	LeastAttempts int `json:"least_attempts,omitempty"`

	// The window. Default: 5m
	Window Duration `json:"window,omitempty"`

	// The time until the probe. Default: 30s
	Pause Duration `json:"pause,omitempty"`
}

func (b *Breaker) check() error {
	switch {
	case b == nil:
		return nil
	case b.Off && *b != Breaker{Off: true}:
		return errors.New("breaker off: nothing else can be said of a breaker that is off")
	case !(b.FailureRatio >= 0 && b.FailureRatio <= 1): // so that NaN is refused, too
		return fmt.Errorf("breaker: a failure ratio of %v is not possible; write a share above 0 and at most 1, e.g. 0.7", b.FailureRatio)
	case b.LeastAttempts < 0:
		return fmt.Errorf("breaker: %d attempts are not possible; write at least 1", b.LeastAttempts)
	}
	if err := checkOptional("breaker: window", b.Window); err != nil {
		return err
	}
	return checkOptional("breaker: pause", b.Pause)
}

const breakerUsage = "breaker off, or: breaker <failure ratio> <least attempts> <window> [<pause>]"

func (b *Breaker) parse(args []string) error {
	if len(args) == 1 && args[0] == "off" {
		b.Off = true
		return nil
	}
	if len(args) < 3 {
		return fmt.Errorf("breaker: write: %s, e.g. breaker 0.7 10 5m 30s", breakerUsage)
	}
	var err error
	if b.FailureRatio, err = strconv.ParseFloat(args[0], 64); err != nil || b.FailureRatio == 0 {
		return fmt.Errorf("breaker: %q is no failure ratio; write a share above 0 and at most 1, e.g. 0.7", args[0])
	}
	if b.LeastAttempts, err = strconv.Atoi(args[1]); err != nil || b.LeastAttempts < 1 {
		return fmt.Errorf("breaker: %q is no number of attempts; write at least 1", args[1])
	}
	for i, d := range []*Duration{&b.Window, &b.Pause} {
		if len(args) <= 2+i {
			break
		}
		parsed, err := caddy.ParseDuration(args[2+i])
		if err != nil || parsed <= 0 {
			return fmt.Errorf("breaker: %q is no duration; write a number with its unit, e.g. 30s or 5m", args[2+i])
		}
		*d = Duration(parsed)
	}
	return b.check()
}

func (b *Breaker) build() relay.BreakerPolicy {
	p := relay.DefaultBreaker
	if b == nil {
		return p
	}
	p.Off = b.Off
	if b.FailureRatio > 0 {
		p.Ratio = b.FailureRatio
	}
	if b.LeastAttempts > 0 {
		p.Least = b.LeastAttempts
	}
	if b.Window > 0 {
		p.Window = time.Duration(b.Window)
	}
	if b.Pause > 0 {
		p.Pause = time.Duration(b.Pause)
	}
	return p
}

// checkOrderBy judges the placeholder of order_by, which may be missing.
func checkOrderBy(text string) error {
	if text == "" {
		return nil
	}
	if _, err := relay.ParsePlaceholder(text); err != nil {
		return fmt.Errorf("order_by: %w", err)
	}
	return nil
}
