package console

import (
	"fmt"
	"time"
)

// rateChart shows what was delivered and what failed.
type rateChart struct {
	chart
	// Since is when the counting began, if that is within the window.
	Since                  time.Time
	Delivered, Failed, Top uint64
	// Rows are the numbers, in fewer and longer spans; none for a small chart.
	Rows []spanCount
}

// drawRates makes a chart of spans that were counted since a time; what says which ones.
func drawRates(what string, spans []spanCount, since time.Time, width, height int) *rateChart {
	c := &rateChart{chart: chart{Width: width, Height: height}}
	for _, s := range spans {
		c.Delivered += uint64(s.Delivered)
		c.Failed += uint64(s.Failed)
		c.Top = max(c.Top, uint64(s.Delivered)+uint64(s.Failed))
	}
	if !spans[0].Known {
		c.Since = since
		what = "Since " + minuteOf(c.Since)
	}
	c.Label = fmt.Sprintf("%s: %s delivered, %s failed", what, number(c.Delivered), plural(c.Failed, "attempt"))
	c.blanks(len(spans), func(i int) bool { return spans[i].Known })
	for i, s := range spans {
		scale := units(height) / units(max(c.Top, 1))
		delivered, failed := units(s.Delivered)*scale, units(s.Failed)*scale
		if s.Failed > 0 {
			failed = max(failed, 1) // a failure is seen, however many have arrived
		}
		c.stand("delivered", i, len(spans), delivered, 0)
		c.stand("failed", i, len(spans), failed, delivered)
	}
	return c
}

// spark is the small chart of a subscription; nil if it has no history.
func (h *Handler) spark(name string) *rateChart {
	if h.options.History == nil {
		return nil
	}
	spans, since := h.options.History.day(name, time.Now())
	if spans == nil {
		return nil
	}
	return drawRates("24 hours", spans, since, 96, 20)
}

// rates is the chart of the first page, with a row for each ten minutes; nil if there is no
// history.
func (h *Handler) rates() *rateChart {
	if h.options.History == nil {
		return nil
	}
	spans, since := h.options.History.minutes(time.Now())
	c := drawRates("The last three hours, by the minute", spans, since, chartWidth, chartHeight)
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
