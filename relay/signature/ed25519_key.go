package signature

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
)

// makePair is [makeOne] for keys of ed25519.
const makePair = "make a pair with: caddy relay secret --ed25519"

// Ed25519Key is a parsed private key. The zero value is none.
type Ed25519Key struct {
	key ed25519.PrivateKey
}

// String and GoString keep the key out of logs and errors.
func (k Ed25519Key) String() string { return masked }

// GoString is as String.
func (k Ed25519Key) GoString() string { return masked }

// Public returns the public key in the form in which receivers get it: "whpk_" and base64.
func (k Ed25519Key) Public() string {
	return ed25519PublicPrefix + base64.StdEncoding.EncodeToString(k.key.Public().(ed25519.PublicKey))
}

// Ed25519PublicKey is a parsed public key. The zero value is none.
type Ed25519PublicKey struct {
	key ed25519.PublicKey
}

// NewEd25519Pair makes a random pair: the private key ("whsk_"), which signs, and the
// public one ("whpk_") for receivers.
func NewEd25519Pair() (private, public string) {
	// Since Go 1.24 it ends the process rather than return an error.
	_, key, _ := ed25519.GenerateKey(rand.Reader)
	return ed25519Prefix + base64.StdEncoding.EncodeToString(key), Ed25519Key{key}.Public()
}

// ParseEd25519Key parses "whsk_" and standard base64 of 64 bytes, the seed and the public
// key, or of the 32 bytes of the seed alone. Its errors never hold the key.
func ParseEd25519Key(s string) (Ed25519Key, error) {
	raw, err := decodeKey(s, ed25519Prefix, map[string]string{
		standardPrefix:      "that is a secret for symmetric signatures, for sign standard; sign standard_ed25519 needs a private key, which begins with whsk_",
		ed25519PublicPrefix: "that is the public key, for receivers, and cannot sign; sign standard_ed25519 needs the private one, which begins with whsk_",
	})
	if err == nil {
		switch len(raw) {
		case ed25519.SeedSize:
			return Ed25519Key{ed25519.NewKeyFromSeed(raw)}, nil
		case ed25519.PrivateKeySize:
			if key := ed25519.NewKeyFromSeed(raw[:ed25519.SeedSize]); bytes.Equal(key, raw) {
				return Ed25519Key{key}, nil
			}
			err = errors.New("the two halves of the private key do not belong together: the second is not the public key of the first")
		default:
			err = fmt.Errorf("the private key holds %d bytes, and must hold %d (seed and public key) or %d (seed)", len(raw), ed25519.PrivateKeySize, ed25519.SeedSize)
		}
	}
	return Ed25519Key{}, fmt.Errorf("%w; %s", err, makePair)
}

// ParseEd25519PublicKey parses "whpk_" and standard base64 of 32 bytes.
func ParseEd25519PublicKey(s string) (Ed25519PublicKey, error) {
	raw, err := decodeKey(s, ed25519PublicPrefix, map[string]string{
		standardPrefix: "that is a secret for symmetric signatures; an ed25519 signature is verified with the public key, which begins with whpk_",
		ed25519Prefix:  "that is the private key, which stays with the sender; the public one begins with whpk_",
	})
	if err == nil && len(raw) != ed25519.PublicKeySize {
		err = fmt.Errorf("the public key holds %d bytes, and must hold %d", len(raw), ed25519.PublicKeySize)
	}
	if err != nil {
		return Ed25519PublicKey{}, fmt.Errorf("%w; %s", err, makePair)
	}
	return Ed25519PublicKey{raw}, nil
}

// decodeKey decodes what follows a prefix. others are the prefixes of other kinds, with
// what to say of them.
func decodeKey(s, prefix string, others map[string]string) ([]byte, error) {
	for other, say := range others {
		if strings.HasPrefix(s, other) {
			return nil, errors.New("the key begins with " + other + ": " + say)
		}
	}
	text, ok := strings.CutPrefix(s, prefix)
	switch {
	case s == "":
		return nil, errors.New("the key is empty")
	case strings.ContainsAny(s, whiteSpace):
		return nil, errors.New("the key has white space in it (a line break at the end of its file, perhaps): remove it")
	case !ok:
		return nil, errors.New("the key does not begin with " + prefix)
	case text == "":
		return nil, errors.New("nothing follows " + prefix + " in the key")
	case len(text) > base64.StdEncoding.EncodedLen(ed25519.PrivateKeySize):
		return nil, fmt.Errorf("the key is too long: %d characters of base64", len(text))
	}
	raw, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		return nil, errors.New("the key is not standard base64")
	}
	return raw, nil
}
