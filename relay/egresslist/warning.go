package egresslist

import (
	"fmt"
	"time"
)

// DefaultNotice is how long ahead a change has to be announced.
const DefaultNotice = 30 * 24 * time.Hour

// Warning tells of a change that was announced too late.
type Warning struct {
	Region string `json:"region"`
	Text   string `json:"text"`
	// Fix is what to do about it.
	Fix string `json:"fix"`
}

// String returns the warning as a line.
func (w Warning) String() string { return fmt.Sprintf("region %q: %s; %s", w.Region, w.Text, w.Fix) }

// Warnings are about changes that are or were announced later than notice before their
// moment. One that has happened is told of for as long as a notice would have been.
func (s *State) Warnings(notice time.Duration, now time.Time) []Warning {
	var all []Warning
	for _, p := range s.Planned {
		if ahead := p.At.Sub(p.Announced); ahead < notice {
			all = append(all, Warning{
				p.Region,
				fmt.Sprintf("%s on %s, which was announced on %s, only %s ahead, and notice is %s",
					p.text(), moment(p.At), moment(p.Announced), duration(ahead), duration(notice)),
				fmt.Sprintf("let it be %s or later, or tell the contacts now: caddy relay egress", moment(p.Announced.Add(notice).Truncate(time.Second))),
			})
		}
	}
	for _, a := range s.History {
		if a.Kind != Changed || !a.Unplanned || a.NewRegion || a.At.Add(notice).Before(now) {
			continue
		}
		end := moment(a.At.Add(notice).Truncate(time.Second))
		for _, p := range a.Removed {
			if !s.active(a.Region, p) {
				all = append(all, Warning{
					a.Region,
					fmt.Sprintf("the address %s vanished from the configuration on %s without having been announced", address(p), moment(a.At)),
					fmt.Sprintf("put it back with an end, and let receivers know: egress %s until %s", address(p), end),
				})
			}
		}
		for _, p := range a.Added {
			if s.active(a.Region, p) {
				all = append(all, Warning{
					a.Region,
					fmt.Sprintf("the address %s came into use on %s without having been announced", address(p), moment(a.At)),
					fmt.Sprintf("tell the contacts now (caddy relay egress), and give the next one a beginning: egress %s from %s", address(p), end),
				})
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
