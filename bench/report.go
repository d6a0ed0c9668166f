//go:build linux

package bench

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"
	"unicode/utf8"
)

// report is everything that was measured.
type report struct {
	Machine machine    `json:"machine"`
	Options facts      `json:"options"`
	Runs    []*figures `json:"runs,omitempty"`
	Medians []summary  `json:"medians"`
	Ratios  []*ratio   `json:"ratios"`
	// Problems are why the run has failed; none if it has not.
	Problems []string `json:"problems"`

	columns []column
	// file that it was read from, if it was.
	file string
}

// facts are the options as JSON shows them.
type facts struct {
	Rounds   int     `json:"rounds"`
	Duration string  `json:"duration"`
	Warmup   string  `json:"warmup"`
	Posters  int     `json:"posters"`
	Size     int     `json:"size"`
	Rate     float64 `json:"rate"`
	Fanout   int     `json:"fanout"`
	Others   int     `json:"others,omitempty"`
	Backlog  int     `json:"backlog,omitempty"`
	Events   int     `json:"events,omitempty"`
	Steady   bool    `json:"steady,omitempty"`
	TLS      wire    `json:"tls,omitempty"`
	// SyncDelay was added to each sync of Caddy's.
	SyncDelay time.Duration `json:"sync_delay_ns,omitempty"`
	Systems   []string      `json:"systems"`
}

func (o *options) facts() facts {
	f := facts{
		Rounds: o.rounds, Duration: o.duration.String(), Warmup: o.warmup.String(),
		Posters: o.posters, Size: o.size, Rate: o.rate, Fanout: o.fanout,
		Others: o.others, Backlog: o.backlog, Events: o.events, Steady: o.steady, TLS: o.tls, SyncDelay: o.syncDelay,
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
	m.print(w)
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
	if o.SyncDelay > 0 {
		fmt.Fprintf(w, ", each sync %s longer", o.SyncDelay)
	}
	if o.TLS != wirePlain {
		fmt.Fprintf(w, ", to the sink over TLS with %s", o.TLS)
	}
	fmt.Fprintln(w)
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
