//go:build linux

package bench

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/caddyrelay/caddyrelay/bench/plot"
)

// quantity is what a growth is measured over: one thing grows, all else stays.
type quantity struct {
	// name is the word of -grow.
	name string
	// title says what the values are, with their unit.
	title  string
	label  func(value float64) string
	values []int
	// systems are measured at each value.
	systems string
	// set makes the options those of a value. Their bounds are checked afterwards.
	set func(o *options, value int)
	// columns are shown, beside those of the machine.
	columns []string
	// panels are drawn.
	panels []panel
}

// panel is a column that is drawn.
type panel struct{ column, title string }

// Titles of the panels that several quantities have.
var (
	deliveredPanel = panel{"delivered_per_second", "delivered a second"}
	cpuPanel       = panel{"cpu_us_per_event", "CPU of an event, µs"}
	memoryPanel    = panel{"peak_anonymous_mib", "memory of the process at its highest, MiB"}
)

var quantities = []*quantity{
	{
		name: "subscriptions", title: "subscriptions, one of which each event is delivered to",
		values: []int{1, 10, 100, 1000, 10_000}, systems: "relay,proxy",
		set:     func(o *options, value int) { o.others = value - 1 },
		columns: []string{"delivered_per_second", "accept_p50_ms", "accept_p99_ms", "cpu_us_per_event", "peak_anonymous_mib"},
		panels:  []panel{cpuPanel, memoryPanel},
	},
	{
		name: "fanout", title: "subscriptions that each event is delivered to",
		values: []int{1, 3, 10, 30, 100}, systems: "relay,client",
		set: func(o *options, value int) {
			o.fanout = value
			// Accepting is so much cheaper than delivering that a load by the clock would leave
			// hundreds of thousands of deliveries behind.
			o.events = max(int(o.duration.Seconds()*fanoutDeliveries)/value, o.posters)
		},
		columns: []string{"delivered_per_second", "cpu_us_per_delivery", "disk_bytes_per_event", "peak_anonymous_mib"},
		panels:  []panel{deliveredPanel, {"cpu_us_per_delivery", "CPU of a delivery, µs"}},
	},
	{
		name: "size", title: "bytes of an event", label: bytesLabel,
		values: []int{256, 1 << 10, 4 << 10, 16 << 10, 64 << 10, maxSize}, systems: "relay,proxy",
		set:     func(o *options, value int) { o.size = value },
		columns: []string{"delivered_per_second", "end_to_end_p50_ms", "end_to_end_p99_ms", "cpu_us_per_event", "disk_bytes_per_event", "peak_anonymous_mib"},
		panels:  []panel{deliveredPanel, cpuPanel},
	},
	{
		name: "posters", title: "connections that post, each when the last is answered",
		values: []int{1, 4, 16, 64, 256}, systems: "relay,proxy",
		set:     func(o *options, value int) { o.posters = value },
		columns: []string{"delivered_per_second", "accept_p50_ms", "accept_p99_ms", "end_to_end_p50_ms", "end_to_end_p99_ms", "cpu_us_per_event"},
		panels:  []panel{deliveredPanel, {"end_to_end_p99_ms", "from post to receiver, 99 of 100, ms"}},
	},
	{
		name: "backlog", title: "events that wait for a subscription, and are then delivered",
		values: []int{1000, 10_000, 100_000, 1_000_000}, systems: "relay-backlog,relay",
		set:     func(o *options, value int) { o.backlog = value },
		columns: []string{"delivered_per_second", "cpu_us_per_event", "disk_bytes_per_event", "peak_anonymous_mib"},
		panels:  []panel{deliveredPanel, memoryPanel},
	},
}

// fanoutDeliveries is about how many deliveries a second two cores make: with it, a duration
// says how long a measurement of fan-out takes.
const fanoutDeliveries = 10_000

func quantityNamed(name string) (*quantity, error) {
	for _, q := range quantities {
		if q.name == name {
			return q, nil
		}
	}
	return nil, fmt.Errorf("%q is none of %s", name, QuantityNames())
}

// QuantityNames lists what -grow takes.
func QuantityNames() string {
	names := make([]string, len(quantities))
	for i, q := range quantities {
		names[i] = q.name
	}
	return strings.Join(names, ", ")
}

// parseValues reads values of a quantity, by commas.
func parseValues(text string) (values []int, err error) {
	for word := range strings.SplitSeq(text, ",") {
		value, err := strconv.Atoi(strings.TrimSpace(word))
		if err != nil || value < 1 {
			return nil, fmt.Errorf("%q is no whole number above zero", word)
		}
		values = append(values, value)
	}
	return values, nil
}

// write shows a value for people.
func (q *quantity) write(value float64) string {
	if q.label != nil {
		return q.label(value)
	}
	return plot.Short(value)
}

func bytesLabel(value float64) string {
	if value < 1<<10 {
		return fmt.Sprintf("%g B", value)
	}
	return fmt.Sprintf("%.4g KiB", value/(1<<10))
}
