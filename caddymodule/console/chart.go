package console

import (
	"math"
	"strconv"
	"time"
)

// chart is a picture of bars, one for each span of time, in the units of its view box. It
// is drawn by the server: it needs no script, and its numbers stand beside it.
type chart struct {
	Label         string
	Width, Height int
	Bars          []bar
}

// bar is a part of one of them. Class says what it stands for: delivered, failed, waiting,
// or unknown, where nobody has counted.
type bar struct {
	Class            string
	X, Y, Wide, Tall units
}

// units are those of a view box. They are written to a hundredth.
type units float64

func (u units) String() string {
	return strconv.FormatFloat(math.Round(float64(u)*100)/100, 'f', -1, 64)
}

// column returns where the column of span i of n begins, and how wide it is.
func (c *chart) column(i, n int) (x, wide units) {
	step := units(c.Width) / units(max(n, 1))
	return units(i) * step, max(step-0.5, 0.5)
}

// stand puts a bar of a height on top of what is that high, in span i of n.
func (c *chart) stand(class string, i, n int, tall, on units) {
	if tall <= 0 {
		return
	}
	x, wide := c.column(i, n)
	c.Bars = append(c.Bars, bar{Class: class, X: x, Y: max(units(c.Height)-on-tall, 0), Wide: wide, Tall: tall})
}

// blank marks the spans from i up to next as unknown, in one piece.
func (c *chart) blank(i, next, n int) {
	x, _ := c.column(i, n)
	end, _ := c.column(next, n)
	c.Bars = append(c.Bars, bar{Class: "unknown", X: x, Wide: end - x, Tall: units(c.Height)})
}

// blanks marks what is unknown of n spans.
func (c *chart) blanks(n int, known func(i int) bool) {
	for i := 0; i < n; i++ {
		from := i
		for i < n && !known(i) {
			i++
		}
		if i > from {
			c.blank(from, i, n)
		}
	}
}

// minuteOf writes a time to the minute.
func minuteOf(t time.Time) string { return t.UTC().Format("2006-01-02 15:04") + " UTC" }

// together is how many minutes stand in one row of a chart's numbers.
const together = 10

// Sizes of the large charts.
const (
	chartWidth  = 720
	chartHeight = 90
)
