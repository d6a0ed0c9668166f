package relay

import "time"

// BreakerPolicy says when a subscription whose attempts fail is left alone for a while.
type BreakerPolicy struct {
	Off bool
	// Ratio of failed attempts within Window that opens the breaker, over 0 to 1, once
	// there were Least attempts. Answers of 429 count neither way.
	Ratio  float64
	Least  int
	Window time.Duration
	// Pause is the time until one attempt probes the endpoint.
	Pause time.Duration
}

// DefaultBreaker is used where nothing else is said.
var DefaultBreaker = BreakerPolicy{Ratio: 0.7, Least: 10, Window: 5 * time.Minute, Pause: 30 * time.Second}

// breakerParts is the number of parts in which the window slides.
const breakerParts = 10

// window counts the attempts of the last while, in parts, so that what is old leaves it
// bit by bit.
type window struct {
	parts [breakerParts]struct{ good, bad int }
	// period is the number of the current part since the epoch; parts are a tenth of size long.
	period int64
	size   time.Duration
}

// add counts an attempt that ended now.
func (w *window) add(now time.Time, size time.Duration, good bool) {
	w.slide(now, size)
	part := &w.parts[w.period%breakerParts]
	if good {
		part.good++
	} else {
		part.bad++
	}
}

// slide forgets the parts that have left the window. A clock that fell back forgets
// nothing: its attempts count to the latest part. A window of another size begins anew.
func (w *window) slide(now time.Time, size time.Duration) {
	period := now.UnixNano() / max(int64(size)/breakerParts, 1)
	if w.size != size {
		*w = window{period: period, size: size}
	}
	for ; w.period < period; w.period++ {
		if period-w.period > breakerParts {
			*w = window{period: period, size: size}
			return
		}
		next := &w.parts[(w.period+1)%breakerParts]
		next.good, next.bad = 0, 0
	}
}

func (w *window) sum() (good, bad int) {
	for _, p := range w.parts {
		good, bad = good+p.good, bad+p.bad
	}
	return good, bad
}

// trips reports whether the window's attempts open the breaker.
func (w *window) trips(p *BreakerPolicy) bool {
	good, bad := w.sum()
	return bad > 0 && good+bad >= p.Least && float64(bad) >= p.Ratio*float64(good+bad)
}
