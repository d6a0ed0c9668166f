//go:build linux

package bench

import (
	"context"
	"fmt"
	"io"
	"strings"
)

// growth is what was measured while one quantity grows.
type growth struct {
	// Grow names the quantity.
	Grow    string  `json:"grow"`
	Machine machine `json:"machine"`
	// Points have a report for each value, from the least on.
	Points []*point `json:"points"`
	// Problems are why the figures do not count; none if they do.
	Problems []string `json:"problems"`
}

type point struct {
	Value   int        `json:"value"`
	Options facts      `json:"options"`
	Runs    []*figures `json:"runs,omitempty"`
	Medians []summary  `json:"medians"`
}

// measureGrowth measures the systems of the quantity at each of its values.
func measureGrowth(ctx context.Context, o options, progress func(format string, args ...any)) (*growth, error) {
	reports, err := measureEach(ctx, o.points, progress)
	if err != nil {
		return nil, err
	}
	g := &growth{Grow: o.grow.name, Machine: reports[0].Machine}
	for i, r := range reports {
		g.Points = append(g.Points, &point{Value: o.values[i], Options: r.Options, Runs: r.Runs, Medians: r.Medians})
		for _, problem := range r.Problems {
			g.Problems = append(g.Problems, o.points[i].label+problem)
		}
	}
	return g, nil
}

// print writes the growth for people.
func (g *growth) print(w io.Writer) {
	g.Machine.print(w)
	o := &g.Points[0].Options
	fmt.Fprintf(w, "%s; %d rounds of %s, medians\n\n", g.quantity().title, o.Rounds, o.Duration)
	g.table().print(w)
	if len(g.Problems) > 0 {
		fmt.Fprintf(w, "\nFAILED: these figures do not count\n  %s\n", strings.Join(g.Problems, "\n  "))
	}
}

// quantity is what has grown; its name was judged when it was measured, or read.
func (g *growth) quantity() *quantity {
	q, _ := quantityNamed(g.Grow)
	return q
}

// table has a line for each system at each value.
func (g *growth) table() grid {
	q := g.quantity()
	heading := []string{q.name, "system"}
	for _, c := range q.shown() {
		heading = append(heading, c.title)
	}
	t := grid{heading}
	for _, p := range g.Points {
		for _, s := range p.Medians {
			line := []string{q.write(float64(p.Value)), s.System}
			for _, c := range q.shown() {
				cell := "-"
				if figure, has := s.Figures[c.name]; has {
					cell = fmt.Sprintf(c.format, figure.Median)
				}
				line = append(line, cell)
			}
			t = append(t, line)
		}
	}
	return t
}

// shown are the columns of the quantity, and who else was at work.
func (q *quantity) shown() (list []column) {
	for _, name := range append(q.columns, "others_cpu_percent") {
		for _, c := range allColumns {
			if c.name == name {
				list = append(list, c)
			}
		}
	}
	return list
}
