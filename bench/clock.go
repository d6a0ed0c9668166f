//go:build linux

package bench

import (
	"fmt"
	"math"
	"time"

	"golang.org/x/sys/unix"
)

// now is the time in nanoseconds of a clock that all processes of this machine share
// and that nobody sets: times of the load and of the sink can be subtracted. The
// kernel's clock is read once, since that is a system call; from then on Go's own
// reading of the same clock goes on.
func now() int64 { return clockBase + int64(time.Since(clockStart)) }

// clockBase and clockStart are the same moment on both clocks. Whoever is interrupted
// between reading the one and the other is wrong by so much: the tightest of some pairs is
// taken.
var clockBase, clockStart = func() (base int64, start time.Time) {
	const tries = 20
	tightest := time.Duration(math.MaxInt64)
	for range tries {
		before := time.Now()
		kernel, err := readClock(unix.CLOCK_MONOTONIC)
		if err != nil {
			panic(err) // every Linux has it
		}
		if took := time.Since(before); took < tightest {
			tightest, base, start = took, kernel, before
		}
	}
	return base, start
}()

// readClock reads a clock of the kernel, in nanoseconds.
func readClock(id int32) (int64, error) {
	var t unix.Timespec
	if err := unix.ClockGettime(id, &t); err != nil {
		return 0, fmt.Errorf("reading the kernel's clock %d: %w", id, err)
	}
	return t.Nano(), nil
}
