package intake

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"github.com/dunglas/httpsfv"

	"github.com/caddyrelay/caddyrelay/relay"
)

// maxKey is the longest idempotency key, in characters.
const maxKey = 255

// parseIdempotencyKey reads the values of the header Idempotency-Key, which draft-ietf-
// httpapi-idempotency-key-header makes an RFC 8941 string. Most clients send it bare:
// both forms of one key are the same key.
func parseIdempotencyKey(values []string) (string, error) {
	if len(values) == 0 {
		return "", nil
	}
	if len(values) > 1 {
		return "", errors.New("stands more than once; send one key for the request")
	}
	key := values[0]
	if key != "" && key[0] == '"' {
		item, err := httpsfv.UnmarshalItem(values)
		text, ok := item.Value.(string)
		if err != nil || !ok {
			return "", errors.New("begins with a quote but is no quoted string; send it bare, or quoted as in RFC 8941")
		}
		key = text
	}
	if len(key) < 1 || len(key) > maxKey {
		return "", fmt.Errorf("has %d characters; 1 to %d are allowed", len(key), maxKey)
	}
	for i := range len(key) {
		if c := key[i]; c <= ' ' || c > '~' {
			return "", fmt.Errorf("has the byte 0x%02x; only visible ASCII characters are allowed", c)
		}
	}
	return key, nil
}

// keyOf returns the idempotency key of a submission, or nil: the header, else the
// envelope's id, else what key_from finds. Its Sum is not yet set.
func (h *Handler) keyOf(s *submission, id string) (*relay.Key, *refusal) {
	switch {
	case s.key != "":
		return &relay.Key{Kind: relay.KeyHeader, Text: s.key}, nil
	case id != "":
		return &relay.Key{Kind: relay.KeyEnvelope, Text: id}, nil
	case len(h.keyFrom) == 0:
		return nil, nil
	}
	text, found := findKey(h.keyFrom, s)
	if found == nil {
		return nil, nil
	}
	if err := checkKeyText(text); err != nil {
		return nil, refuse(problemFoundKey, fmt.Sprintf("The idempotency key at %s %s.", found.locator, err))
	}
	return &relay.Key{Kind: relay.KeyFrom, Text: text}, nil
}

// digest is what must be the same for a repeat of an event: type, source, content type,
// narrowing and body, each behind its length. It is stored, so it must stay as it is.
func digest(e *relay.Event, body []byte) [sha256.Size]byte {
	head := make([]byte, 0, 256)
	field := func(s string) {
		head = binary.BigEndian.AppendUint32(head, uint32(len(s)))
		head = append(head, s...)
	}
	field(e.Type)
	field(e.Source)
	field(e.ContentType)
	// The order of names means nothing.
	only := slices.Sorted(slices.Values(e.Only))
	head = binary.BigEndian.AppendUint32(head, uint32(len(only)))
	for _, name := range only {
		field(name)
	}
	head = binary.BigEndian.AppendUint32(head, uint32(len(body)))
	hash := sha256.New()
	hash.Write(head)
	hash.Write(body)
	var sum [sha256.Size]byte
	hash.Sum(sum[:0])
	return sum
}
