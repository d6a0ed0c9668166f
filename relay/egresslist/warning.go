package egresslist

import (
	"fmt"
	"time"
)

// DefaultNotice is how long ahead a change has to be announced.
const DefaultNotice = 30 * 24 * time.Hour

// Warning tells of a change that was announced too late, and how to mend it.
type Warning struct {
	Region string `json:"region"`
	Text   string `json:"text"`
}

// Warnings are about changes that are or were announced later than notice before their
// moment. One that has happened is told of for as long as a notice would have been.
func (s *State) Warnings(notice time.Duration, now time.Time) []Warning {
	var all []Warning
	warn := func(region, format string, args ...any) {
		all = append(all, Warning{region, fmt.Sprintf("region %q: ", region) + fmt.Sprintf(format, args...)})
	}
	for _, p := range s.Planned {
		if ahead := p.At.Sub(p.Announced); ahead < notice {
			warn(p.Region, "%s on %s, which was announced on %s, only %s ahead, and notice is %s; "+
				"let it be %s or later, or tell the contacts now: caddy relay egress",
				p.text(), moment(p.At), moment(p.Announced), duration(ahead), duration(notice), moment(p.Announced.Add(notice).Truncate(time.Second)))
		}
	}
	for _, a := range s.History {
		if a.Kind != Changed || !a.Unplanned || a.NewRegion || a.At.Add(notice).Before(now) {
			continue
		}
		for _, p := range a.Removed {
			if !s.active(a.Region, p) {
				warn(a.Region, "the address %s vanished from the configuration on %s without having been announced; "+
					"put it back with an end, and let receivers know: egress %s until %s",
					address(p), moment(a.At), address(p), moment(a.At.Add(notice).Truncate(time.Second)))
			}
		}
		for _, p := range a.Added {
			if s.active(a.Region, p) {
				warn(a.Region, "the address %s came into use on %s without having been announced; "+
					"tell the contacts now (caddy relay egress), and give the next one a beginning: egress %s from %s",
					address(p), moment(a.At), address(p), moment(a.At.Add(notice).Truncate(time.Second)))
			}
		}
	}
	return all
}

func (p *Planned) text() string {
	if p.Added {
		return "the address " + address(p.Prefix) + " comes into use"
	}
	return "the address " + address(p.Prefix) + " goes out of use"
}

// duration writes a duration in days where it has some.
func duration(d time.Duration) string {
	const day = 24 * time.Hour
	if d < day {
		return d.Truncate(time.Second).String()
	}
	text := fmt.Sprintf("%dd", d/day)
	if hours := d % day / time.Hour; hours > 0 {
		text += fmt.Sprintf("%dh", hours)
	}
	return text
}
