package filter

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
	for name, line := range map[string][]string{
		"early":   {"sys.contentType.sys.id", "equals", "page"},
		"late":    {"total", "equals", "100.50"},
		"nothing": {"not", "sys.deletedBy.sys.id", "exists"},
		"regexp":  {"sys.environment.sys.id", "regexp", "^ma[a-z]+$"},
	} {
		b.Run(name, func(b *testing.B) {
			f := parse(b, line...)
			b.ReportAllocs()
			for b.Loop() {
				d := payload.OpenDocument(data)
				if !f.Match(d) {
					b.Fatal("no match")
				}
				d.Close()
			}
		})
	}
}
