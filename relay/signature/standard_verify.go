package signature

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// DefaultTolerance is how far a timestamp may be from the receiver's clock, on
// either side, in the libraries of Standard Webhooks.
const DefaultTolerance = 5 * time.Minute

// Errors of [Verify]. Each is wrapped with what is wrong in particular.
var (
	// ErrID is about webhook-id: missing, more than one, or with a dot.
	ErrID = errors.New("webhook-id is wrong")
	// ErrTimestamp is about webhook-timestamp: missing, more than one, not Unix
	// seconds, or too far from the receiver's clock.
	ErrTimestamp = errors.New("webhook-timestamp is wrong")
	// ErrSignature is about the form of webhook-signature: missing, or without a
	// v1 signature.
	ErrSignature = errors.New("webhook-signature is wrong")
	// ErrMismatch is about the content: everything is there, but what was signed is
	// not what came, or the secret is another.
	ErrMismatch = errors.New("the signature does not match")
)

// Verify checks a v1 signature of Standard Webhooks as a receiver does. The body is
// the bytes as they came: parsed and written again they are others. It returns nil,
// or an error that says which part is wrong and is one of [ErrID], [ErrTimestamp],
// [ErrSignature] and [ErrMismatch].
//
// A tolerance of 0 or less leaves the time unchecked, for requests kept from the
// past. Otherwise the time is looked at last, so that [ErrTimestamp] about an old
// request says that the rest of it is right.
func Verify(secret StandardSecret, h http.Header, body []byte, now time.Time, tolerance time.Duration) error {
	if len(secret.key) == 0 {
		return errors.New("verifying: the secret is empty; " + makeOne)
	}
	id, err := single(h, HeaderID, ErrID)
	if err != nil {
		return err
	}
	if err := checkID(id); err != nil {
		return err
	}
	stamp, err := single(h, HeaderTimestamp, ErrTimestamp)
	if err != nil {
		return err
	}
	at, err := parseTimestamp(stamp)
	if err != nil {
		return err
	}
	signatures, err := v1Signatures(h)
	if err != nil {
		return err
	}
	if !matches(secret, signatures, id, stamp, body) {
		return mismatch(secret, signatures, id, stamp, body)
	}
	return checkAge(stamp, at, now, tolerance)
}

// single returns the only value of a field. A second one is refused: which of two
// counts would depend on who reads them.
func single(h http.Header, field string, sentinel error) (string, error) {
	switch values := h[field]; {
	case len(values) == 0 || len(values) == 1 && values[0] == "":
		return "", fmt.Errorf("%w: it is missing", sentinel)
	case len(values) > 1:
		return "", fmt.Errorf("%w: it is there %d times", sentinel, len(values))
	default:
		return values[0], nil
	}
}

// maxTimestampDigits keeps the time far from any overflow (year 33658).
const maxTimestampDigits = 12

func parseTimestamp(s string) (time.Time, error) {
	if len(s) > maxTimestampDigits {
		return time.Time{}, fmt.Errorf("%w: it has %d characters; it must be seconds since 1970, e.g. 1614265330 (are these milliseconds?)", ErrTimestamp, len(s))
	}
	// ParseUint and not ParseInt: no sign is allowed.
	seconds, err := strconv.ParseUint(s, 10, 63)
	if err != nil {
		return time.Time{}, fmt.Errorf("%w: %q is not a whole number of seconds since 1970, e.g. 1614265330", ErrTimestamp, s)
	}
	return time.Unix(int64(seconds), 0).UTC(), nil
}

// v1Signatures returns the base64 of all v1 signatures.
func v1Signatures(h http.Header) ([]string, error) {
	text := strings.Join(h[HeaderSignature], " ")
	parts := strings.Fields(text)
	if len(parts) == 0 {
		return nil, fmt.Errorf("%w: it is missing; is the delivery signed at all?", ErrSignature)
	}
	var found []string
	asymmetric := false
	for _, part := range parts {
		if signature, ok := strings.CutPrefix(part, standardVersion); ok {
			found = append(found, signature)
		}
		asymmetric = asymmetric || strings.HasPrefix(part, "v1a,")
	}
	switch {
	case len(found) > 0:
		return found, nil
	case asymmetric:
		return nil, fmt.Errorf("%w: it has ed25519 signatures (v1a) only, which are checked with a public key (whpk_) and not with this secret", ErrSignature)
	default:
		return nil, fmt.Errorf("%w: none of its parts begins with v1, (the form is: v1,<base64>)", ErrSignature)
	}
}

func matches(secret StandardSecret, signatures []string, id, stamp string, body []byte) bool {
	mac := hmac.New(sha256.New, secret.key)
	mac.Write([]byte(id + "." + stamp + "."))
	mac.Write(body)
	want := base64.StdEncoding.AppendEncode(nil, mac.Sum(nil))
	ok := false
	for _, s := range signatures {
		// All are compared, so that the time does not tell which one was close.
		ok = hmac.Equal([]byte(s), want) || ok
	}
	return ok
}

// mismatch makes the error of a signature that does not match, and looks for what
// shells and editors do to a body before it blames the secret.
func mismatch(secret StandardSecret, signatures []string, id, stamp string, body []byte) error {
	if cut := bytes.TrimRight(body, "\r\n"); len(cut) < len(body) && matches(secret, signatures, id, stamp, cut) {
		return fmt.Errorf("%w: the body has a line break at its end that was not signed", ErrMismatch)
	}
	if matches(secret, signatures, id, stamp, append(bytes.Clone(body), '\n')) {
		return fmt.Errorf("%w: the body lacks the line break at its end that was signed", ErrMismatch)
	}
	return fmt.Errorf("%w: the secret is another one, or the body, webhook-id or webhook-timestamp is not what was signed (a body that was parsed and written again is another body)", ErrMismatch)
}

func checkAge(stamp string, at, now time.Time, tolerance time.Duration) error {
	if tolerance <= 0 {
		return nil
	}
	age := now.Sub(at)
	switch {
	case age > tolerance:
		return fmt.Errorf("%w: %s (%s) is %s ago, and %s is allowed: an old request, or a wrong clock", ErrTimestamp, stamp, at.Format(time.RFC3339), age.Round(time.Second), tolerance)
	case age < -tolerance:
		return fmt.Errorf("%w: %s (%s) is %s in the future, and %s is allowed: a wrong clock", ErrTimestamp, stamp, at.Format(time.RFC3339), (-age).Round(time.Second), tolerance)
	}
	return nil
}
