package caddymodule

import (
	"encoding/json"
	"math/rand/v2"
	"testing"
	"time"
)

// TestDurationsAndSizesAreReadAsTheyAreWritten: what caddy adapt writes is what it read.
func TestDurationsAndSizesAreReadAsTheyAreWritten(t *testing.T) {
	for text, want := range map[string]time.Duration{
		`"15s"`: 15 * time.Second, `"7d"`: 7 * 24 * time.Hour, `"90m"`: 90 * time.Minute, `"1d12h"`: 36 * time.Hour,
		`15000000000`: 15 * time.Second, `"0s"`: 0, `"1.5h"`: 90 * time.Minute, `"10µs"`: 10 * time.Microsecond,
	} {
		var d Duration
		if err := json.Unmarshal([]byte(text), &d); err != nil || time.Duration(d) != want {
			t.Errorf("%s is %v, %v; want %v", text, time.Duration(d), err, want)
		}
	}
	for d, want := range map[Duration]string{
		Duration(15 * time.Second): `"15s"`, Duration(7 * 24 * time.Hour): `"7d"`, Duration(2 * time.Hour): `"2h"`,
		Duration(36 * time.Hour): `"36h"`, Duration(1500 * time.Millisecond): `"1.5s"`, 0: `"0s"`,
	} {
		if got, err := json.Marshal(d); err != nil || string(got) != want {
			t.Errorf("%d is written as %s, %v; want %s", d, got, err, want)
		}
	}
	for size, want := range map[Size]string{
		2 << 30: `"2GiB"`, 512 << 10: `"512KiB"`, 1000 << 10: `"1000KiB"`, 20e9: `"20GB"`, 1500: `"1500B"`, 0: `"0B"`, 1 << 20: `"1MiB"`, 96e6: `"96MB"`,
	} {
		if got, err := json.Marshal(size); err != nil || string(got) != want {
			t.Errorf("%d is written as %s, %v; want %s", int64(size), got, err, want)
		}
	}
	for range 2000 {
		d, size := Duration(rand.Int64()>>rand.N(63)), Size(rand.Int64()>>rand.N(63))
		if rand.N(2) == 0 {
			d, size = d.in(time.Second), size&^1023
		}
		var d2 Duration
		var size2 Size
		if again(t, d, &d2); d2 != d {
			t.Errorf("%d became %d", d, d2)
		}
		if again(t, size, &size2); size2 != size {
			t.Errorf("%d became %d", int64(size), int64(size2))
		}
	}
}

func (d Duration) in(unit time.Duration) Duration { return Duration(time.Duration(d).Truncate(unit)) }

func again(t *testing.T, value, into any) {
	t.Helper()
	raw, err := json.Marshal(value)
	if err == nil {
		err = json.Unmarshal(raw, into)
	}
	if err != nil {
		t.Errorf("%s: %v", raw, err)
	}
}

func TestWhatIsNoSizeIsRefused(t *testing.T) {
	for _, text := range []string{`"big"`, `"-1GiB"`, `"99999999EiB"`, `{}`, `1.5`, `null0`, `true`} {
		var size Size
		if err := json.Unmarshal([]byte(text), &size); err == nil {
			t.Errorf("%s is %d", text, int64(size))
		}
	}
}
