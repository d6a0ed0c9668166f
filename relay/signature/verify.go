package signature

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// DefaultTolerance is how far a timestamp may be from the receiver's clock, on
// either side, in the libraries of Standard Webhooks and of Stripe.
const DefaultTolerance = 5 * time.Minute

// single returns the only value of a field. A second one is refused: which of two
// counts would depend on who reads them.
func single(h http.Header, field string, part error) (string, error) {
	switch values := h[field]; {
	case len(values) == 0 || len(values) == 1 && values[0] == "":
		fault := "it is missing"
		if errors.Is(part, ErrSignature) {
			fault += "; is the delivery signed at all?"
		}
		return "", wrong(part, strings.ToLower(field), "%s", fault)
	case len(values) > 1:
		return "", wrong(part, strings.ToLower(field), "it is there %d times", len(values))
	default:
		return values[0], nil
	}
}

// maxTimestampDigits keeps the time far from any overflow (year 33658).
const maxTimestampDigits = 12

// parseSeconds reads the time in a field.
func parseSeconds(field, s string) (time.Time, error) {
	if len(s) > maxTimestampDigits {
		return time.Time{}, wrong(ErrTimestamp, field, "it has %d characters; it must be seconds since 1970, e.g. 1614265330 (are these milliseconds?)", len(s))
	}
	// ParseUint and not ParseInt: no sign is allowed.
	seconds, err := strconv.ParseUint(s, 10, 63)
	if err != nil {
		return time.Time{}, wrong(ErrTimestamp, field, "%q is not a whole number of seconds since 1970, e.g. 1614265330", s)
	}
	return time.Unix(int64(seconds), 0).UTC(), nil
}

// checkAge judges a time that is known to be what was signed.
func checkAge(field, stamp string, at, now time.Time, tolerance time.Duration) error {
	if tolerance <= 0 {
		return nil
	}
	age := now.Sub(at)
	switch {
	case age > tolerance:
		return wrong(ErrTimestamp, field, "%s (%s) is %s ago, and %s is allowed: an old request, or a wrong clock", stamp, at.Format(time.RFC3339), age.Round(time.Second), tolerance)
	case age < -tolerance:
		return wrong(ErrTimestamp, field, "%s (%s) is %s in the future, and %s is allowed: a wrong clock", stamp, at.Format(time.RFC3339), (-age).Round(time.Second), tolerance)
	}
	return nil
}

// mismatch makes the error of a signature that does not match. Before it blames the
// secret it looks for what shells, editors and frameworks do to a body. What else was
// signed is named by others.
func mismatch(body []byte, others string, matches func(body []byte) bool) error {
	if cut := bytes.TrimRight(body, "\r\n"); len(cut) < len(body) && matches(cut) {
		return fmt.Errorf("%w: the body has a line break at its end that was not signed", ErrMismatch)
	}
	if matches(append(bytes.Clone(body), '\n')) {
		return fmt.Errorf("%w: the body lacks the line break at its end that was signed", ErrMismatch)
	}
	var compact bytes.Buffer
	if json.Compact(&compact, body) == nil && compact.Len() < len(body) && matches(compact.Bytes()) {
		return fmt.Errorf("%w: the body has white space that was not signed; it was parsed and written again: verify the bytes as they came", ErrMismatch)
	}
	return fmt.Errorf("%w: the secret is another one, or %s is not what was signed (a body that was parsed and written again is another body)", ErrMismatch, others)
}
