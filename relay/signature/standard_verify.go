package signature

import (
	"crypto/ed25519"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"net/http"
	"strings"
	"time"
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
	return verifyStandard(h, body, now, tolerance, standardVersion, func(text, body []byte, signatures []string) bool {
		mac := hmac.New(sha256.New, secret.key)
		mac.Write(text)
		mac.Write(body)
		want := base64.StdEncoding.AppendEncode(nil, mac.Sum(nil))
		ok := false
		for _, s := range signatures {
			// All are compared, so that the time does not tell which one was close.
			ok = hmac.Equal([]byte(s), want) || ok
		}
		return ok
	})
}

// VerifyEd25519 is [Verify] for a v1a signature.
func VerifyEd25519(key Ed25519PublicKey, h http.Header, body []byte, now time.Time, tolerance time.Duration) error {
	if len(key.key) == 0 {
		return errors.New("verifying: the public key is empty; " + makePair)
	}
	return verifyStandard(h, body, now, tolerance, ed25519Version, func(text, body []byte, signatures []string) bool {
		for _, s := range signatures {
			raw, err := base64.StdEncoding.DecodeString(s)
			if err == nil && ed25519.Verify(key.key, append(text[:len(text):len(text)], body...), raw) {
				return true
			}
		}
		return false
	})
}

// verifyStandard does what both versions have in common. matches is given what stands
// before the body, the body, and the signatures of the version.
func verifyStandard(
	h http.Header, body []byte, now time.Time, tolerance time.Duration, version string,
	matches func(text, body []byte, signatures []string) bool,
) error {
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
	at, err := parseSeconds(fieldTimestamp, stamp)
	if err != nil {
		return err
	}
	signatures, err := signaturesOf(h, version)
	if err != nil {
		return err
	}
	text := []byte(id + "." + stamp + ".")
	if !matches(text, body, signatures) {
		return mismatch(body, "the body, webhook-id or webhook-timestamp", func(body []byte) bool {
			return matches(text, body, signatures)
		})
	}
	return checkAge(fieldTimestamp, stamp, at, now, tolerance)
}

// signaturesOf returns the base64 of all signatures of a version.
func signaturesOf(h http.Header, version string) ([]string, error) {
	parts := strings.Fields(strings.Join(h[HeaderSignature], " "))
	if len(parts) == 0 {
		return nil, wrong(ErrSignature, fieldSignature, "it is missing; is the delivery signed at all?")
	}
	var found []string
	other := false
	for _, part := range parts {
		if signature, ok := strings.CutPrefix(part, version); ok {
			found = append(found, signature)
		}
		other = other || strings.HasPrefix(part, otherVersion[version])
	}
	switch {
	case len(found) > 0:
		return found, nil
	case other && version == standardVersion:
		return nil, wrong(ErrSignature, fieldSignature, "it has ed25519 signatures (v1a) only, which are checked with a public key (whpk_) and not with this secret")
	case other:
		return nil, wrong(ErrSignature, fieldSignature, "it has symmetric signatures (v1) only, which are checked with a secret (whsec_) and not with this public key")
	default:
		return nil, wrong(ErrSignature, fieldSignature, "none of its parts begins with %s (the form is: %s<base64>)", version, version)
	}
}

var otherVersion = map[string]string{standardVersion: ed25519Version, ed25519Version: standardVersion}

// The fields as the specification writes them, for errors.
const (
	fieldID        = "webhook-id"
	fieldTimestamp = "webhook-timestamp"
	fieldSignature = "webhook-signature"
)
