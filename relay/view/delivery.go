package view

import (
	"unicode/utf8"

	"github.com/caddyrelay/caddyrelay/relay"
)

// MaxExcerpt is the largest response_excerpt, in bytes of UTF-8.
const MaxExcerpt = 16 << 10

// Delivery is one event for one subscription.
type Delivery struct {
	Event        string       `json:"event"`
	Subscription string       `json:"subscription"`
	Region       string       `json:"region"`
	State        relay.State  `json:"state"`
	Reason       relay.Reason `json:"reason"`
	// WaitingFor is the event behind which this one waits in order; left out if there is
	// none.
	WaitingFor string `json:"waiting_for,omitempty"`
	// NextAttempt is null where none is planned.
	NextAttempt Time `json:"next_attempt"`
	// AttemptCount counts all attempts made, also those no longer kept.
	AttemptCount int `json:"attempt_count"`
	// Attempts are those kept, ascending; left out (nil) in lists.
	Attempts []Attempt `json:"attempts,omitzero"`
}

// NewDelivery shows a delivery with its attempts.
func NewDelivery(d *relay.Delivery) Delivery {
	v := NewListedDelivery(d)
	v.Attempts = make([]Attempt, len(d.Attempts))
	for i := range d.Attempts {
		v.Attempts[i] = NewAttempt(&d.Attempts[i])
	}
	return v
}

// NewListedDelivery shows a delivery as an item of a list: without attempts.
func NewListedDelivery(d *relay.Delivery) Delivery {
	return Delivery{
		Event:        d.Event,
		Subscription: d.Subscription,
		Region:       d.Region,
		State:        d.State,
		Reason:       d.Reason,
		WaitingFor:   d.WaitingFor,
		NextAttempt:  Time{d.NextAttempt},
		AttemptCount: d.AttemptCount,
	}
}

// Attempt is one try to make a delivery.
type Attempt struct {
	AttemptResult
	// ResponseExcerpt has U+FFFD in the place of each byte that is not UTF-8.
	ResponseExcerpt string `json:"response_excerpt"`
}

// AttemptResult is how an attempt went, without what was answered.
type AttemptResult struct {
	Number int  `json:"number"`
	At     Time `json:"at"`
	// DurationMS is in whole milliseconds.
	DurationMS int64 `json:"duration_ms"`
	// Status is 0 where there was no answer.
	Status int `json:"status"`
	// Error is a sentence, ErrorKind a word; both are empty on success.
	Error         string          `json:"error"`
	ErrorKind     relay.ErrorKind `json:"error_kind"`
	LocalAddress  string          `json:"local_address"`
	RemoteAddress string          `json:"remote_address"`
}

// NewAttempt shows an attempt.
func NewAttempt(a *relay.Attempt) Attempt {
	return Attempt{AttemptResult: newAttemptResult(a), ResponseExcerpt: excerpt(a.Excerpt)}
}

func newAttemptResult(a *relay.Attempt) AttemptResult {
	return AttemptResult{
		Number:        a.Number,
		At:            Time{a.At},
		DurationMS:    a.Duration.Milliseconds(),
		Status:        a.Status,
		Error:         a.Error,
		ErrorKind:     a.ErrorKind,
		LocalAddress:  a.Local,
		RemoteAddress: a.Remote,
	}
}

// excerpt makes text of the beginning of a response. The limit is checked on the
// result, since U+FFFD is longer than the byte in whose place it stands.
func excerpt(raw []byte) string {
	if len(raw) <= MaxExcerpt && utf8.Valid(raw) {
		return string(raw)
	}
	text := make([]byte, 0, min(len(raw)+utf8.UTFMax, MaxExcerpt))
	for len(raw) > 0 {
		r, size := utf8.DecodeRune(raw)
		if r == utf8.RuneError && size == 1 && len(text)+len("\uFFFD") > MaxExcerpt || len(text)+size > MaxExcerpt {
			break
		}
		text = utf8.AppendRune(text, r)
		raw = raw[size:]
	}
	return string(text)
}
