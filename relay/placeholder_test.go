package relay_test

import (
	"strings"
	"testing"
	"time"

	"github.com/caddyrelay/caddyrelay/relay"
)

func TestPlaceholdersStandForValuesOfTheEvent(t *testing.T) {
	e := &relay.Event{
		ID: "evt_1", Type: "order.paid", Source: "/shop", Subject: "42", Time: time.Unix(1, 5e8),
		Data: []byte(`{"customer":{"id":7,"name":"Ada {env.HOME}"},"lines":[{"sku":"x"}],"none":null}`),
	}
	for text, want := range map[string]string{
		"{event.id}": "evt_1", "{event.type}": "order.paid", "{event.source}": "/shop", "{event.subject}": "42",
		"{event.time}": "1970-01-01T00:00:01.5Z", "{event.data.customer.id}": "7",
		"{event.data.customer.name}": "Ada {env.HOME}", "{event.data.lines.0.sku}": "x", "{event.data.nobody}": "", "{event.data.none}": "",
	} {
		p, err := relay.ParsePlaceholder(text)
		if err != nil {
			t.Error(err)
		}
		if got := p.Value(e); got != want || p.String() != text {
			t.Errorf("%s is %q, want %q", p, got, want)
		}
	}
	for _, text := range []string{"", "event.id", "{event.id", "{env.HOME}", "{event.}", "{event.data.}", "{event.data}", "{event.data.a..b}", "{event.sub}"} {
		if _, err := relay.ParsePlaceholder(text); err == nil || !strings.Contains(err.Error(), "event") {
			t.Errorf("%q: %v", text, err)
		}
	}
}
