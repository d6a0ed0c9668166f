package sink

import (
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/caddyrelay/caddyrelay/relay/signature"
)

// DefaultFailStatus answers requests that fail on purpose.
const DefaultFailStatus = http.StatusServiceUnavailable

// Options say how a [Sink] behaves. The zero value takes every request, at once and
// without a look at its signature.
type Options struct {
	// Secret is that of the subscription (whsec_...). With one, each request must
	// carry a Standard Webhooks signature of it, at most five minutes old; others
	// get 401 and are told why. Default: none, nothing is checked.
	Secret string

	// FailShare is the part of the requests that fail with FailStatus, from 0
	// (none) to 1 (all). It is kept by counting and not by chance: with 0.25 it is
	// each fourth request. Requests with a wrong signature are not counted.
	FailShare float64
	// FailFirst makes the first attempt of each delivery fail with FailStatus. A
	// delivery is known by webhook-id and Relay-Subscription; of the many that a
	// sink may see, the last 10,000 are known again.
	FailFirst bool
	// FailStatus is from 300 to 599. Default: 503.
	FailStatus int

	// Delay is the time before each answer. Default: none.
	Delay time.Duration

	// OnRequest, if set, is called with each request just before it is answered, by
	// the goroutine that serves it: by several at once, and each answer waits for
	// it.
	OnRequest func(Record)
}

// parse checks o and fills in defaults.
func (o Options) parse() (Options, signature.StandardSecret, error) {
	var secret signature.StandardSecret
	var errs []error
	if o.Secret != "" {
		var err error
		if secret, err = signature.ParseStandardSecret(o.Secret); err != nil {
			errs = append(errs, err)
		}
	}
	// Written so that NaN is refused, too.
	if !(o.FailShare >= 0 && o.FailShare <= 1) {
		errs = append(errs, fmt.Errorf("the share of requests that fail is %v; it must be from 0 (none) to 1 (all), e.g. 0.2", o.FailShare))
	}
	if o.FailStatus == 0 {
		o.FailStatus = DefaultFailStatus
	}
	if o.FailStatus < 300 || o.FailStatus > 599 {
		errs = append(errs, fmt.Errorf("the status of requests that fail is %d; it must be from 300 to 599, e.g. 503", o.FailStatus))
	}
	if o.Delay < 0 {
		errs = append(errs, fmt.Errorf("the delay is %s; it must not be negative", o.Delay))
	}
	return o, secret, errors.Join(errs...)
}
