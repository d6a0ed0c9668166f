package caddymodule

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/caddyserver/caddy/v2"
)

// Duration is a span of time. JSON has it as text with its unit, as a Caddyfile does: `"15s"`,
// `"7d"`. A number of nanoseconds, which Caddy's own durations are, is taken too.
type Duration time.Duration

// String returns the text that the configuration would have, e.g. 15s, 2h or 7d.
func (d Duration) String() string { return spell(time.Duration(d)) }

// MarshalJSON writes it as text.
func (d Duration) MarshalJSON() ([]byte, error) { return json.Marshal(d.String()) }

// UnmarshalJSON reads text with a unit, or a number of nanoseconds.
func (d *Duration) UnmarshalJSON(raw []byte) error {
	if string(raw) == "null" {
		return nil // nothing is said, by the convention of encoding/json
	}
	var text string
	if json.Unmarshal(raw, &text) == nil {
		parsed, err := caddy.ParseDuration(text)
		if err != nil {
			return fmt.Errorf("%q is no duration; %s", text, durationHint)
		}
		*d = Duration(parsed)
		return nil
	}
	var nanoseconds int64
	if err := json.Unmarshal(raw, &nanoseconds); err != nil {
		return fmt.Errorf("a duration is expected, and not %s; %s", kindOf(raw), durationHint)
	}
	*d = Duration(nanoseconds)
	return nil
}

const durationHint = "write a number with its unit, e.g. 500ms, 15s, 5m, 2h or 7d"
