package relay

import (
	"runtime"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"
)

// Bounds of what lanes take of what all of them share.
const (
	// startsPerCPU is how many attempts a second endpoints that fail get together, for
	// each processor. An attempt that is refused costs about 0.1 ms, one whose TLS
	// handshake fails up to 1 ms: so most of the processor is left to the others.
	startsPerCPU = 500
	// startsAtOnce of them may begin at the same moment.
	startsAtOnce = 128

	// A lane has one place for an attempt in flight of its own. Further ones, up to its
	// max_in_flight, come from a common store of morePlaces, of which those that have not
	// proved themselves get doubtfulPlaces. An attempt that hangs costs about 30 KiB and a
	// descriptor.
	morePlaces     = 8192
	doubtfulPlaces = 1024
)

// ration is what lanes share, so that thousands of endpoints that fail or hang neither
// slow the others nor use up the machine.
type ration struct {
	starts *rate.Limiter
	// places counts the further ones that are taken.
	places atomic.Int64
}

func newRation() *ration {
	return &ration{starts: rate.NewLimiter(rate.Limit(startsPerCPU*runtime.GOMAXPROCS(0)), startsAtOnce)}
}

// slot returns when the next attempt to an endpoint that fails may begin. It is the
// asker's: lanes get theirs in the order in which they ask.
func (r *ration) slot(now time.Time) time.Time {
	return now.Add(r.starts.ReserveN(now, 1).DelayFrom(now))
}

// place takes one further place, if there is one.
func (r *ration) place(proven bool) bool {
	most := int64(doubtfulPlaces)
	if proven {
		most = morePlaces
	}
	if r.places.Add(1) > most {
		r.places.Add(-1)
		return false
	}
	return true
}

// giveBack returns a place.
func (r *ration) giveBack() { r.places.Add(-1) }
