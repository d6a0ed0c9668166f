package intake

import (
	"sync"
	"sync/atomic"
	"time"
)

const (
	// turnMost bounds Retry-After, in seconds: what is slow now may be quick then.
	turnMost = 30
	// turnGuess is the rate, in requests a second, that is assumed while none is known.
	turnGuess = 500
	// turnMemory is how long a rate tells something of the present.
	turnMemory = 10 * time.Second
)

// turns gives those who are sent away for want of room a time to come again: one after
// the other, as fast as requests are served, and not all at once.
type turns struct {
	// served counts requests since the rate was last taken.
	served atomic.Int64

	mu    sync.Mutex
	taken time.Time // when the rate was last taken
	rate  float64   // requests a second
	// behind are those who were sent away and are still to come.
	behind float64
	seen   time.Time // when behind was last right
}

// next returns the value of Retry-After for one more who is sent away, in seconds.
func (q *turns) next() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	now := time.Now()
	if passed := now.Sub(q.taken); passed >= time.Second {
		served := float64(q.served.Swap(0))
		q.rate = turnGuess
		if passed < turnMemory {
			q.rate = max(served/passed.Seconds(), 1)
		}
		q.taken = now
	}
	q.behind = max(0, q.behind-q.rate*now.Sub(q.seen).Seconds())
	q.behind = min(q.behind+1, turnMost*q.rate)
	q.seen = now
	return min(1+int(q.behind/q.rate), turnMost)
}
