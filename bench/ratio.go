//go:build linux

package bench

import (
	"strconv"
	"strings"
)

// ratio is one figure of a system divided by one of another, round by round: both were
// measured within a minute of each other.
type ratio struct {
	Figure string `json:"figure"`
	System string `json:"system"`
	To     string `json:"to"`
	// Column of the one, and of the other.
	Column   string `json:"column"`
	ToColumn string `json:"to_column"`
	// Goal is what the project wants of it, such as "≥ 1.25"; empty if nothing was said.
	Goal goal `json:"goal,omitempty"`
	spread
}

// goal is a bound: "≥ 1.25" or "≤ 4".
type goal string

// met reports whether a figure is within the bound.
func (g goal) met(value float64) bool {
	sign, text, _ := strings.Cut(string(g), " ")
	bound, err := strconv.ParseFloat(text, 64)
	return err == nil && (sign == "≥" && value >= bound || sign == "≤" && value <= bound)
}

// newRatio is that of one column of two systems.
func newRatio(system, to, column, title string, g goal) *ratio {
	return &ratio{Figure: title, System: system, To: to, Column: column, ToColumn: column, Goal: g}
}

// ratios are those that mean something for the options.
func ratios(o *options) []*ratio {
	of := newRatio
	against := func(r *ratio, column string) *ratio {
		r.ToColumn = column
		return r
	}
	const (
		accepted, delivered, cpu, each = "accepted_per_second", "delivered_per_second", "cpu_us_per_event", "cpu_us_per_delivery"
		accept50, accept99             = "accept_p50_ms", "accept_p99_ms"
	)
	switch {
	case o.rate > 0:
		return []*ratio{
			of("relay", "commit", accept50, "accept p50 ÷ one commit", ""),
			of("relay", "commit", accept99, "accept p99 ÷ one commit", "≤ 4"),
			against(of("relay", "proxy", "after_answer_p50_ms", "p50 from answer to sink ÷ round trip", "≤ 2"), accept50),
			against(of("relay", "proxy", "after_answer_p99_ms", "p99 from answer to sink ÷ round trip", "≤ 2"), accept99),
			of("relay", "proxy", cpu, "CPU per event", ""),
		}
	case o.fanout > 1:
		return []*ratio{
			of("relay", "client", delivered, "deliveries/s", "≥ 0.85"),
			of("relay", "client", each, "CPU per delivery", ""),
			of("relay-defaults", "client", delivered, "deliveries/s", ""),
			of("relay-defaults", "client", each, "CPU per delivery", ""),
		}
	case o.others > 0:
		return []*ratio{
			of("relay", "relay-alone", accepted, "accepted/s", "≥ 0.95"),
			of("relay", "relay-alone", cpu, "CPU per event", ""),
		}
	case o.backlog > 0:
		return []*ratio{of("relay-backlog", "relay", delivered, "delivered/s", "≥ 1")}
	case len(o.relays) > 0:
		return relayRatios(o.relays)
	case o.steady:
		return []*ratio{
			against(of("relay", "relay", "last_minute_per_second", "delivered/s, last minute ÷ first", "≥ 0.9"), "first_minute_per_second"),
			against(of("relay", "relay", "load_cpu_us_last_minute", "what the load took for each, last minute ÷ first", ""), "load_cpu_us_first_minute"),
		}
	case o.tls != wirePlain:
		return []*ratio{
			of("relay", "proxy", delivered, "delivered/s", "≥ 1"),
			of("relay", "proxy", cpu, "CPU per event", "≤ 1"),
		}
	case o.postgres != "":
		return []*ratio{
			of("relay-postgres", "relay", delivered, "delivered/s", "≥ 0.5"),
			of("relay-postgres", "relay", cpu, "CPU per event", ""),
		}
	default:
		return []*ratio{
			of("relay", "proxy", delivered, "delivered/s", "≥ 1.25"),
			of("relay", "proxy", cpu, "CPU per event", "≤ 0.75"),
			of("relay-defaults", "proxy-defaults", delivered, "delivered/s", ""),
			of("relay-defaults", "proxy-defaults", cpu, "CPU per event", ""),
		}
	}
}
