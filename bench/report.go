//go:build linux

package bench

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"text/tabwriter"
	"unicode/utf8"
)

// report is everything that was measured.
type report struct {
	Machine machine    `json:"machine"`
	Options facts      `json:"options"`
	Runs    []*figures `json:"runs"`
	Medians []summary  `json:"medians"`
	Ratios  []*ratio   `json:"ratios"`
	// Problems are why the run has failed; none if it has not.
	Problems []string `json:"problems"`

	columns []column
}

// facts are the options as JSON shows them.
type facts struct {
	Rounds   int      `json:"rounds"`
	Duration string   `json:"duration"`
	Warmup   string   `json:"warmup"`
	Posters  int      `json:"posters"`
	Size     int      `json:"size"`
	Rate     float64  `json:"rate"`
	Fanout   int      `json:"fanout"`
	Others   int      `json:"others,omitempty"`
	Backlog  int      `json:"backlog,omitempty"`
	TLS      wire     `json:"tls,omitempty"`
	Systems  []string `json:"systems"`
}

func (o *options) facts() facts {
	f := facts{
		Rounds: o.rounds, Duration: o.duration.String(), Warmup: o.warmup.String(),
		Posters: o.posters, Size: o.size, Rate: o.rate, Fanout: o.fanout,
		Others: o.others, Backlog: o.backlog, TLS: o.tls,
	}
	for _, s := range o.systems {
		f.Systems = append(f.Systems, s.name)
	}
	return f
}

// summary is one system over all rounds.
type summary struct {
	System  string            `json:"system"`
	Figures map[string]spread `json:"figures"`
}

// print writes the report for people.
func (r *report) print(w io.Writer) {
	r.printMachine(w)
	fmt.Fprintln(w)
	r.printRuns(w)
	fmt.Fprintln(w)
	r.printRatios(w)
	for _, f := range r.Runs {
		if f.LoggedErrors > 0 {
			fmt.Fprintf(w, "\nnote: Caddy (%s, round %d) logged %d errors or more, the first: %s\n", f.System, f.Round, f.LoggedErrors, f.LoggedError)
		}
	}
	if len(r.Problems) > 0 {
		fmt.Fprintf(w, "\nFAILED: these figures do not count\n  %s\n", strings.Join(r.Problems, "\n  "))
	}
}

func (r *report) printMachine(w io.Writer) {
	m, o := &r.Machine, &r.Options
	fmt.Fprintf(w, "%s · %d cores (%s), %d MiB · Linux %s · %s\n",
		m.Time.Format("2006-01-02 15:04 UTC"), m.Cores, m.CPU, m.MemoryMiB, m.Kernel, m.Go)
	fmt.Fprintf(w, "Caddy: %s, built %s with %s\n", m.Caddy, m.CaddyBuilt.Format("2006-01-02 15:04 UTC"), m.CaddyGo)
	fmt.Fprintf(w, "store on %s (%s): 1 KiB and fdatasync p50 %.3f ms, p99 %.3f ms\n", m.Filesystem, m.Device, m.Sync.P50, m.Sync.P99)
	fmt.Fprintf(w, "%d rounds of %s after %s, %d posters, %d bytes, fan-out %d", o.Rounds, o.Duration, o.Warmup, o.Posters, o.Size, o.Fanout)
	if o.Rate > 0 {
		fmt.Fprintf(w, ", %g events/s by the clock", o.Rate)
	}
	if o.Others > 0 {
		fmt.Fprintf(w, ", %d subscriptions beside it", o.Others)
	}
	if o.Backlog > 0 {
		fmt.Fprintf(w, ", a backlog of %d", o.Backlog)
	}
	if o.TLS != wirePlain {
		fmt.Fprintf(w, ", to the sink over TLS with %s", o.TLS)
	}
	fmt.Fprintf(w, " · load average before: %.2f\n", m.Load)
	if warning := m.warning(); warning != "" {
		fmt.Fprintln(w, "WARNING:", warning)
	}
}

// printRuns writes the table: the rounds of each system, then its medians with the
// least and the most.
func (r *report) printRuns(w io.Writer) {
	heading := []string{"system", "round"}
	for _, c := range r.columns {
		heading = append(heading, c.title)
	}
	t := grid{heading}
	for _, s := range r.Medians {
		for _, f := range r.of(s.System) {
			line := []string{s.System, fmt.Sprint(f.Round)}
			if f.Profiled {
				line[1] += "*"
			}
			for _, c := range r.columns {
				cell := "-"
				if _, shown := s.Figures[c.name]; shown {
					cell = fmt.Sprintf(c.format, c.value(f))
				}
				line = append(line, cell)
			}
			t = append(t, line)
		}
	}
	t = append(t, nil)
	for _, s := range r.Medians {
		line := []string{s.System, "median"}
		bounds := []string{"", "min–max"}
		for _, c := range r.columns {
			figure, shown := s.Figures[c.name]
			if !shown {
				line, bounds = append(line, "-"), append(bounds, "")
				continue
			}
			line = append(line, fmt.Sprintf(c.format, figure.Median))
			bounds = append(bounds, fmt.Sprintf(c.format+"–"+c.format, figure.Min, figure.Max))
		}
		t = append(t, line)
		if r.Options.Rounds > 1 {
			t = append(t, bounds)
		}
	}
	t.print(w)
	for _, f := range r.Runs {
		if f.Profiled {
			fmt.Fprintln(w, "* while profiles were taken, which costs")
			break
		}
	}
}

func (r *report) printRatios(w io.Writer) {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "ratio, round by round\t\tmedian\tmin–max\tgoal")
	for _, ratio := range r.Ratios {
		fmt.Fprintf(t, "%s\t%s ÷ %s\t%.2f\t%.2f–%.2f\t%s\n", ratio.Figure, ratio.System, ratio.To, ratio.Median, ratio.Min, ratio.Max, ratio.Goal)
	}
	_ = t.Flush() // as with every other line of it
}

// writeJSON writes the report for programs.
func (r *report) writeJSON(path string) error {
	var out bytes.Buffer
	err := r.encode(&out)
	if err == nil {
		err = os.WriteFile(path, out.Bytes(), 0o600)
	}
	if err != nil {
		return fmt.Errorf("writing the JSON: %w", err)
	}
	return nil
}

func (r *report) encode(w io.Writer) error {
	encoder := json.NewEncoder(w)
	encoder.SetIndent("", "  ")
	return encoder.Encode(r)
}

// grid is a table with its numbers to the right. A nil line is an empty one.
type grid [][]string

func (g grid) print(w io.Writer) {
	var widths []int
	for _, line := range g {
		for i, cell := range line {
			if i == len(widths) {
				widths = append(widths, 0)
			}
			widths[i] = max(widths[i], utf8.RuneCountInString(cell))
		}
	}
	for _, line := range g {
		var b strings.Builder
		for i, cell := range line {
			padding := strings.Repeat(" ", widths[i]-utf8.RuneCountInString(cell))
			if i == 0 {
				b.WriteString(cell + padding)
			} else {
				b.WriteString("  " + padding + cell)
			}
		}
		fmt.Fprintln(w, strings.TrimRight(b.String(), " "))
	}
}
