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
	// when says for which options it does; nil: all.
	when func(*options) bool
}

const mebibyte = 1 << 20

// allColumns of the table, and of the medians.
var allColumns = func() []column {
	delivers := func(s system) bool { return s.delivers() }
	// What waited to be resumed has no latency that means anything.
	accepts := func(s system) bool { return !s.backlog }
	hands := func(s system) bool { return s.delivers() && !s.backlog }
	relays := func(s system) bool { return s.kind == kindRelay }
	steady := func(o *options) bool { return o.steady }
	paced := func(o *options) bool { return o.rate > 0 }
	stored := func(o *options) bool { return o.postgres != "" }
	onServer := func(s system) bool { return s.postgres }
	several := func(o *options) bool { return len(o.relays) > 0 }
	fans := func(o *options) bool { return o.fanout > 1 || o.events > 0 }
	return []column{
		{"accepted_per_second", "accepted/s", func(f *figures) float64 { return f.Accepted }, "%.0f", nil, nil},
		{"delivered_per_second", "delivered/s", func(f *figures) float64 { return f.Delivered }, "%.0f", delivers, nil},
		{"accept_p50_ms", "accept p50", func(f *figures) float64 { return f.Accept.P50 }, "%.2f", accepts, nil},
		{"accept_p99_ms", "p99 ms", func(f *figures) float64 { return f.Accept.P99 }, "%.2f", accepts, nil},
		{"end_to_end_p50_ms", "e2e p50", func(f *figures) float64 { return f.EndToEnd.P50 }, "%.2f", hands, nil},
		{"end_to_end_p99_ms", "p99 ms", func(f *figures) float64 { return f.EndToEnd.P99 }, "%.2f", hands, nil},
		{"first_minute_per_second", "first min", first, "%.0f", delivers, steady},
		{"last_minute_per_second", "last min", last, "%.0f", delivers, steady},
		{"load_cpu_us_first_minute", "load µs", func(f *figures) float64 { return f.LoadCPUFirst }, "%.1f", delivers, steady},
		{"load_cpu_us_last_minute", "at last", func(f *figures) float64 { return f.LoadCPULast }, "%.1f", delivers, steady},
		{"after_answer_p50_ms", "after p50", func(f *figures) float64 { return f.AfterAnswer.P50 }, "%.2f", relays, paced},
		{"after_answer_p99_ms", "p99 ms", func(f *figures) float64 { return f.AfterAnswer.P99 }, "%.2f", relays, paced},
		{"late_p99_ms", "late p99", func(f *figures) float64 { return f.Late.P99 }, "%.2f", nil, paced},
		{"cpu_us_per_event", "CPU µs/ev", func(f *figures) float64 { return f.CPU }, "%.1f", nil, nil},
		{"cpu_us_per_delivery", "µs/deliv", func(f *figures) float64 { return f.CPUPerDelivery }, "%.1f", delivers, fans},
		{"server_cpu_us_per_event", "server µs", func(f *figures) float64 { return f.ServerCPU }, "%.1f", onServer, stored},
		{"all_cpu_us_per_event", "with it", func(f *figures) float64 { return f.CPU + f.ServerCPU }, "%.1f", onServer, stored},
		{"server_log_bytes_per_event", "WAL B/ev", func(f *figures) float64 { return f.ServerLog }, "%.0f", onServer, stored},
		{"server_transactions_per_second", "tx/s", func(f *figures) float64 { return f.Transactions }, "%.0f", onServer, stored},
		{"least_share_percent", "least %", func(f *figures) float64 { return 100 * slices.Min(f.Shares) }, "%.0f", nil, several},
		{"least_served_percent", "served %", func(f *figures) float64 { return 100 * f.LeastServed }, "%.0f", nil, several},
		{"sink_cpu_us_per_event", "sink µs", func(f *figures) float64 { return f.SinkCPU }, "%.1f", delivers, nil},
		{"load_cpu_us_per_event", "load µs", func(f *figures) float64 { return f.LoadCPU }, "%.1f", system.isCaddy, nil},
		{"peak_rss_mib", "RSS MiB", func(f *figures) float64 { return float64(f.PeakMemory) / mebibyte }, "%.0f", nil, nil},
		{"peak_anonymous_mib", "anon", func(f *figures) float64 { return float64(f.PeakAnonymous) / mebibyte }, "%.0f", nil, nil},
		{"disk_bytes_per_event", "disk B/ev", func(f *figures) float64 { return f.Written }, "%.0f", nil, nil},
		{"others_cpu_percent", "others %", func(f *figures) float64 { return f.OthersCPU }, "%.0f", nil, nil},
		{"events", "events", func(f *figures) float64 { return float64(f.Events) }, "%.0f", nil, nil},
	}
}()

// columns are those that mean something for the options.
func columns(o *options) []column {
	return slices.DeleteFunc(slices.Clone(allColumns), func(c column) bool { return c.when != nil && !c.when(o) })
}

// valueOf reads the figure of a column.
func valueOf(name string) func(*figures) float64 {
	return allColumns[slices.IndexFunc(allColumns, func(c column) bool { return c.name == name })].value
}

func first(f *figures) float64 {
	first, _ := f.ends()
	return first
}

func last(f *figures) float64 {
	_, last := f.ends()
	return last
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
		over, under := values(r.of(ratio.System), valueOf(ratio.Column)), values(r.of(ratio.To), valueOf(ratio.ToColumn))
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
