package signature

import (
	"crypto/ed25519"
	"encoding/base64"
	"fmt"
	"net/http"
	"strconv"
	"sync"
)

// ed25519Version marks an asymmetric signature in HeaderSignature.
const ed25519Version = "v1a,"

// StandardEd25519 signs as Standard Webhooks 1.0.0 does, version v1a: ed25519 over
// "id.timestamp.body". Receivers verify with a public key, and cannot sign with it. It sets
// the same fields as [Standard], and may stand beside it.
//
// Source: https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
type StandardEd25519 struct {
	keys []timed[Ed25519Key]
	// texts holds *[]byte: ed25519 reads a message twice, so it has to be in one piece.
	texts sync.Pool
}

// NewStandardEd25519 returns a signer with the given private keys (whsk_...). All that are
// valid at the time of a message sign it, in the order in which they are given.
func NewStandardEd25519(secrets ...TimedSecret) (*StandardEd25519, error) {
	keys, err := parseEach(secrets, ParseEd25519Key)
	if err != nil {
		return nil, err
	}
	return &StandardEd25519{keys: keys, texts: sync.Pool{New: func() any { return new([]byte) }}}, nil
}

// String and GoString keep the keys out of logs and errors.
func (s *StandardEd25519) String() string { return "standard_ed25519 " + masked }

// GoString is as String.
func (s *StandardEd25519) GoString() string { return s.String() }

// Sign sets the three header fields. It fails as [Standard.Sign] does. Signatures that
// stand there already are kept.
func (s *StandardEd25519) Sign(h http.Header, m Message) error {
	if err := checkID(m.ID); err != nil {
		return fmt.Errorf("signing: %w", err)
	}
	stamp := strconv.FormatInt(m.Time.Unix(), 10)
	buffer := s.texts.Get().(*[]byte)
	defer s.texts.Put(buffer)
	text := append((*buffer)[:0], m.ID...)
	text = append(text, '.')
	text = append(text, stamp...)
	text = append(text, '.')
	text = append(text, m.Body...)
	*buffer = text

	var signatures []byte
	for _, other := range h[HeaderSignature] {
		signatures = append(append(signatures, other...), ' ')
	}
	kept := len(signatures)
	for i := range s.keys {
		if !s.keys[i].ValidAt(m.Time) {
			continue
		}
		if len(signatures) > kept {
			signatures = append(signatures, ' ')
		}
		signatures = append(signatures, ed25519Version...)
		signatures = base64.StdEncoding.AppendEncode(signatures, ed25519.Sign(s.keys[i].key.key, text))
	}
	if len(signatures) == kept {
		return noSecret(m.Time)
	}
	h[HeaderID] = []string{m.ID}
	h[HeaderTimestamp] = []string{stamp}
	h[HeaderSignature] = []string{string(signatures)}
	return nil
}
