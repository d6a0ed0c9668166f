package console

import (
	"math"
	"time"
)

// spanCount is what a chart shows of one span of time.
type spanCount struct {
	At                time.Time
	Delivered, Failed uint32
	// Known is false where nobody has counted.
	Known bool
}

// newest returns the spans of a window that ends at now, the oldest first. Those that ended
// before since, in ns, were not counted.
func newest(now time.Time, since int64, step time.Duration, slots int64, at func(i int64) *slot) []spanCount {
	last := ordinal(now, step)
	all := make([]spanCount, 0, slots)
	for n := last - slots + 1; n <= last; n++ {
		c := spanCount{At: spanStart(n, step), Known: n >= since/int64(step)}
		if s := at(n % slots); s.number.Load() == n {
			c.Delivered, c.Failed = s.delivered.Load(), s.failed.Load()
		}
		all = append(all, c)
	}
	return all
}

func spanStart(n int64, step time.Duration) time.Time { return time.Unix(0, n*int64(step)).UTC() }

// minutes returns those of the last three hours, and since when they were counted.
func (h *History) minutes(now time.Time) ([]spanCount, time.Time) {
	since := h.since.Load()
	return newest(now, since, totalStep, totalSlots, func(i int64) *slot { return &h.total[i].slot }), time.Unix(0, since)
}

// day returns the half hours of a subscription, and since when they were counted; nil if it
// has no history.
func (h *History) day(name string, now time.Time) ([]spanCount, time.Time) {
	h.mu.RLock()
	s := h.bySubscription[name]
	h.mu.RUnlock()
	if s == nil {
		return nil, time.Time{}
	}
	since := h.sinceOf(s)
	return newest(now, since, seriesStep, seriesSlots, func(i int64) *slot { return &s.slots[i] }), time.Unix(0, since)
}

// sinceOf returns when a series began to count.
func (h *History) sinceOf(s *Series) int64 { return max(h.since.Load(), s.made) }

// quantiles returns how long deliveries of the last hour took, at most, for each of the
// shares; zero where there were none. They are powers of two of a millisecond.
func (h *History) quantiles(now time.Time, shares ...float64) []time.Duration {
	var buckets [latencyBuckets]uint64
	total := uint64(0)
	last := ordinal(now, totalStep)
	for n := last - 59; n <= last; n++ {
		m := &h.total[n%totalSlots]
		if m.number.Load() != n {
			continue
		}
		for i := range m.latency {
			c := uint64(m.latency[i].Load())
			buckets[i] += c
			total += c
		}
	}
	found := make([]time.Duration, len(shares))
	for i, share := range shares {
		rest := uint64(math.Ceil(share * float64(total)))
		for b := 0; total > 0 && b < latencyBuckets; b++ {
			if rest <= buckets[b] {
				found[i] = time.Millisecond << b
				break
			}
			rest -= buckets[b]
		}
	}
	return found
}
