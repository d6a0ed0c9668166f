package relay

import (
	"errors"
	"fmt"
	"net/http"
)

// HeaderRule changes one field of each request.
type HeaderRule struct {
	// Op is '=' to set, '+' to add, '-' to remove.
	Op    byte
	Field string
	Value string
	// Text is the value where it has placeholders of an event; otherwise nil.
	Text *Text
	// Secret values are never shown.
	Secret bool
}

// apply changes the header of a request for an event.
func (r *HeaderRule) apply(h http.Header, e *Event) error {
	value := r.Value
	if r.Text != nil {
		var err error
		if value, err = r.Text.Expand(e, fieldValue); err != nil {
			return fmt.Errorf("header %s: %w", r.Field, err)
		}
	}
	switch r.Op {
	case '+':
		h.Add(r.Field, value)
	case '-':
		h.Del(r.Field)
	default:
		h.Set(r.Field, value)
	}
	return nil
}

// maxFieldValue bounds what an event may put into a header field, in bytes. Most servers
// take no more in a whole header.
const maxFieldValue = 8 << 10

// fieldValue judges what an event brings into a header field. A line break would begin
// another field, or another request (RFC 9112, section 11.1). What is outside ASCII has no
// agreed meaning there (RFC 9110, section 5.5).
func fieldValue(value string) (string, error) {
	if len(value) > maxFieldValue {
		return "", fmt.Errorf("has %d bytes, and at most %d may stand in a header field", len(value), maxFieldValue)
	}
	for i := range len(value) {
		switch c := value[i]; {
		case c == '\r' || c == '\n':
			return "", errors.New("has a line break in it, which a header field cannot carry")
		case c < ' ' && c != '\t' || c == 0x7f:
			return "", errors.New("has a control character in it, which a header field cannot carry")
		case c > '~':
			return "", errors.New("has a character outside ASCII in it, which a header field cannot carry; format binary sends attributes escaped")
		}
	}
	return value, nil
}
