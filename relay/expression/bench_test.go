package expression

import (
	"fmt"
	"testing"

	"github.com/caddyrelay/caddyrelay/relay/payload"
)

// BenchmarkMatch evaluates over an event of a kibibyte, of which nothing was read before.
func BenchmarkMatch(b *testing.B) {
	data := []byte(`{"sys":{"type":"Entry","id":"7Gh2","space":{"sys":{"type":"Link","linkType":"Space","id":"s1"}},` +
		`"environment":{"sys":{"id":"master","type":"Link"}},"contentType":{"sys":{"type":"Link","id":"page"}}},"fields":{`)
	for i := 0; len(data) < 985; i++ {
		data = fmt.Appendf(data, `"f%d":{"en-US":"value %d"},`, i, i)
	}
	data = append(data, `"z":1},"tags":["a","b","vip"],"total":100.5}`...)
	for name, text := range map[string]string{
		"type":   `event.type == "order.paid"`,
		"number": `event.source == "/shop" && event.data.total > 100`,
		"deep":   `event.data.sys.contentType.sys.id == "page" && event.data.sys.environment.sys.id == "master"`,
		"list":   `event.data.tags.exists(t, t == "vip")`,
	} {
		b.Run(name, func(b *testing.B) {
			x := compiled(b, text)
			e := &Event{Type: "order.paid", Source: "/shop"}
			b.ReportAllocs()
			for b.Loop() {
				e.Data = payload.OpenDocument(data)
				if ok, err := x.Match(e); !ok || err != nil {
					b.Fatal(ok, err)
				}
				e.Data.Close()
			}
		})
	}
}
