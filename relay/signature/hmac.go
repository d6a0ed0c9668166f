package signature

import (
	"crypto/hmac"
	"crypto/sha1" // some receivers know no other, and as an HMAC it is not broken
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

// HeaderGitHub is the field of [NewGitHub].
const HeaderGitHub = "X-Hub-Signature-256"

// HMACOptions say how [HMAC] signs. Only Header is required.
type HMACOptions struct {
	// Header is the name of the field that the signature goes into.
	Header string
	// Algorithm is sha256, sha512 or sha1. Default: sha256
	Algorithm string
	// Encoding of the signature is hex (lower case) or base64 (standard, with padding).
	// Default: hex
	Encoding string
	// Prefix stands before the signature, as in "sha256=". Default: none
	Prefix string
	// Over is what is signed: the body, or "id.timestamp.body" as in Standard Webhooks
	// (standard), whose ID and time are then found in webhook-id and webhook-timestamp.
	// Default: body
	Over string
}

// The values that options may have, the default first.
var (
	HMACAlgorithms = []string{"sha256", "sha512", "sha1"}
	HMACEncodings  = []string{"hex", "base64"}
	HMACOver       = []string{"body", "standard"}
)

var hashes = map[string]func() hash.Hash{"sha256": sha256.New, "sha512": sha512.New, "sha1": sha1.New}

// Check returns what is wrong with the options, or nil.
func (o HMACOptions) Check() error {
	switch {
	case o.Header == "":
		return errors.New("header missing; name the field of the signature, e.g. header X-Signature")
	case strings.ContainsFunc(o.Header, func(r rune) bool { return !isToken(r) }):
		return fmt.Errorf("header: %q is no name of a header field; it has letters, digits and hyphens, and no colon", o.Header)
	case strings.ContainsFunc(o.Prefix, func(r rune) bool { return r < ' ' || r > '~' }):
		return errors.New("prefix: only visible ASCII characters and spaces can stand in a header field")
	}
	for _, choice := range []struct {
		name, value string
		values      []string
	}{{"algorithm", o.Algorithm, HMACAlgorithms}, {"encoding", o.Encoding, HMACEncodings}, {"over", o.Over, HMACOver}} {
		if choice.value != "" && !slices.Contains(choice.values, choice.value) {
			return fmt.Errorf("%s: %q is not possible; write one of %s", choice.name, choice.value, strings.Join(choice.values, ", "))
		}
	}
	return nil
}

// isToken reports whether a character may stand in the name of a field (RFC 9110, section
// 5.6.2).
func isToken(r rune) bool {
	return r >= '0' && r <= '9' || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || strings.ContainsRune("!#$%&'*+-.^_`|~", r)
}

func (o HMACOptions) withDefaults() HMACOptions {
	for _, choice := range []struct {
		value  *string
		values []string
	}{{&o.Algorithm, HMACAlgorithms}, {&o.Encoding, HMACEncodings}, {&o.Over, HMACOver}} {
		if *choice.value == "" {
			*choice.value = choice.values[0]
		}
	}
	o.Header = http.CanonicalHeaderKey(o.Header)
	return o
}

// HMAC signs with a hash and a shared secret, whose text is the key, and puts one
// signature into one field. It suits the receivers of many senders.
type HMAC struct {
	options HMACOptions
	keys    []timed[[]byte]
}

// NewHMAC returns a signer with the given secrets. The field has room for one signature:
// of those valid at the time of a message the newest one signs, see [TimedSecret].
func NewHMAC(o HMACOptions, secrets ...TimedSecret) (*HMAC, error) {
	if err := o.Check(); err != nil {
		return nil, err
	}
	keys, err := parseEach(secrets, parseText)
	if err != nil {
		return nil, err
	}
	return &HMAC{options: o.withDefaults(), keys: keys}, nil
}

// GitHub are the options by which GitHub signs its webhooks: X-Hub-Signature-256 over the
// body. Neither the ID nor the time is signed, so that a receiver cannot tell a request
// from one that was recorded.
//
// Source: https://docs.github.com/webhooks/using-webhooks/validating-webhook-deliveries
var GitHub = HMACOptions{Header: HeaderGitHub, Prefix: "sha256="}

// NewGitHub returns a signer that signs as GitHub does.
func NewGitHub(secrets ...TimedSecret) (*HMAC, error) { return NewHMAC(GitHub, secrets...) }

// String and GoString keep the secrets out of logs and errors.
func (s *HMAC) String() string { return "hmac " + masked }

// GoString is as String.
func (s *HMAC) GoString() string { return s.String() }

// Sign sets the field. It fails with [ErrNoSecret] if no secret is valid at m.Time and,
// over standard, on an ID that has a dot in it.
func (s *HMAC) Sign(h http.Header, m Message) error {
	key, err := newest(s.keys, m.Time)
	if err != nil {
		return err
	}
	text := ""
	if s.options.Over == "standard" {
		if err := checkID(m.ID); err != nil {
			return fmt.Errorf("signing: %w", err)
		}
		stamp := strconv.FormatInt(m.Time.Unix(), 10)
		text = m.ID + "." + stamp + "."
		h[HeaderID], h[HeaderTimestamp] = []string{m.ID}, []string{stamp}
	}
	h[s.options.Header] = []string{s.options.signature(key.key, text, m.Body)}
	return nil
}

// signature returns the field's value. The options have no defaults left.
func (o *HMACOptions) signature(key []byte, text string, body []byte) string {
	mac := hmac.New(hashes[o.Algorithm], key)
	mac.Write([]byte(text))
	mac.Write(body)
	sum := mac.Sum(nil)
	if o.Encoding == "base64" {
		return o.Prefix + base64.StdEncoding.EncodeToString(sum)
	}
	return o.Prefix + hex.EncodeToString(sum)
}

// VerifyHMAC checks the signature of an [HMAC] with these options. The tolerance counts
// over standard only; otherwise the time is not signed. Errors are as those of [Verify].
func VerifyHMAC(o HMACOptions, secret string, h http.Header, body []byte, now time.Time, tolerance time.Duration) error {
	if err := o.Check(); err != nil {
		return err
	}
	key, err := parseText(secret)
	if err != nil {
		return err
	}
	o = o.withDefaults()
	field := strings.ToLower(o.Header)
	found, err := single(h, o.Header, ErrSignature)
	if err != nil {
		return err
	}
	if !strings.HasPrefix(found, o.Prefix) {
		return wrong(ErrSignature, field, "it does not begin with %q", o.Prefix)
	}
	text, others, at, stamp := "", "the body", time.Time{}, ""
	if o.Over == "standard" {
		var id string
		if id, err = single(h, HeaderID, ErrID); err != nil {
			return err
		}
		if stamp, err = single(h, HeaderTimestamp, ErrTimestamp); err != nil {
			return err
		}
		if at, err = parseSeconds(fieldTimestamp, stamp); err != nil {
			return err
		}
		text, others = id+"."+stamp+".", "the body, webhook-id or webhook-timestamp"
	}
	matches := func(body []byte) bool { return hmac.Equal([]byte(o.signature(key, text, body)), []byte(found)) }
	if !matches(body) {
		return mismatch(body, others, matches)
	}
	if at.IsZero() {
		return nil
	}
	return checkAge(fieldTimestamp, stamp, at, now, tolerance)
}
