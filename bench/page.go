//go:build linux

package bench

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// bound is a goal of a figure by itself, and not beside another system's; empty where it is only
// reported.
type bound struct {
	title, system, column string
	goal                  goal
	applies               func(facts) bool
}

var bounds = []bound{
	{"memory at its highest, MiB", "relay", "peak_anonymous_mib", "≤ 200", facts.plain},
	{"memory at its highest, MiB", "relay-backlog", "peak_anonymous_mib", "≤ 300", func(f facts) bool { return f.Backlog > 0 }},
	{"bytes written to disk for an event", "relay", "disk_bytes_per_event", "≤ 5120", facts.plain},
	{"memory at its highest, MiB", "relay", "peak_anonymous_mib", "", func(f facts) bool { return f.Steady }},
	{"bytes written to disk for an event", "relay", "disk_bytes_per_event", "", func(f facts) bool { return f.Steady }},
}

// plain reports whether the load is the ordinary one: as fast as answers come, to one subscription.
func (f facts) plain() bool { return f.question() == plainQuestion }

const plainQuestion = "as fast as answers come"

// question is what a measurement is about.
func (f facts) question() string {
	switch {
	case slices.ContainsFunc(f.Systems, func(s string) bool { return strings.Contains(s, "postgres") }):
		return "events in PostgreSQL"
	case f.Rate > 0:
		return fmt.Sprintf("%g events/s by the clock", f.Rate)
	case f.Fanout > 1:
		return fmt.Sprintf("each event to %d subscriptions", f.Fanout)
	case f.Others > 0:
		return fmt.Sprintf("%s subscriptions beside it", thousands(float64(f.Others)))
	case f.Backlog > 0:
		return fmt.Sprintf("%s events that had waited", thousands(float64(f.Backlog)))
	case f.Steady:
		return strings.Replace(f.Duration, "m0s", "m", 1) + " on end"
	case f.TLS != wirePlain:
		return "over https, " + map[wire]string{wireHTTP1: "HTTP/1.1", wireHTTP2: "HTTP/2"}[f.TLS]
	}
	return plainQuestion
}

// section is a part of a page that is made of figures.
type section struct{ name, text string }

// markdown is all that can be said of the figures.
func (f *measured) markdown() string {
	var b strings.Builder
	for i, s := range f.sections() {
		if i > 0 {
			b.WriteString("\n")
		}
		b.WriteString(s.text)
	}
	return b.String()
}

// sections are the goals and what was reached, the machine, and a table for each growth.
func (f *measured) sections() (all []section) {
	if len(f.reports) > 0 {
		all = append(all, section{"the goals", f.goals()}, section{"the runs", f.provenance()})
	}
	for _, g := range f.growths {
		all = append(all, section{"-grow " + g.Grow, g.table().markdown()})
	}
	return all
}

// goals are all ratios and bounds, in the order of the questions.
func (f *measured) goals() string {
	t := grid{{"what", "figure", "goal", "reached", "least–most", "of these", "met"}}
	line := func(r *report, title string, g goal, figure spread, format, of string) {
		met := ""
		if g != "" {
			met = map[bool]string{true: "yes", false: "**no**"}[g.met(figure.Median)]
		}
		bounds := ""
		if r.Options.Rounds > 1 {
			bounds = fmt.Sprintf(format+"–"+format, figure.Min, figure.Max)
		}
		t = append(t, []string{r.Options.question(), title, string(g), fmt.Sprintf(format, figure.Median), bounds, of, met})
	}
	for _, r := range f.inOrder() {
		for _, ratio := range r.Ratios {
			title := ratio.Figure
			if ratio.System != ratio.To {
				title += fmt.Sprintf(", `%s` ÷ `%s`", ratio.System, ratio.To)
			}
			of := fmt.Sprintf("%s ÷ %s", thousands(r.median(ratio.System, ratio.Column)), thousands(r.median(ratio.To, ratio.ToColumn)))
			line(r, title, ratio.Goal, ratio.spread, "%.2f", of)
		}
		for _, b := range bounds {
			if b.applies(r.Options) {
				line(r, fmt.Sprintf("%s, `%s`", b.title, b.system), b.goal, r.figure(b.system, b.column), "%.0f", "")
			}
		}
	}
	return t.markdown()
}

// noise is the share of the cores, in percent, beyond which others disturb what is measured.
const noise = 15

// provenance says when and beside what each report was measured.
func (f *measured) provenance() string {
	busy := 0.0
	t := grid{{"file", "measured", "rounds", "Caddy built", "a sync takes, p50 and p99", "others on the cores"}}
	for _, r := range f.inOrder() {
		m := &r.Machine
		others := r.median(r.Options.Systems[0], "others_cpu_percent")
		busy = max(busy, others)
		t = append(t, []string{
			"`" + r.file + "`", m.Time.Format("2006-01-02 15:04"), fmt.Sprintf("%d of %s", r.Options.Rounds, r.Options.Duration), m.CaddyBuilt.Format("2006-01-02 15:04"),
			fmt.Sprintf("%.2f and %.2f ms", m.Sync.P50, m.Sync.P99), fmt.Sprintf("%.0f %%", others),
		})
	}
	if busy > noise {
		return t.markdown() + "\nThe machine was busy with other things during some of these, as the last column says: what was measured then is too slow, and the ratios are\nless sure than they look.\n"
	}
	return t.markdown()
}

// inOrder are the reports: the ordinary load first, then by name.
func (f *measured) inOrder() []*report {
	return slices.SortedFunc(maps.Values(f.reports), func(a, b *report) int {
		if a.Options.plain() != b.Options.plain() {
			return map[bool]int{true: -1, false: 1}[a.Options.plain()]
		}
		return cmp.Compare(a.file, b.file)
	})
}

// figure is one of a system over all rounds; zero if there is none.
func (r *report) figure(system, column string) spread {
	for _, s := range r.Medians {
		if s.System == system {
			return s.Figures[column]
		}
	}
	return spread{}
}

func (r *report) median(system, column string) float64 { return r.figure(system, column).Median }

// thousands writes a number with three digits that count, or whole: 0.123, 12.3, 1,234,567.
func thousands(value float64) string {
	if value < 1000 {
		return fmt.Sprintf("%.3g", value)
	}
	digits := fmt.Sprintf("%.0f", value)
	for i := len(digits) - 3; i > 0; i -= 3 {
		digits = digits[:i] + "," + digits[i:]
	}
	return digits
}

// markdown writes the grid as a table of Markdown, with all but the first column to the right if
// they are numbers throughout.
func (g grid) markdown() string {
	var b strings.Builder
	for i, line := range g {
		b.WriteString("| " + strings.Join(line, " | ") + " |\n")
		if i > 0 {
			continue
		}
		for column := range line {
			b.WriteString("|---" + map[bool]string{true: ":"}[g.numbers(column)])
		}
		b.WriteString("|\n")
	}
	return b.String()
}

// numbers reports whether a column has nothing but numbers.
func (g grid) numbers(column int) bool {
	for _, line := range g[1:] {
		if digits := strings.TrimPrefix(line[column], "-"); digits != "" && (digits[0] < '0' || digits[0] > '9') {
			return false
		}
	}
	return true
}
