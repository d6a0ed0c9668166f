package caddymodule

import (
	"fmt"
	"time"

	"github.com/caddyrelay/caddyrelay/relay"
)

// Retention says how long finished records are kept, counted from acceptance. What is
// not finished is kept as long as it takes.
type Retention struct {
	// Events all of whose deliveries succeeded, and those that nobody wanted.
	// Default: 7d
	Delivered Duration `json:"delivered,omitempty"`

	// Events with a delivery that was given up. Default: 30d
	Failed Duration `json:"failed,omitempty"`

	// Idempotency keys: a request that is repeated later than this is a new one.
	// Default: 24h
	IdempotencyKeys Duration `json:"idempotency_keys,omitempty"`
}

// check takes nil for the defaults.
func (r *Retention) check() error {
	if r == nil {
		return nil
	}
	for _, d := range []struct {
		name string
		d    Duration
	}{{"delivered", r.Delivered}, {"failed", r.Failed}, {"idempotency_keys", r.IdempotencyKeys}} {
		if err := checkOptional(d.name, d.d); err != nil {
			return fmt.Errorf("retention: %w", err)
		}
	}
	return nil
}

// build takes nil for the defaults.
func (r *Retention) build() relay.Retention {
	if r == nil {
		return relay.Retention{}
	}
	return relay.Retention{
		Delivered:       time.Duration(r.Delivered),
		Failed:          time.Duration(r.Failed),
		IdempotencyKeys: time.Duration(r.IdempotencyKeys),
	}
}
