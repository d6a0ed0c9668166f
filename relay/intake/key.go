package intake

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"net/http"
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
		if c := key[i]; c < ' ' || c > '~' { // those of a string in RFC 8941, section 3.3.3
			return "", fmt.Errorf("has the byte 0x%02x; only visible ASCII characters and spaces are allowed", c)
		}
	}
	return key, nil
}

// keyOf returns the idempotency key of an event, or nil, with the bytes that its repeat
// must have: the header Idempotency-Key, else the sender's own id, else what key_from
// finds. Of a batch the header is the key of the whole. Its Sum is not yet set.
func (h *Handler) keyOf(s *submission, d *draft) (*relay.Key, []byte, *refusal) {
	switch {
	case s.key != "" && !s.batch:
		return &relay.Key{Kind: relay.KeyHeader, Text: s.key}, s.body, nil
	case d.id != "" && d.kind == relay.KeyCloudEvent:
		// Neither of the two can hold the control character. The data is what is compared:
		// the same event is the same in whatever mode and order of members it comes.
		return &relay.Key{Kind: relay.KeyCloudEvent, Text: d.source + "\x00" + d.id}, d.data, nil
	case d.id != "":
		return &relay.Key{Kind: relay.KeyEnvelope, Text: d.id}, d.text, nil
	case len(h.keyFrom) == 0:
		return nil, nil, nil
	}
	header := s.header
	if s.batch {
		header = nil
	}
	key, ref := h.foundKey(header, d.text)
	return key, d.text, ref
}

// wholeKey returns the idempotency key of a batch as a whole, or nil.
func (h *Handler) wholeKey(s *submission) (*relay.Key, *refusal) {
	key := &relay.Key{Kind: relay.KeyHeader, Text: s.key}
	if s.key == "" {
		var ref *refusal
		if key, ref = h.foundKey(s.header, nil); key == nil {
			return nil, ref
		}
	}
	key.Sum = digest(&relay.Event{ContentType: s.contentType, Only: s.only}, s.body)
	return key, nil
}

// foundKey returns what key_from finds in a header and a JSON text, or nil.
func (h *Handler) foundKey(header http.Header, text []byte) (*relay.Key, *refusal) {
	key, found := findKey(h.keyFrom, header, text)
	if found == nil {
		return nil, nil
	}
	if err := checkKeyText(key); err != nil {
		return nil, refuse(problemFoundKey, fmt.Sprintf("The idempotency key at %s %s.", found.locator, err))
	}
	return &relay.Key{Kind: relay.KeyFrom, Text: key}, nil
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
