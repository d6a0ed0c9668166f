//go:build linux

package bench

import (
	"math"
	"slices"
	"time"
)

// latency is what many durations come to. The quantiles are exact, since all durations
// are kept; the histogram is for drawing.
type latency struct {
	Count int     `json:"count"`
	P50   float64 `json:"p50_ms"`
	P90   float64 `json:"p90_ms"`
	P99   float64 `json:"p99_ms"`
	P999  float64 `json:"p999_ms"`
	Max   float64 `json:"max_ms"`
	// Histogram counts the durations up to each bound, and above the one before it.
	Histogram []bucket `json:"histogram,omitempty"`
}

type bucket struct {
	UpTo  float64 `json:"up_to_ms"`
	Count int     `json:"count"`
}

// newLatency sorts the durations, which are in nanoseconds.
func newLatency(durations []int64) latency {
	if len(durations) == 0 {
		return latency{}
	}
	slices.Sort(durations)
	return latency{
		Count:     len(durations),
		P50:       milliseconds(quantile(durations, 0.5)),
		P90:       milliseconds(quantile(durations, 0.9)),
		P99:       milliseconds(quantile(durations, 0.99)),
		P999:      milliseconds(quantile(durations, 0.999)),
		Max:       milliseconds(durations[len(durations)-1]),
		Histogram: histogram(durations),
	}
}

// quantile returns the smallest duration that the share q is not above.
func quantile(sorted []int64, q float64) int64 {
	i := int(math.Ceil(q*float64(len(sorted)))) - 1
	return sorted[max(i, 0)]
}

// histogram has four buckets to each doubling, from 1 µs on; empty ones are left out.
func histogram(sorted []int64) []bucket {
	const (
		first = float64(time.Microsecond)
		each  = 4
	)
	var buckets []bucket
	last := math.MinInt
	for _, d := range sorted {
		i := 0
		if float64(d) > first {
			i = int(math.Ceil(each * math.Log2(float64(d)/first)))
		}
		if i != last {
			buckets = append(buckets, bucket{UpTo: first * math.Exp2(float64(i)/each) / float64(time.Millisecond)})
			last = i
		}
		buckets[len(buckets)-1].Count++
	}
	return buckets
}

func milliseconds(ns int64) float64 { return float64(ns) / float64(time.Millisecond) }
