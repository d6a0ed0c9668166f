package egress

import (
	"slices"
	"time"
)

// Gap is a time in which a region has addresses of a family, but none in use.
type Gap struct {
	Family Family
	// From is its first moment, Until the first at which one is in use again; zero if none
	// ever is.
	From, Until time.Time
}

// Gaps returns those that end after now, in their order.
func (r *Region) Gaps(now time.Time) []Gap {
	moments := []time.Time{now}
	for _, a := range r.Addresses {
		for _, t := range []time.Time{a.From, a.Until} {
			if t.After(now) {
				moments = append(moments, t)
			}
		}
	}
	slices.SortFunc(moments, time.Time.Compare)
	var gaps []Gap
	for _, family := range []Family{IPv4, IPv6} {
		open := -1
		for _, t := range moments {
			_, idle := r.Idle(t)[family]
			switch {
			case idle && open < 0:
				open = len(gaps)
				gaps = append(gaps, Gap{Family: family, From: t})
			case !idle && open >= 0:
				gaps[open].Until = t
				open = -1
			}
		}
	}
	slices.SortStableFunc(gaps, func(a, b Gap) int { return a.From.Compare(b.From) })
	return gaps
}
