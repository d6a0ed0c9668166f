package plot

import (
	"math"
	"slices"
	"strconv"
)

// decades is the factor between the least and the most from which on an axis is logarithmic.
const decades = 20

// scale says where on an axis a value stands.
type scale struct {
	low, high float64 // values at both ends; their logarithms if log
	from, to  float64 // places of these
	log       bool
}

// newScale makes an axis for the values, from one place to another.
func newScale(values []float64, from, to float64) scale {
	s := scale{high: 1, from: from, to: to}
	if len(values) == 0 {
		return s
	}
	low, high := slices.Min(values), slices.Max(values)
	switch {
	case low > 0 && high/low > decades:
		s.log, s.low, s.high = true, math.Log10(low), math.Log10(high)
		if from > to { // upwards: room above and below the line
			s.low, s.high = s.low-0.1, s.high+0.1
		}
	case from > to:
		if s.low, s.high = min(low, 0), max(high, 0)*1.05; s.low == s.high {
			s.high = 1
		}
	default:
		if s.low, s.high = low, high; low == high { // one value stands in the middle
			s.low, s.high = low-1, high+1
		}
	}
	return s
}

// at is where a value stands.
func (s *scale) at(value float64) float64 {
	if s.log {
		value = math.Log10(max(value, math.Pow(10, s.low)))
	}
	return s.from + (value-s.low)/(s.high-s.low)*(s.to-s.from)
}

// ticks are round values, some five of them.
func (s *scale) ticks() (ticks []float64) {
	if s.log {
		steps := []float64{1, 2, 5}
		if s.high-s.low > 2.5 {
			steps = steps[:1]
		}
		for decade := math.Floor(s.low); decade <= s.high; decade++ {
			for _, step := range steps {
				if value := step * math.Pow(10, decade); math.Log10(value) >= s.low && math.Log10(value) <= s.high {
					ticks = append(ticks, value)
				}
			}
		}
		return ticks
	}
	step := math.Pow(10, math.Floor(math.Log10((s.high-s.low)/2)))
	for _, factor := range []float64{1, 2, 5, 10} {
		if (s.high-s.low)/(step*factor) <= 6 {
			step *= factor
			break
		}
	}
	for i := math.Ceil(s.low / step); i*step <= s.high; i++ {
		ticks = append(ticks, i*step)
	}
	return ticks
}

// Short writes a number in few letters: 1500 as 1.5k, 2000000 as 2M.
func Short(value float64) string {
	unit := ""
	switch size := math.Abs(value); {
	case size >= 1e6:
		value, unit = value/1e6, "M"
	case size >= 1e3:
		value, unit = value/1e3, "k"
	}
	return strconv.FormatFloat(value, 'g', 4, 64) + unit
}

// distinct are the values in order, each once.
func distinct(values []float64) []float64 {
	return slices.Compact(slices.Sorted(slices.Values(values)))
}
