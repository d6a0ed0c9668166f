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

// timed is a secret in the form in which a scheme uses it.
type timed[K any] struct {
	TimedSecret
	key K
}

// parseEach parses the secrets of a signer. An error says which of several it is about,
// and never holds the secret.
func parseEach[K any](secrets []TimedSecret, parse func(string) (K, error)) ([]timed[K], error) {
	if len(secrets) == 0 {
		return nil, errors.New("there is no secret to sign with; " + makeOne)
	}
	keys := make([]timed[K], len(secrets))
	for i, secret := range secrets {
		key, err := parse(secret.Secret)
		if err == nil {
			err = secret.checkWindow()
		}
		if err != nil {
			if len(secrets) == 1 {
				return nil, err
			}
			return nil, fmt.Errorf("secret %d of %d: %w", i+1, len(secrets), err)
		}
		keys[i] = timed[K]{secret, key}
	}
	return keys, nil
}

// newest returns the secret that signs at t where a scheme has room for one signature:
// of those valid the one that became valid last, of two such the one that lasts longer.
// So a rotation needs no third step: the new one takes over at its from.
func newest[K any](keys []timed[K], t time.Time) (*timed[K], error) {
	var found *timed[K]
	for i := range keys {
		if k := &keys[i]; k.ValidAt(t) && (found == nil || k.newerThan(found.TimedSecret)) {
			found = k
		}
	}
	if found == nil {
		return nil, noSecret(t)
	}
	return found, nil
}

func (s TimedSecret) newerThan(o TimedSecret) bool {
	switch {
	case !s.From.Equal(o.From):
		return s.From.After(o.From)
	case s.Until.IsZero() || o.Until.IsZero():
		return s.Until.IsZero() && !o.Until.IsZero()
	default:
		return s.Until.After(o.Until)
	}
}

func noSecret(t time.Time) error {
	return fmt.Errorf("signing: %w at %s: add one whose time (from, until) covers that", ErrNoSecret, t.UTC().Format(time.RFC3339))
}
