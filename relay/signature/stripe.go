package signature

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// HeaderStripe is the field of [Stripe].
const HeaderStripe = "Stripe-Signature"

const fieldStripe = "stripe-signature"

// Stripe signs as Stripe does: Stripe-Signature, with the time of the attempt and
// HMAC-SHA256 over "timestamp.body". The key is the whole text of the secret, whsec_ and
// all: it is not decoded, unlike that of Standard Webhooks.
//
// Source: https://docs.stripe.com/webhooks#verify-manually
type Stripe struct {
	keys []timed[[]byte]
}

// NewStripe returns a signer with the given secrets. All that are valid at the time of a
// message sign it, in the order in which they are given.
func NewStripe(secrets ...TimedSecret) (*Stripe, error) {
	keys, err := parseEach(secrets, parseText)
	if err != nil {
		return nil, err
	}
	return &Stripe{keys: keys}, nil
}

// String and GoString keep the secrets out of logs and errors.
func (s *Stripe) String() string { return "stripe " + masked }

// GoString is as String.
func (s *Stripe) GoString() string { return s.String() }

// Sign sets the field. It fails with [ErrNoSecret] if no secret is valid at m.Time.
func (s *Stripe) Sign(h http.Header, m Message) error {
	stamp := strconv.FormatInt(m.Time.Unix(), 10)
	value := "t=" + stamp
	none := len(value)
	for i := range s.keys {
		if s.keys[i].ValidAt(m.Time) {
			value += ",v1=" + stripeSignature(s.keys[i].key, stamp, m.Body)
		}
	}
	if len(value) == none {
		return noSecret(m.Time)
	}
	h[HeaderStripe] = []string{value}
	return nil
}

func stripeSignature(key []byte, stamp string, body []byte) string {
	mac := hmac.New(sha256.New, key)
	mac.Write([]byte(stamp + "."))
	mac.Write(body)
	return hex.EncodeToString(mac.Sum(nil))
}

// VerifyStripe checks a Stripe-Signature as a receiver does. Errors are as those of
// [Verify].
func VerifyStripe(secret string, h http.Header, body []byte, now time.Time, tolerance time.Duration) error {
	key, err := parseText(secret)
	if err != nil {
		return err
	}
	value, err := single(h, HeaderStripe, ErrSignature)
	if err != nil {
		return err
	}
	stamp, signatures := "", []string(nil)
	for part := range strings.SplitSeq(value, ",") {
		switch name, text, _ := strings.Cut(part, "="); {
		case name == "t" && stamp != "":
			return wrong(ErrTimestamp, fieldStripe, "its part t= is there twice")
		case name == "t":
			stamp = text
		case name == "v1":
			signatures = append(signatures, text)
		}
	}
	switch {
	case stamp == "":
		return wrong(ErrTimestamp, fieldStripe, "its part t=<seconds> is missing")
	case len(signatures) == 0:
		return wrong(ErrSignature, fieldStripe, "its part v1=<signature> is missing")
	}
	at, err := parseSeconds(fieldStripe, stamp)
	if err != nil {
		return err
	}
	matches := func(body []byte) bool {
		want, ok := []byte(stripeSignature(key, stamp, body)), false
		for _, s := range signatures {
			ok = hmac.Equal([]byte(s), want) || ok
		}
		return ok
	}
	if !matches(body) {
		return mismatch(body, "the body or the time t", matches)
	}
	return checkAge(fieldStripe, stamp, at, now, tolerance)
}
