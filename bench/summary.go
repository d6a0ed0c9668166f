//go:build linux

package bench

import (
	"cmp"
	"slices"
)

// spread is one figure over all rounds.
type spread struct {
	Median float64 `json:"median"`
	Min    float64 `json:"min"`
	Max    float64 `json:"max"`
}

func spreadOf(values []float64) spread {
	if len(values) == 0 {
		return spread{}
	}
	sorted := slices.Sorted(slices.Values(values))
	middle := sorted[len(sorted)/2]
	if len(sorted)%2 == 0 {
		middle = (middle + sorted[len(sorted)/2-1]) / 2
	}
	return spread{Median: middle, Min: sorted[0], Max: sorted[len(sorted)-1]}
}

// column is a figure of a run.
type column struct {
	name  string // in JSON
	title string
	value func(*figures) float64
	// format of the value in the table.
	format string
	// shown says for which systems it means anything; nil: all.
	shown func(system) bool
}

const mebibyte = 1 << 20

// columns of the table, and of the medians.
func columns(o *options) []column {
	delivers := func(s system) bool { return s.delivers() }
	// What waited to be resumed has no latency that means anything.
	accepts := func(s system) bool { return !s.backlog }
	hands := func(s system) bool { return s.delivers() && !s.backlog }
	list := []column{
		{"accepted_per_second", "accepted/s", func(f *figures) float64 { return f.Accepted }, "%.0f", nil},
		{"delivered_per_second", "delivered/s", func(f *figures) float64 { return f.Delivered }, "%.0f", delivers},
		{"accept_p50_ms", "accept p50", func(f *figures) float64 { return f.Accept.P50 }, "%.2f", accepts},
		{"accept_p99_ms", "p99 ms", func(f *figures) float64 { return f.Accept.P99 }, "%.2f", accepts},
		{"end_to_end_p50_ms", "e2e p50", func(f *figures) float64 { return f.EndToEnd.P50 }, "%.2f", hands},
		{"end_to_end_p99_ms", "p99 ms", func(f *figures) float64 { return f.EndToEnd.P99 }, "%.2f", hands},
	}
	if o.steady {
		list = append(list,
			column{"first_minute_per_second", "first min", first, "%.0f", delivers},
			column{"last_minute_per_second", "last min", last, "%.0f", delivers})
	}
	if o.rate > 0 {
		relays := func(s system) bool { return s.kind == kindRelay }
		list = append(list,
			column{"after_answer_p50_ms", "after p50", func(f *figures) float64 { return f.AfterAnswer.P50 }, "%.2f", relays},
			column{"after_answer_p99_ms", "p99 ms", func(f *figures) float64 { return f.AfterAnswer.P99 }, "%.2f", relays},
			column{"late_p99_ms", "late p99", func(f *figures) float64 { return f.Late.P99 }, "%.2f", nil})
	}
	list = append(list, column{"cpu_us_per_event", "CPU µs/ev", func(f *figures) float64 { return f.CPU }, "%.1f", nil})
	if o.fanout > 1 {
		list = append(list, column{"cpu_us_per_delivery", "µs/deliv", func(f *figures) float64 { return f.CPUPerDelivery }, "%.1f", delivers})
	}
	if o.postgres != "" {
		on := func(s system) bool { return s.postgres }
		list = append(list,
			column{"server_cpu_us_per_event", "server µs", func(f *figures) float64 { return f.ServerCPU }, "%.1f", on},
			column{"server_log_bytes_per_event", "WAL B/ev", func(f *figures) float64 { return f.ServerLog }, "%.0f", on},
			column{"server_transactions_per_second", "tx/s", func(f *figures) float64 { return f.Transactions }, "%.0f", on})
	}
	if len(o.relays) > 0 {
		list = append(list,
			column{"least_share_percent", "least %", func(f *figures) float64 { return 100 * slices.Min(f.Shares) }, "%.0f", nil},
			column{"least_served_percent", "served %", func(f *figures) float64 { return 100 * f.LeastServed }, "%.0f", nil})
	}
	return append(list,
		column{"sink_cpu_us_per_event", "sink µs", func(f *figures) float64 { return f.SinkCPU }, "%.1f", delivers},
		column{"load_cpu_us_per_event", "load µs", func(f *figures) float64 { return f.LoadCPU }, "%.1f", system.isCaddy},
		column{"peak_rss_mib", "RSS MiB", func(f *figures) float64 { return float64(f.PeakMemory) / mebibyte }, "%.0f", nil},
		column{"peak_anonymous_mib", "anon", func(f *figures) float64 { return float64(f.PeakAnonymous) / mebibyte }, "%.0f", nil},
		column{"disk_bytes_per_event", "disk B/ev", func(f *figures) float64 { return f.Written }, "%.0f", nil},
		column{"others_cpu_percent", "others %", func(f *figures) float64 { return f.OthersCPU }, "%.0f", nil},
		column{"events", "events", func(f *figures) float64 { return float64(f.Events) }, "%.0f", nil})
}

func first(f *figures) float64 {
	first, _ := f.ends()
	return first
}

func last(f *figures) float64 {
	_, last := f.ends()
	return last
}

// ratio is one figure of a system divided by one of another, round by round: both were
// measured within a minute of each other.
type ratio struct {
	Figure string `json:"figure"`
	System string `json:"system"`
	To     string `json:"to"`
	// Goal is what the project wants of it; empty if nothing was said.
	Goal string `json:"goal,omitempty"`
	spread

	value, toValue func(*figures) float64
}

