package signature

import (
	"errors"
	"fmt"
	"time"
)

// ErrNoSecret is the error of signing at a time at which none of the secrets is
// valid: the attempt cannot be signed, and must not go out unsigned.
var ErrNoSecret = errors.New("no signing secret is valid")

// TimedSecret is a secret with the time in which it signs. Two that overlap are a
// rotation: both sign, and a receiver may know either.
type TimedSecret struct {
	// Secret is as a person writes it; its form depends on the scheme.
	Secret string
	// From is the first moment at which the secret signs. Zero: since ever.
	From time.Time
	// Until is the first moment at which it signs no more. Zero: for ever.
	Until time.Time
}

// ValidAt reports whether the secret signs at t.
func (s TimedSecret) ValidAt(t time.Time) bool {
	return !t.Before(s.From) && (s.Until.IsZero() || t.Before(s.Until))
}

// String and GoString keep the secret out of logs and errors.
func (s TimedSecret) String() string { return masked }

// GoString is as String.
func (s TimedSecret) GoString() string { return masked }

const masked = "[secret]"

// checkWindow says what is wrong with the times of a secret, or nil.
func (s TimedSecret) checkWindow() error {
	if !s.Until.IsZero() && !s.Until.After(s.From) {
		return fmt.Errorf("it is never valid: until (%s) must be after from (%s)",
			s.Until.Format(time.RFC3339), s.From.Format(time.RFC3339))
	}
	return nil
}
