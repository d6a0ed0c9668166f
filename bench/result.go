//go:build linux

package bench

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
)

// Result is what was measured, relay beside reverse_proxy.
type Result struct{ report *report }

// JSON writes everything.
func (r *Result) JSON(w io.Writer) error { return r.report.encode(w) }

// Print writes the medians for people.
func (r *Result) Print(w io.Writer) error {
	m := &r.report.Machine
	fmt.Fprintf(w, "%d cores (%s), Linux %s; load average before: %.1f\n", m.Cores, m.CPU, m.Kernel, m.Load)
	fmt.Fprintf(w, "store on %s (%s): a synced write takes %.1f ms, one of a hundred %.1f ms\n\n", m.Filesystem, m.Device, m.Sync.P50, m.Sync.P99)
	relay, proxy := r.median("relay"), r.median("proxy")
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
		fmt.Fprintf(t, "%s\t"+line.format+"\t"+line.format+"\t\n", line.title, relay[line.figure].Median, proxy[line.figure].Median)
	}
	if err := t.Flush(); err != nil {
		return err
	}
	_, err := fmt.Fprint(w, "\nThe relay stores, syncs and signs each event; reverse_proxy hands it on and forgets it.\n")
	return err
}

// median returns the figures of a system over all rounds.
func (r *Result) median(system string) map[string]spread {
	for _, s := range r.report.Medians {
		if s.System == system {
			return s.Figures
		}
	}
	return nil
}

// Err says why the figures do not count; nil if they do.
func (r *Result) Err() error {
	if len(r.report.Problems) == 0 {
		return nil
	}
	return fmt.Errorf("these figures do not count: %s", strings.Join(r.report.Problems, "; "))
}
