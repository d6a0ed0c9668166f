package intake

import (
	"sync/atomic"
	"time"
)

// pacer lets one message a second pass: a store that is full refuses thousands of
// requests in that time, and the log may be on the same disk.
type pacer struct {
	last   atomic.Int64 // Unix nanoseconds of the last message
	silent atomic.Int64 // messages held back since
}

// pass reports whether a message may be logged, and how many were not since the last.
func (p *pacer) pass() (silent int64, ok bool) {
	now, last := time.Now().UnixNano(), p.last.Load()
	if now-last < int64(time.Second) || !p.last.CompareAndSwap(last, now) {
		p.silent.Add(1)
		return 0, false
	}
	return p.silent.Swap(0), true
}