// ratios are those that mean something for the options.
func ratios(o *options) []*ratio {
	var (
		accepted  = func(f *figures) float64 { return f.Accepted }
		delivered = func(f *figures) float64 { return f.Delivered }
		cpu       = func(f *figures) float64 { return f.CPU }
		accept50  = func(f *figures) float64 { return f.Accept.P50 }
		accept99  = func(f *figures) float64 { return f.Accept.P99 }
		after50   = func(f *figures) float64 { return f.AfterAnswer.P50 }
		after99   = func(f *figures) float64 { return f.AfterAnswer.P99 }
		each      = func(f *figures) float64 { return f.CPUPerDelivery }
	)
	switch {
	case o.rate > 0:
		return []*ratio{
			{Figure: "accept p50 ÷ one commit", System: "relay", To: "commit", value: accept50, toValue: accept50},
			{Figure: "accept p99 ÷ one commit", System: "relay", To: "commit", value: accept99, toValue: accept99, Goal: "≤ 4"},
			{Figure: "p50 from answer to sink ÷ round trip", System: "relay", To: "proxy", value: after50, toValue: accept50, Goal: "≤ 2"},
			{Figure: "p99 from answer to sink ÷ round trip", System: "relay", To: "proxy", value: after99, toValue: accept99, Goal: "≤ 2"},
			{Figure: "CPU per event", System: "relay", To: "proxy", value: cpu, toValue: cpu},
		}
	case o.fanout > 1:
		return []*ratio{
			{Figure: "deliveries/s", System: "relay", To: "client", value: delivered, toValue: delivered, Goal: "≥ 0.85"},
			{Figure: "CPU per delivery", System: "relay", To: "client", value: each, toValue: each},
			{Figure: "deliveries/s", System: "relay-defaults", To: "client", value: delivered, toValue: delivered},
			{Figure: "CPU per delivery", System: "relay-defaults", To: "client", value: each, toValue: each},
		}
	case o.others > 0:
		return []*ratio{
			{Figure: "accepted/s", System: "relay", To: "relay-alone", value: accepted, toValue: accepted, Goal: "≥ 0.95"},
			{Figure: "CPU per event", System: "relay", To: "relay-alone", value: cpu, toValue: cpu},
		}
	case o.backlog > 0:
		return []*ratio{
			{Figure: "delivered/s", System: "relay-backlog", To: "relay", value: delivered, toValue: delivered, Goal: "≥ 1"},
		}
	case len(o.relays) > 0:
		return relayRatios(o.relays)
	case o.steady:
		return []*ratio{
			{Figure: "delivered/s, last minute ÷ first", System: "relay", To: "relay", value: last, toValue: first, Goal: "≥ 0.9"},
		}
	case o.tls != wirePlain:
		return []*ratio{
			{Figure: "delivered/s", System: "relay", To: "proxy", value: delivered, toValue: delivered, Goal: "≥ 1"},
			{Figure: "CPU per event", System: "relay", To: "proxy", value: cpu, toValue: cpu, Goal: "≤ 1"},
		}
	case o.postgres != "":
		return []*ratio{
			{Figure: "delivered/s", System: "relay-postgres", To: "relay", value: delivered, toValue: delivered, Goal: "≥ 0.5"},
			{Figure: "CPU per event", System: "relay-postgres", To: "relay", value: cpu, toValue: cpu},
		}
	default:
		return []*ratio{
			{Figure: "delivered/s", System: "relay", To: "proxy", value: delivered, toValue: delivered, Goal: "≥ 1.25"},
			{Figure: "CPU per event", System: "relay", To: "proxy", value: cpu, toValue: cpu, Goal: "≤ 0.75"},
			{Figure: "delivered/s", System: "relay-defaults", To: "proxy-defaults", value: delivered, toValue: delivered},
			{Figure: "CPU per event", System: "relay-defaults", To: "proxy-defaults", value: cpu, toValue: cpu},
		}
	}
}

// summarize fills in the medians and ratios.
func (r *report) summarize(o *options) {
	r.columns = columns(o)
	for _, s := range o.systems {
		runs := r.of(s.name)
		summary := summary{System: s.name, Figures: make(map[string]spread)}
		for _, c := range r.columns {
			if c.shown == nil || c.shown(s) {
				summary.Figures[c.name] = spreadOf(values(runs, c.value))
			}
		}
		r.Medians = append(r.Medians, summary)
	}
	for _, ratio := range ratios(o) {
		over, under := values(r.of(ratio.System), ratio.value), values(r.of(ratio.To), ratio.toValue)
		var each []float64
		for i := range min(len(over), len(under)) {
			if under[i] != 0 {
				each = append(each, over[i]/under[i])
			}
		}
		if len(each) > 0 {
			ratio.spread = spreadOf(each)
			r.Ratios = append(r.Ratios, ratio)
		}
	}
}

// of returns the runs of a system, by round.
func (r *report) of(name string) []*figures {
	var runs []*figures
	for _, f := range r.Runs {
		if f.System == name {
			runs = append(runs, f)
		}
	}
	slices.SortFunc(runs, func(a, b *figures) int { return cmp.Compare(a.Round, b.Round) })
	return runs
}

func values(runs []*figures, value func(*figures) float64) []float64 {
	list := make([]float64, len(runs))
	for i, f := range runs {
		list[i] = value(f)
	}
	return list
}
