package console

import (
	"fmt"
	"html/template"
	"net"
	"strconv"
	"strings"
	"time"

	"github.com/dustin/go-humanize"

	"github.com/caddyrelay/caddyrelay/relay"
)

// functions are those of the templates.
var functions = template.FuncMap{
	"machine":  func(t time.Time) string { return t.UTC().Format(time.RFC3339Nano) },
	"date":     func(t time.Time) string { return t.UTC().Format(time.DateOnly) },
	"clock":    func(t time.Time) string { return t.UTC().Format(time.TimeOnly) },
	"exact":    func(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05.000 UTC") },
	"relative": func(t time.Time) string { return relative(t, time.Now()) },
	"overdue":  func(t time.Time) bool { return !t.IsZero() && time.Since(t) > overdueAfter },
	"took":     took,
	"size":     func(n int64) string { return humanize.IBytes(uint64(max(n, 0))) },
	"number":   number,
	"sign":     sign,
	"because":  because,
	"plural":   plural,
	"join":     strings.Join,
	"delivery": deliveryPath,
	"soft":     soft,
	"table":    func(frame, rows any) tableOf { return tableOf{frame, rows} },
	"tab":      newTab,
	"last":     lastOf,
	"host":     hostOf,
	"tally":    tally,
	"spark":    func(f *frame, name string) *rateChart { return f.spark(name) },
	"int64":    func(n int) int64 { return int64(n) },
}

// soft writes a name so that it is broken after its dots and dashes where it does not fit.
func soft(name string) template.HTML {
	escaped := template.HTMLEscapeString(name)
	return template.HTML(strings.NewReplacer(".", ".<wbr>", "-", "-<wbr>", "_", "_<wbr>").Replace(escaped))
}

// tableOf hands a template rows, and the frame that their links are made from.
type tableOf struct{ Frame, Rows any }

// tab is a link to a screen.
type tab struct {
	Root, Path, Label string
	Current           bool
}

func newTab(f *frame, name, path, label string) tab {
	return tab{Root: f.Root, Path: path, Label: label, Current: f.Current == name}
}

// lastOf returns the last attempt, or nil.
func lastOf(attempts []relay.Attempt) *relay.Attempt {
	if len(attempts) == 0 {
		return nil
	}
	return &attempts[len(attempts)-1]
}

// hostOf returns an address without its port.
func hostOf(address string) string {
	if host, _, err := net.SplitHostPort(address); err == nil {
		return host
	}
	return address
}

// tallied is a state with the number of deliveries in it.
type tallied struct {
	State relay.State
	N     int
}

// tally counts deliveries by state.
func tally(deliveries []relay.Delivery) []tallied {
	var all []tallied
	for _, state := range relay.States {
		n := 0
		for i := range deliveries {
			if deliveries[i].State == state {
				n++
			}
		}
		if n > 0 {
			all = append(all, tallied{state, n})
		}
	}
	return all
}

// overdueAfter is how late something has to be to be called so.
const overdueAfter = time.Minute

// relative says when something is, seen from now: "3 min ago", "in 2 h".
func relative(t, now time.Time) string {
	d := t.Sub(now)
	switch {
	case d > -time.Second && d < time.Second:
		return "now"
	case d < 0:
		return span(-d) + " ago"
	}
	return "in " + span(d)
}

// span says how long something takes, in its two largest units at most.
func span(d time.Duration) string {
	switch {
	case d < time.Minute:
		return fmt.Sprintf("%d s", d/time.Second)
	case d < time.Hour:
		return fmt.Sprintf("%d min", d/time.Minute)
	case d < 24*time.Hour:
		return two(int(d/time.Hour), "h", int(d%time.Hour/time.Minute), "min")
	case d > 2*365*24*time.Hour:
		return plural(int(d/(365*24*time.Hour)), "year")
	}
	return two(int(d/(24*time.Hour)), "d", int(d%(24*time.Hour)/time.Hour), "h")
}

func two(n int, unit string, m int, smaller string) string {
	if n >= 10 || m == 0 {
		return fmt.Sprintf("%d %s", n, unit)
	}
	return fmt.Sprintf("%d %s %d %s", n, unit, m, smaller)
}

// took says how long an attempt took.
func took(d time.Duration) string {
	switch {
	case d < time.Millisecond:
		return "< 1 ms"
	case d < time.Second:
		return fmt.Sprintf("%d ms", d.Milliseconds())
	}
	return fmt.Sprintf("%.1f s", d.Seconds())
}

// number writes a count with its thousands apart.
func number(n any) string {
	switch n := n.(type) {
	case int:
		return humanize.Comma(int64(n))
	case int64:
		return humanize.Comma(n)
	case uint64:
		if n < 1<<63 {
			return humanize.Comma(int64(n))
		}
		return strconv.FormatUint(n, 10)
	}
	return fmt.Sprint(n)
}

// plural writes a count with its noun.
func plural(n any, noun string) string {
	text := number(n)
	if text == "1" {
		return "1 " + noun
	}
	if stem, ok := strings.CutSuffix(noun, "y"); ok {
		return text + " " + stem + "ies"
	}
	return text + " " + noun + "s"
}

// sign is a shape for a state, so that nobody has to tell colours apart.
func sign(state any) string {
	switch fmt.Sprint(state) {
	case "delivered", "active", "up", "done":
		return "✓"
	case "failed", "gone", "down":
		return "✕"
	case "retrying", "running":
		return "↻"
	case "held", "paused", "disabled":
		return "‖"
	case "superseded", "cancelled":
		return "→"
	}
	return "·"
}

// because says in a sentence what a reason means.
func because(r relay.Reason) string {
	switch r {
	case relay.ReasonPaused:
		return "The subscription is paused."
	case relay.ReasonDisabled:
		return "The subscription is disabled: its endpoint answered 410, or failed for too long. Resume it when that is mended."
	case relay.ReasonGone:
		return "The configuration has no subscription of this name. Deliveries go on when it is back."
	case relay.ReasonRetryAfter:
		return "The endpoint asked to wait."
	case relay.ReasonEgress:
		return "No address of the region is usable. Nothing is sent from another one; it goes on when an address is back."
	case relay.ReasonBreaker:
		return "Too many attempts failed. The endpoint is left alone, and probed from time to time."
	case relay.ReasonNoInstance:
		return "No relay that is alive makes the deliveries of this subscription: none has an address of its region, or none has taken it up yet."
	case relay.ReasonOrder:
		return "It waits behind another delivery of its key."
	case relay.ReasonDebounce:
		return "It waits for a newer event of its key, until the window ends."
	case relay.ReasonWaiting:
		return "What wait_for asks another URL for is not there: the delivery waits for it, or has done so for long enough."
	case relay.ReasonSchedule:
		return "All attempts that its schedule allows have failed."
	case relay.ReasonGiveUpAfter:
		return "The time for retries is over."
	case relay.ReasonStatus:
		return "The endpoint answered with a status that is not retried."
	case relay.ReasonDropped:
		return "It was given up by hand."
	case relay.ReasonQuarantined:
		return "Its record cannot be read, or cannot be sent. The log has more."
	case relay.ReasonErased:
		return "The event was erased."
	case relay.ReasonNone:
		return ""
	}
	return string(r)
}
