package relay

import (
	"math/rand/v2"
	"slices"
	"sync/atomic"
	"testing"
)

// A line keeps the order of the log, whatever comes in between: replays, which are older
// than what waits, more than memory holds, and arrivals while the store is read.
func TestLineGoesInTheOrderOfTheLog(t *testing.T) {
	for seed := range uint64(300) {
		random := rand.New(rand.NewPCG(seed, 0))
		o := newOrder(new(atomic.Int64))
		o.limit = 1 + random.IntN(6)
		l := o.line("k")
		var store []uint64 // all that wait, as the store knows
		var gone uint64
		reading := false
		var snapshot []behind
		read := func() (found []behind, more bool) {
			page := 1 + random.IntN(4)
			for i, pos := range store {
				if i == page {
					return found, true
				}
				found = append(found, behind{pos: pos})
			}
			return found, false
		}
		more := false
		for range 200 {
			switch dice := random.IntN(10); {
			case dice < 5:
				pos := gone + 1 + random.Uint64N(50)
				if slices.Contains(store, pos) {
					continue
				}
				store = append(store, pos)
				slices.Sort(store)
				l.queue(&o, behind{pos: pos})
			case reading && dice < 8:
				reading = false
				l.loaded(&o, snapshot, more)
			case reading:
				// Nothing goes before it is read.
			default:
				b, ok := l.next(&o)
				switch {
				case ok && b.pos != store[0]:
					t.Fatalf("seed %d: %d goes before %v", seed, b.pos, store)
				case ok:
					store = store[1:]
				case l.spilled:
					reading, l.loading = true, true
					snapshot, more = read()
				case len(store) > 0:
					t.Fatalf("seed %d: %v are forgotten", seed, store)
				}
			}
			if o.waiting != len(l.waiting) || o.all.Load() != int64(o.waiting) || (!l.loading && len(l.waiting) > o.limit+4) {
				t.Fatalf("seed %d: %d wait, %d are counted, at most %d should be", seed, len(l.waiting), o.waiting, o.limit)
			}
		}
	}
}
