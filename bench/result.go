//go:build linux

package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"text/tabwriter"
	"time"
)

// Options are those of [Measure]. The zero value of each stands for its default.
type Options struct {
	// Rounds is how often the relay and reverse_proxy are measured, in turn. Default: 3
	Rounds int
	// Duration is that of each of these, after a warm-up of a second. Default: 8s
	Duration time.Duration
	// Posters are connections with one request under way each. Default: 64
	Posters int
	// Rate is in events a second; 0: as fast as answers come.
	Rate float64
	// Size is in bytes of each body. Default: 1024
	Size int
	// Grow is the quantity over which it is measured, one of [QuantityNames]; empty: none.
	Grow string
	// Values are those of Grow, by commas. Default: five or six over the whole range
	Values string
	// Pictures is the folder that a growth is drawn into; empty: it is not.
	Pictures string
	// Directory is where the stores lie meanwhile; its disk counts. Default: the present one.
	Directory string
	// Program and Arguments start what calls [Act] first.
	Program   string
	Arguments []string
	// Progress is told after each measurement.
	Progress func(done, total int)
}

// Measure measures. The program itself is the Caddy that is measured.
func Measure(ctx context.Context, from Options) (*Result, error) {
	o := defaultOptions()
	o.caddy, o.childProgram, o.childArguments = from.Program, from.Program, from.Arguments
	o.rate = from.Rate
	for _, field := range []struct {
		to    *int
		value int
	}{{&o.rounds, from.Rounds}, {&o.posters, from.Posters}, {&o.size, from.Size}} {
		if field.value != 0 {
			*field.to = field.value
		}
	}
	if from.Duration != 0 {
		o.duration = from.Duration
	}
	if from.Directory != "" {
		o.dir = from.Directory
	}
	o.plot = from.Pictures
	if err := errors.Join(o.checkFiles(from.Grow), o.check()); err != nil {
		return nil, err
	}
	done, total := 0, 0
	progress := func(string, ...any) {
		done++
		from.Progress(min(done, total), total)
	}
	if from.Grow != "" {
		if err := o.growOver(from.Grow, from.Values, ""); err != nil {
			return nil, err
		}
		for _, at := range o.points {
			total += o.rounds * len(at.systems)
		}
		g, err := measureGrowth(ctx, o, progress)
		if err != nil {
			return nil, interrupted(ctx, err)
		}
		return &Result{growth: g}, o.draw(g)
	}
	if from.Values != "" {
		return nil, errValues
	}
	if err := o.choose("relay,proxy"); err != nil {
		return nil, err
	}
	total = o.rounds * len(o.systems)
	report, err := measure(ctx, o, progress)
	if err != nil {
		return nil, interrupted(ctx, err)
	}
	return &Result{report: report}, nil
}

// Result is what was measured: relay beside reverse_proxy, or the growth of a quantity.
type Result struct {
	report *report
	growth *growth
}

// JSON writes everything.
func (r *Result) JSON(w io.Writer) error {
	if r.growth != nil {
		return encode(w, r.growth)
	}
	return encode(w, r.report)
}

// Print writes the medians for people.
func (r *Result) Print(w io.Writer) error {
	if r.growth != nil {
		r.growth.print(w)
		return nil
	}
	m := &r.report.Machine
	fmt.Fprintf(w, "%d cores (%s), Linux %s; load average before: %.1f\n", m.Cores, m.CPU, m.Kernel, m.Load)
	fmt.Fprintf(w, "store on %s (%s): a synced write takes %.1f ms, one of a hundred %.1f ms\n\n", m.Filesystem, m.Device, m.Sync.P50, m.Sync.P99)
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "\trelay\treverse_proxy\t")
	for _, line := range []struct{ title, figure, format string }{
		{"events delivered a second", "delivered_per_second", "%.0f"},
		{"CPU for an event", "cpu_us_per_event", "%.0f µs"},
		{"answered, median", "accept_p50_ms", "%.1f ms"},
		{"answered, 99 of 100", "accept_p99_ms", "%.1f ms"},
		{"delivered, median", "end_to_end_p50_ms", "%.1f ms"},
		{"delivered, 99 of 100", "end_to_end_p99_ms", "%.1f ms"},
		{"memory", "peak_rss_mib", "%.0f MiB"},
		{"written to disk for an event", "disk_bytes_per_event", "%.0f B"},
	} {
		fmt.Fprintf(t, "%s\t"+line.format+"\t"+line.format+"\t\n", line.title, r.report.median("relay", line.figure), r.report.median("proxy", line.figure))
	}
	if err := t.Flush(); err != nil {
		return err
	}
	_, err := fmt.Fprint(w, "\nThe relay stores, syncs and signs each event; reverse_proxy hands it on and forgets it.\n")
	return err
}

// Err says why the figures do not count; nil if they do.
func (r *Result) Err() error {
	if r.growth != nil {
		return worthless(r.growth.Problems)
	}
	return worthless(r.report.Problems)
}
