package console

import (
	"fmt"
	"time"
)

// chart is a picture of bars, one for each span of time, in the units of its view box. It
// is drawn by the server: it needs no script, and its numbers stand beside it.
type chart struct {
	Label         string
	Width, Height int
	Bars          []bar
	// Rows are the numbers, in fewer and longer spans; none for a small chart.
	Rows                   []spanCount
	Delivered, Failed, Top uint64
}

// bar is one of them. Failed stands on top of delivered.
type bar struct {
	X, Width                  float64
	DeliveredY, DeliveredTall float64
	FailedY, FailedTall       float64
}

// draw makes a chart of spans.
func draw(what string, spans []spanCount, width, height int) *chart {
	c := &chart{Width: width, Height: height}
	for _, s := range spans {
		c.Delivered += uint64(s.Delivered)
		c.Failed += uint64(s.Failed)
		c.Top = max(c.Top, uint64(s.Delivered)+uint64(s.Failed))
	}
	c.Label = fmt.Sprintf("%s: %s delivered, %s failed", what, number(c.Delivered), plural(c.Failed, "attempt"))
	step := float64(width) / float64(max(len(spans), 1))
	for i, s := range spans {
		if s.Delivered+s.Failed == 0 {
			continue
		}
		scale := float64(height) / float64(c.Top)
		delivered, failed := float64(s.Delivered)*scale, float64(s.Failed)*scale
		if s.Failed > 0 {
			failed = max(failed, 1) // a failure is seen, however many have arrived
		}
		c.Bars = append(c.Bars, bar{
			X: float64(i) * step, Width: max(step-0.5, 0.5),
			DeliveredY: float64(height) - delivered, DeliveredTall: delivered,
			FailedY: max(float64(height)-delivered-failed, 0), FailedTall: failed,
		})
	}
	return c
}

// spark is the small chart of a subscription; nil if it has no history.
func (h *Handler) spark(name string) *chart {
	if h.options.History == nil {
		return nil
	}
	spans := h.options.History.day(name, time.Now())
	if spans == nil {
		return nil
	}
	return draw("24 hours", spans, 96, 20)
}

// rates is the chart of the first page, with a row for each ten minutes; nil if there is no
// history.
func (h *Handler) rates() *chart {
	if h.options.History == nil {
		return nil
	}
	spans := h.options.History.minutes(time.Now())
	c := draw("The last three hours, by the minute", spans, 720, 90)
	const together = 10
	for i := 0; i+together <= len(spans); i += together {
		row := spanCount{At: spans[i].At}
		for _, s := range spans[i : i+together] {
			row.Delivered += s.Delivered
			row.Failed += s.Failed
		}
		if row.Delivered+row.Failed > 0 {
			c.Rows = append(c.Rows, row)
		}
	}
	return c
}
