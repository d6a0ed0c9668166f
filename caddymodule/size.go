package caddymodule

import (
	"encoding/json"
	"fmt"
	"math"
	"strconv"

	"github.com/dustin/go-humanize"
)

// Size is a number of bytes. JSON has it as text with its unit, `"2GiB"`, as a Caddyfile does. A
// plain number of bytes is taken too.
type Size int64

// String returns the text that the configuration would have: that with the smallest number,
// e.g. 512KiB, 2GiB or 20GB.
func (s Size) String() string {
	best, text := int64(s), strconv.FormatInt(int64(s), 10)+"B"
	for base, units := range map[int64][]string{1024: {"KiB", "MiB", "GiB", "TiB", "PiB"}, 1000: {"kB", "MB", "GB", "TB", "PB"}} {
		n := int64(s)
		for _, unit := range units {
			if n == 0 || n%base != 0 {
				break
			}
			if n /= base; n < best {
				best, text = n, strconv.FormatInt(n, 10)+unit
			}
		}
	}
	return text
}

// MarshalJSON writes it as text.
func (s Size) MarshalJSON() ([]byte, error) { return json.Marshal(s.String()) }

// UnmarshalJSON reads text with a unit, or a number of bytes.
func (s *Size) UnmarshalJSON(raw []byte) error {
	if string(raw) == "null" {
		return nil // nothing is said, by the convention of encoding/json
	}
	var text string
	if json.Unmarshal(raw, &text) == nil {
		n, err := humanize.ParseBytes(text)
		if err != nil || n > math.MaxInt64 {
			return fmt.Errorf("%q is no size; %s", text, sizeHint)
		}
		*s = Size(n)
		return nil
	}
	var n int64
	if err := json.Unmarshal(raw, &n); err != nil {
		return fmt.Errorf("a size is expected, and not %s; %s", kindOf(raw), sizeHint)
	}
	*s = Size(n)
	return nil
}

const sizeHint = "write a number with its unit, e.g. 512KiB or 2GiB"
