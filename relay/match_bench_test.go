package relay_test

import (
	"fmt"
	"testing"

	"github.com/caddyrelay/caddyrelay/relay"
)

// BenchmarkMatch matches one event of a kibibyte with 10,000 subscriptions. Its cost must
// not grow with those whose topics do not match.
func BenchmarkMatch(b *testing.B) {
	const many = 10_000
	data := []byte(`{"sys":{"type":"Entry","id":"7Gh2","space":{"sys":{"type":"Link","linkType":"Space","id":"s1"}},` +
		`"environment":{"sys":{"id":"master","type":"Link"}},"contentType":{"sys":{"type":"Link","id":"page"}}},"fields":{`)
	for i := 0; len(data) < 1000; i++ {
		data = fmt.Appendf(data, `"f%d":{"en-US":"value %d"},`, i, i)
	}
	data = append(data, `"z":1},"total":100.5}`...)

	own := func(i int) *relay.Subscription {
		return benched(fmt.Sprint("s", i), hanging, fmt.Sprintf("order%d.*", i), fmt.Sprintf("*.paid%d", i))
	}
	shared := func(i int) *relay.Subscription { return benched(fmt.Sprint("s", i), hanging, "*") }
	for _, c := range []struct {
		name string
		make func(i int) *relay.Subscription
		want int
	}{
		{"topics", own, 1},
		{"filter", func(i int) *relay.Subscription { return filtered(own(i), "total equals 100.5") }, 1},
		{"expression", func(i int) *relay.Subscription { return expressed(own(i), `event.data.total > 100`) }, 1},
		// All of them have to be asked, but the data is taken apart once.
		{"filter-of-each", func(i int) *relay.Subscription {
			return filtered(shared(i), fmt.Sprintf("sys.id equals %d", i), "sys.type equals Entry")
		}, 0},
	} {
		b.Run(c.name, func(b *testing.B) {
			var all []*relay.Subscription
			for i := range many {
				all = append(all, c.make(i))
			}
			plan, err := relay.NewPlan(relay.PlanOptions{Subscriptions: all})
			if err != nil {
				b.Fatal(err)
			}
			e := &relay.Event{Type: fmt.Sprintf("order%d.made", many/2), ContentType: "application/json", Data: data}
			var dst []*relay.Subscription
			b.ReportAllocs()
			for b.Loop() {
				if dst = relay.Match(plan, e, dst[:0]); len(dst) != c.want {
					b.Fatal(len(dst))
				}
			}
		})
	}
}
