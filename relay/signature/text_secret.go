package signature

import (
	"errors"
	"fmt"
	"strings"
)

// MinTextSecret is the least length of a secret that is used as the text that it is, in
// bytes. Shorter ones can be guessed by whoever has seen one signed request.
const MinTextSecret = 16

// makeText is [makeOne] for secrets that are text.
const makeText = "make one with: openssl rand -base64 48"

// parseText takes a secret whose bytes are the key, as GitHub, Stripe and most senders
// of their own making use it. What begins with whsec_ is not decoded.
func parseText(s string) ([]byte, error) {
	if err := checkText(s); err != nil {
		return nil, fmt.Errorf("%w; %s", err, makeText)
	}
	return []byte(s), nil
}

func checkText(s string) error {
	switch {
	case s == "":
		return errors.New("the secret is empty")
	case strings.TrimSpace(s) != s:
		return errors.New("the secret begins or ends with white space (a line break at the end of its file, perhaps): remove it")
	case strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r == 0x7f }):
		return errors.New("the secret has a control character in it (a line break, perhaps): remove it")
	case strings.HasPrefix(s, ed25519Prefix):
		return errors.New("the secret begins with whsk_: that is a private key for sign standard_ed25519, and must not be shared with a receiver")
	case strings.HasPrefix(s, ed25519PublicPrefix):
		return errors.New("the secret begins with whpk_: that is a public key, which is no secret")
	case len(s) < MinTextSecret:
		return fmt.Errorf("the secret is too short: it has %d characters, and at least %d are needed", len(s), MinTextSecret)
	}
	return nil
}

// ContentfulSecretLength is in characters.
const ContentfulSecretLength = 64

// parseContentful takes a signing secret of Contentful, whose text is the key.
func parseContentful(s string) ([]byte, error) {
	err := checkText(s)
	switch {
	case err != nil:
	case len(s) != ContentfulSecretLength:
		err = fmt.Errorf("the secret has %d characters, and Contentful's have exactly %d", len(s), ContentfulSecretLength)
	case strings.ContainsFunc(s, func(r rune) bool { return !isBase64(r) }):
		err = errors.New("the secret has a character that Contentful's do not have; there are letters, digits and + / = _ -")
	default:
		return []byte(s), nil
	}
	return nil, fmt.Errorf("%w; %s", err, makeText)
}

func isBase64(r rune) bool {
	return r >= '0' && r <= '9' || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || strings.ContainsRune("+/=_-", r)
}
