package signature

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"hash"
	"net/http"
	"strconv"
	"strings"
	"sync"
)

// Header fields of Standard Webhooks, in the form in which net/http keeps them, so
// that they can be used as keys of a header map without another look.
const (
	HeaderID        = "Webhook-Id"
	HeaderTimestamp = "Webhook-Timestamp"
	HeaderSignature = "Webhook-Signature"
)

// standardVersion marks a symmetric signature in HeaderSignature.
const standardVersion = "v1,"

// Standard signs as Standard Webhooks 1.0.0 does, version v1: HMAC-SHA256 over
// "id.timestamp.body". It sets webhook-id, webhook-timestamp and
// webhook-signature.
//
// Source: https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
type Standard struct {
	keys []timed[StandardSecret]
	// signings holds *standardSigning values. Their hashes keep the state after the
	// key, which spares two of the blocks of each signature.
	signings sync.Pool
}

// standardSigning is what one call of Sign needs at a time.
type standardSigning struct {
	macs []hash.Hash // one for each of Standard.keys
	text []byte
	sum  [sha256.Size]byte
}

// NewStandard returns a signer with the given secrets. All that are valid at the
// time of a message sign it, in the order in which they are given.
func NewStandard(secrets ...TimedSecret) (*Standard, error) {
	keys, err := parseEach(secrets, ParseStandardSecret)
	if err != nil {
		return nil, err
	}
	s := &Standard{keys: keys}
	s.signings.New = func() any {
		signing := &standardSigning{macs: make([]hash.Hash, len(s.keys))}
		for i, k := range s.keys {
			signing.macs[i] = hmac.New(sha256.New, k.key.key)
		}
		return signing
	}
	return s, nil
}

// String and GoString keep the secrets out of logs and errors.
func (s *Standard) String() string { return "standard " + masked }

// GoString is as String.
func (s *Standard) GoString() string { return s.String() }

// Sign sets the three header fields. It fails with [ErrNoSecret] if no secret is
// valid at m.Time, and on an ID that the specification forbids, since its dot
// would let two messages have one signature. Signatures that stand there already, of
// [StandardEd25519], are kept: the specification has them side by side.
func (s *Standard) Sign(h http.Header, m Message) error {
	if err := checkID(m.ID); err != nil {
		return fmt.Errorf("signing: %w", err)
	}
	signing := s.signings.Get().(*standardSigning)
	defer s.signings.Put(signing)

	text := append(signing.text[:0], m.ID...)
	text = append(text, '.')
	stamp := len(text)
	text = strconv.AppendInt(text, m.Time.Unix(), 10)
	signatures := len(text) + 1
	text = append(text, '.')
	signed := text
	for i := range s.keys {
		if !s.keys[i].ValidAt(m.Time) {
			continue
		}
		mac := signing.macs[i]
		mac.Reset()
		mac.Write(signed)
		mac.Write(m.Body) // apart, so that the body is not copied
		if len(text) > signatures {
			text = append(text, ' ')
		}
		text = append(text, standardVersion...)
		text = base64.StdEncoding.AppendEncode(text, mac.Sum(signing.sum[:0]))
	}
	signing.text = text
	if len(text) == signatures {
		return noSecret(m.Time)
	}

	// One string and one array for the three fields: this runs once an attempt.
	values := string(text[stamp:])
	fields := &[3]string{m.ID, values[:signatures-1-stamp], values[signatures-stamp:]}
	if other := h[HeaderSignature]; len(other) > 0 {
		fields[2] = other[0] + " " + fields[2]
	}
	h[HeaderID] = fields[0:1:1]
	h[HeaderTimestamp] = fields[1:2:2]
	h[HeaderSignature] = fields[2:3:3]
	return nil
}

// checkID says what is wrong with the ID of a message, or nil.
func checkID(id string) error {
	switch {
	case id == "":
		return wrong(ErrID, fieldID, "it is missing")
	case strings.IndexByte(id, '.') >= 0:
		return wrong(ErrID, fieldID, "it has a dot in it, which Standard Webhooks forbids")
	}
	return nil
}
