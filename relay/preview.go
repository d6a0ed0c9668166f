package relay

import (
	"context"
	"errors"
	"io"
	"net/http"
	"time"
)

// Preview is a request as an attempt would make it now, as far as it is the relay's own:
// without the fields that the configuration adds, credentials, and signatures.
type Preview struct {
	Method string
	Header http.Header
	Body   []byte
}

// Preview shows the request of the given attempt of a delivery to a subscription of the
// active plan. Nothing is sent, and no token is asked for.
func (r *Relay) Preview(ctx context.Context, e *Event, subscription string, attempt int) (*Preview, error) {
	plan := r.matching.Load()
	if plan == nil || plan.byName[subscription] == nil {
		return nil, &UnknownNameError{subscription}
	}
	if !e.Erased.IsZero() {
		return nil, ErrErased
	}
	plain := *plan.byName[subscription]
	plain.Header, plain.Auth, plain.Signers = nil, nil, nil
	j := job{parcel: parcel{event: e, seq: e.Seq}, plan: plan, sub: &plain}
	req, err := j.request(ctx, Attempt{Number: attempt, At: time.Now()})
	if err != nil {
		if made, ok := errors.AsType[*requestError](err); ok {
			return nil, made.err
		}
		return nil, err
	}
	p := &Preview{Method: req.Method, Header: req.Header}
	if req.Body != nil {
		if p.Body, err = io.ReadAll(req.Body); err != nil {
			return nil, err
		}
	}
	return p, nil
}
