package view

import (
	"encoding/json"
	"fmt"
	"time"
)

// timeLayout is RFC 3339 with exactly three digits of the second's fraction, so
// that times compare as texts do.
const timeLayout = "2006-01-02T15:04:05.000Z07:00"

// Time is a point in time as users see it: RFC 3339, UTC, milliseconds. The zero
// Time is null.
type Time struct{ time.Time }

// MarshalJSON implements [json.Marshaler].
func (t Time) MarshalJSON() ([]byte, error) {
	if t.IsZero() {
		return []byte("null"), nil
	}
	return []byte(`"` + t.UTC().Format(timeLayout) + `"`), nil
}

// UnmarshalJSON implements [json.Unmarshaler]. It takes any RFC 3339 time, and null.
func (t *Time) UnmarshalJSON(text []byte) error {
	var s *string
	if err := json.Unmarshal(text, &s); err != nil {
		return fmt.Errorf("reading a time: %w", err)
	}
	if s == nil {
		t.Time = time.Time{}
		return nil
	}
	parsed, err := time.Parse(time.RFC3339, *s)
	if err != nil {
		return fmt.Errorf("reading a time: %w", err)
	}
	t.Time = parsed
	return nil
}
