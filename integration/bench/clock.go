//go:build linux

package main

import (
	"time"

	"golang.org/x/sys/unix"
)

// now is the time in nanoseconds of a clock that all processes of this machine share
// and that nobody sets: times of the load and of the sink can be subtracted. The
// kernel's clock is read once, since that is a system call; from then on Go's own
// reading of the same clock goes on.
func now() int64 { return clockBase + int64(time.Since(clockStart)) }

var clockBase, clockStart = func() (int64, time.Time) {
	start := time.Now()
	return monotonic(unix.CLOCK_MONOTONIC), start
}()

// monotonic reads a clock of the kernel; it panics where the kernel has none such,
// which for the clocks used here cannot be.
func monotonic(id int32) int64 {
	var t unix.Timespec
	if err := unix.ClockGettime(id, &t); err != nil {
		panic("bench: reading the kernel's clock: " + err.Error())
	}
	return t.Nano()
}
