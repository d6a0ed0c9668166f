package relay

import "slices"

// Would returns the names of the subscriptions that an event would be meant for if it came
// now. Nothing is stored.
func (r *Relay) Would(e *Event) []string {
	plan := r.matching.Load()
	if plan == nil {
		return nil
	}
	var names []string
	for _, s := range plan.match(e, nil) {
		names = append(names, s.Name)
	}
	return names
}

// Wants reports whether an event is meant for the subscription, which need not be part of
// a plan.
func (s *Subscription) Wants(e *Event) bool {
	probe := *s
	if len(probe.Topics) == 0 {
		probe.Topics = append(probe.Topics, everything)
	}
	return !slices.ContainsFunc(probe.explain(e), func(c Clause) bool { return !c.Matches })
}
