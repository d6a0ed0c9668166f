package console

import (
	"fmt"
	"slices"
	"time"
)

// backlogChart shows how many deliveries have waited.
type backlogChart struct {
	chart
	// Since is when the watch began, if that is within the window.
	Since    time.Time
	Now, Top uint64
	// Rows are the largest numbers of longer spans; they begin with the first that is known.
	Rows []level
}

// backlog is the chart of what waits for a subscription, or with an empty name for all; nil
// if there is no history. waiting is how many do now.
func (h *Handler) backlog(name string, waiting uint64) *backlogChart {
	if h.options.History == nil {
		return nil
	}
	levels, since := h.options.History.backlog(name, waiting, time.Now())
	if levels == nil {
		return nil
	}
	c := &backlogChart{chart: chart{Width: chartWidth, Height: chartHeight}, Now: waiting}
	for _, l := range levels {
		c.Top = max(c.Top, l.Waiting)
	}
	what := "The last three hours"
	if !levels[0].Known {
		first := levels[slices.IndexFunc(levels, func(l level) bool { return l.Known })] // the last one is
		if c.Since = first.At; since.After(first.At) {
			c.Since = since
		}
		what = "Since " + minuteOf(c.Since)
	}
	c.Label = fmt.Sprintf("%s: at most %s waiting, %s now", what, number(c.Top), number(c.Now))
	c.blanks(len(levels), func(i int) bool { return levels[i].Known })
	for i, l := range levels {
		tall := units(l.Waiting) * chartHeight / units(max(c.Top, 1))
		if l.Waiting > 0 {
			tall = max(tall, 1) // what waits is seen, however many have waited before
		}
		c.stand("waiting", i, len(levels), tall, 0)
	}
	for i := 0; i+together <= len(levels); i += together {
		row := level{At: levels[i].At}
		for _, l := range levels[i : i+together] {
			row.Waiting, row.Known = max(row.Waiting, l.Waiting), row.Known || l.Known
		}
		if row.Known || len(c.Rows) > 0 {
			c.Rows = append(c.Rows, row)
		}
	}
	return c
}
