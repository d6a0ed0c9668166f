// Package plot draws measured figures as SVG: lines over what grows, in panels side by side.
// It is all that the benchmark needs, and nothing that a library of plots would bring with it.
package plot

import (
	"bytes"
	"fmt"
	"html"
	"strings"
	"unicode/utf8"
)

// Chart is one picture. Its panels have the same horizontal axis.
type Chart struct {
	// Title is read to those who cannot see the picture.
	Title  string
	X      Axis
	Panels []Panel
}

// Axis is one of the two of a panel. It is logarithmic if its values span more than a factor
// of 20, and begins at zero if not.
type Axis struct {
	// Title says what stands there, with its unit.
	Title string
	// Label writes a value beside its tick. Default: 1500 as 1.5k
	Label func(float64) string
}

// Panel holds the lines that share a vertical axis.
type Panel struct {
	Y      Axis
	Series []Series
}

// Series is one line.
type Series struct {
	Name   string
	Points []Point
}

// Point is a figure with what was the least and the most of it. Low and High that are equal
// are not drawn.
type Point struct{ X, Y, Low, High float64 }

// Sizes, in pixels.
const (
	panelWidth  = 420
	panelHeight = 320
	left        = 60
	right       = 28
	top         = 58
	bottom      = 50
	plotWidth   = panelWidth - left - right
	plotHeight  = panelHeight - top - bottom
	// letter is about the width of a letter, since nobody here knows the fonts of the reader.
	letter = 6.6
)

// SVG draws the chart.
func (c *Chart) SVG(t Theme) []byte {
	d := &drawing{theme: t}
	width := panelWidth * len(c.Panels)
	d.add(`<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" width="%d" height="%d" role="img" font-family="system-ui, -apple-system, Segoe UI, Helvetica, Arial, sans-serif" font-size="12">`,
		width, panelHeight, width, panelHeight)
	d.add(`<title>%s</title>`, html.EscapeString(c.Title))
	d.add(`<rect width="100%%" height="100%%" fill="%s"/>`, t.Background)
	for i, p := range c.Panels {
		d.add(`<g transform="translate(%d 0)">`, i*panelWidth)
		d.panel(c.X, p)
		d.add(`</g>`)
	}
	d.add(`</svg>`)
	return d.Bytes()
}

// drawing is an SVG that is being written.
type drawing struct {
	bytes.Buffer
	theme Theme
}

func (d *drawing) add(format string, args ...any) {
	fmt.Fprintf(&d.Buffer, format+"\n", args...)
}

// text writes at a place; anchor is start, middle or end.
func (d *drawing) text(x, y float64, anchor, color, text string) {
	d.add(`<text x="%.1f" y="%.1f" text-anchor="%s" fill="%s">%s</text>`, x, y, anchor, color, html.EscapeString(text))
}

func (d *drawing) line(x1, y1, x2, y2 float64, color string) {
	d.add(`<line x1="%.1f" y1="%.1f" x2="%.1f" y2="%.1f" stroke="%s"/>`, x1, y1, x2, y2, color)
}

func (d *drawing) panel(x Axis, p Panel) {
	xs, ys := p.values()
	horizontal := newScale(xs, left, left+plotWidth)
	vertical := newScale(ys, top+plotHeight, top)
	d.text(left, 18, "start", d.theme.Text, p.Y.Title)
	for _, tick := range vertical.ticks() {
		at := vertical.at(tick)
		d.line(left, at, left+plotWidth, at, d.theme.Grid)
		d.text(left-8, at+4, "end", d.theme.Faint, p.Y.label(tick))
	}
	d.line(left, top+plotHeight, left+plotWidth, top+plotHeight, d.theme.Faint)
	// What was measured is marked, as far as there is room for it.
	free := 0.0
	for _, value := range distinct(xs) {
		at, text := horizontal.at(value), x.label(value)
		d.line(at, top+plotHeight, at, top+plotHeight+4, d.theme.Faint)
		if half := letter * float64(utf8.RuneCountInString(text)) / 2; at-half >= free {
			d.text(at, top+plotHeight+18, "middle", d.theme.Faint, text)
			free = at + half + letter
		}
	}
	d.text(left+plotWidth/2, panelHeight-10, "middle", d.theme.Text, x.Title)
	legend := float64(left)
	for i, s := range p.Series {
		look := d.theme.look(i)
		d.series(s, look, horizontal, vertical)
		d.add(`<path d="M%.1f 36h22" stroke="%s" stroke-width="2" stroke-dasharray="%s"/>`, legend, look.color, look.dashes)
		d.mark(legend+11, 36, look)
		d.text(legend+28, 40, "start", d.theme.Text, s.Name)
		legend += 28 + letter*float64(utf8.RuneCountInString(s.Name)) + 16
	}
}

func (d *drawing) series(s Series, look look, horizontal, vertical scale) {
	var path strings.Builder
	for i, p := range s.Points {
		fmt.Fprintf(&path, "%c%.1f %.1f", "ML"[min(i, 1)], horizontal.at(p.X), vertical.at(p.Y))
	}
	d.add(`<path d="%s" fill="none" stroke="%s" stroke-width="2" stroke-dasharray="%s"/>`, path.String(), look.color, look.dashes)
	for _, p := range s.Points {
		x := horizontal.at(p.X)
		if p.Low < p.High {
			d.line(x, vertical.at(p.Low), x, vertical.at(p.High), look.color)
		}
		d.mark(x, vertical.at(p.Y), look)
	}
}

// mark draws a point. Lines are told apart by its shape, too, and not by colour alone.
func (d *drawing) mark(x, y float64, look look) {
	d.add(`<path transform="translate(%.1f %.1f)" d="%s" fill="%s"/>`, x, y, look.mark, look.color)
}

// values are those of all lines: of the points, and of their bounds.
func (p *Panel) values() (xs, ys []float64) {
	for _, s := range p.Series {
		for _, point := range s.Points {
			xs, ys = append(xs, point.X), append(ys, point.Y)
			if point.Low < point.High {
				ys = append(ys, point.Low, point.High)
			}
		}
	}
	return xs, ys
}

func (a *Axis) label(value float64) string {
	if a.Label != nil {
		return a.Label(value)
	}
	return Short(value)
}
