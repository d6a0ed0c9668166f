package signature

import (
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
)

// Lengths of the key of Standard Webhooks' v1 signatures, in bytes, as its
// specification sets them. The default of [NewStandardSecret] is what fills the
// output of SHA-256.
const (
	MinStandardKey = 24
	MaxStandardKey = 64

	newStandardKey = 32
)

// Prefixes by which Standard Webhooks tells its kinds of secrets apart.
const (
	standardPrefix      = "whsec_"
	ed25519Prefix       = "whsk_"
	ed25519PublicPrefix = "whpk_"
)

// whiteSpace is what a secret must not hold.
const whiteSpace = " \t\r\n\v\f"

// makeOne ends each error about a secret: the way out of all of them.
const makeOne = "make one with: caddy relay secret"

// StandardSecret is a parsed symmetric secret of Standard Webhooks. The zero value
// is none.
type StandardSecret struct {
	key []byte
}

// String and GoString keep the key out of logs and errors.
func (s StandardSecret) String() string { return masked }

// GoString is as String.
func (s StandardSecret) GoString() string { return masked }

// NewStandardSecret makes a random secret of 32 bytes, in the form that
// [ParseStandardSecret] takes.
func NewStandardSecret() string {
	var key [newStandardKey]byte
	// Since Go 1.24 it ends the process rather than return an error.
	_, _ = rand.Read(key[:])
	return standardPrefix + base64.StdEncoding.EncodeToString(key[:])
}

// ParseStandardSecret parses "whsec_" and standard base64, or the base64 alone, of
// 24 to 64 bytes. Its errors never hold the secret.
//
// It is stricter than some libraries, which take what they cannot decode for an
// empty key: with that, anybody can sign.
func ParseStandardSecret(s string) (StandardSecret, error) {
	key, err := parseStandardKey(s)
	if err != nil {
		return StandardSecret{}, fmt.Errorf("%w; %s", err, makeOne)
	}
	return StandardSecret{key: key}, nil
}

func parseStandardKey(s string) ([]byte, error) {
	switch {
	case s == "":
		return nil, errors.New("the secret is empty")
	case strings.ContainsAny(s, whiteSpace):
		return nil, errors.New("the secret has white space in it (a line break at the end of its file, perhaps): remove it")
	case strings.HasPrefix(s, ed25519Prefix):
		return nil, errors.New("the secret begins with whsk_: that is a private key for ed25519 signatures, and sign standard needs one that begins with whsec_")
	case strings.HasPrefix(s, ed25519PublicPrefix):
		return nil, errors.New("the secret begins with whpk_: that is a public key, for receivers, and cannot sign; sign standard needs one that begins with whsec_")
	}
	text := strings.TrimPrefix(s, standardPrefix)
	switch {
	case text == "":
		return nil, errors.New("nothing follows whsec_ in the secret")
	case strings.ContainsAny(text, "-_"):
		return nil, errors.New("the secret has - or _ in it: that is URL-safe base64, or another prefix than whsec_, and it must be whsec_ and standard base64 (with + and /)")
	}
	// The length of the text decides before anything is decoded.
	if len(text) > base64.StdEncoding.EncodedLen(MaxStandardKey) {
		return nil, fmt.Errorf("the secret is too long: %d characters of base64 are more than the %d bytes that Standard Webhooks allows", len(text), MaxStandardKey)
	}
	key, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		if len(text)%4 != 0 {
			return nil, errors.New("the secret is not standard base64: its length is not a multiple of four, so it was cut or lacks the = at its end")
		}
		return nil, errors.New("the secret is not standard base64")
	}
	switch {
	case len(key) < MinStandardKey:
		return nil, fmt.Errorf("the secret is too short: it holds %d bytes, and Standard Webhooks wants %d to %d", len(key), MinStandardKey, MaxStandardKey)
	case len(key) > MaxStandardKey:
		return nil, fmt.Errorf("the secret is too long: it holds %d bytes, and Standard Webhooks wants %d to %d", len(key), MinStandardKey, MaxStandardKey)
	}
	return key, nil
}
