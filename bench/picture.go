//go:build linux

package bench

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/caddyrelay/caddyrelay/bench/plot"
)

// systemTitles are the names of systems in pictures; the others go by their own.
var systemTitles = map[string]string{
	"proxy":         "reverse_proxy, which stores nothing",
	"client":        "a plain net/http client, signing",
	"relay-backlog": "what had waited",
}

// chart is the picture of a growth.
func (g *growth) chart() *plot.Chart {
	q := g.quantity()
	c := &plot.Chart{Title: "Cost as work grows: " + q.title, X: plot.Axis{Title: q.title, Label: q.label}}
	for _, panel := range q.panels {
		p := plot.Panel{Y: plot.Axis{Title: panel.title}}
		for i, s := range g.Points[0].Medians {
			series := plot.Series{Name: s.System}
			if title, has := systemTitles[s.System]; has {
				series.Name = title
			}
			for _, at := range g.Points {
				f := at.Medians[i].Figures[panel.column]
				series.Points = append(series.Points, plot.Point{X: float64(at.Value), Y: f.Median, Low: f.Min, High: f.Max})
			}
			p.Series = append(p.Series, series)
		}
		c.Panels = append(c.Panels, p)
	}
	return c
}

// pictures are the files of a growth, by their names.
func (g *growth) pictures() map[string][]byte {
	c := g.chart()
	return map[string][]byte{
		fmt.Sprintf("grow-%s-light.svg", g.Grow): c.SVG(plot.Light),
		fmt.Sprintf("grow-%s-dark.svg", g.Grow):  c.SVG(plot.Dark),
	}
}

// draw writes the pictures into a folder.
func (g *growth) draw(folder string) error {
	for name, svg := range g.pictures() {
		if err := os.WriteFile(filepath.Join(folder, name), svg, 0o600); err != nil {
			return fmt.Errorf("drawing (-plot): %w", err)
		}
	}
	return nil
}
