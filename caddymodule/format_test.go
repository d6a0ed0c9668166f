package caddymodule

import (
	"strings"
	"testing"

	"github.com/caddyrelay/caddyrelay/relay"
)

// Caddy's placeholders are those of the configuration; what they hold is text, and so is
// what an event says.
func TestPlaceholdersOfTheEventStandBesideCaddys(t *testing.T) {
	t.Setenv("TOKEN", "t-{event.id}")
	t.Setenv("TENANT", "acme")
	a := mustProvision(t, `{"subscriptions": [{"name": "crm", "url": "https://{env.TENANT}.example.com/{env.TENANT}/{event.data.id}?t={event.type}",
		"header": [{"field": "x-event", "value": "{event.type}"}],
		"secret_header": [{"field": "Authorization", "value": "Bearer {env.TOKEN} for {event.subject}"}]}]}`)
	crm := a.plan.Subscription("crm")
	e := &relay.Event{ID: "evt_1", Type: "order.paid", Subject: "{env.TOKEN}", Data: []byte(`{"id":"{env.TENANT}"}`)}
	u, err := crm.URLTemplate.URL(e)
	if err != nil || u.String() != "https://acme.example.com/acme/%7Benv.TENANT%7D?t=order.paid" {
		t.Errorf("%v, %v", u, err)
	}
	if len(crm.Header) != 2 || !crm.Header[1].Secret {
		t.Fatalf("%+v", crm.Header)
	}
	same := func(value string) (string, error) { return value, nil }
	if got, err := crm.Header[1].Text.Expand(e, same); err != nil || got != "Bearer t-{event.id} for {env.TOKEN}" {
		t.Errorf("%q, %v", got, err)
	}
	for _, text := range a.warnings() {
		if strings.Contains(text, "in clear") {
			t.Errorf("warning: %s", text)
		}
	}
}

func TestPlaceholdersOfTheEventAreJudged(t *testing.T) {
	t.Setenv("HIDDEN", "https://example.com/{event.id}")
	t.Setenv("HOST", "https://example.com")
	t.Setenv("BREAK", "a\nb")
	for _, tt := range []struct{ subscription, want string }{
		{`"url": "https://{event.data.host}/"`, "may only stand in the path or the query"},
		{`"url": "{env.HOST}{event.data.rest}"`, "may only stand in the path or the query"},
		{`"url": "{env.HOST}/{event.nothing}"`, `"{event.nothing}" is not known`},
		{`"url": "{env.HIDDEN}"`, "what its placeholder holds has a placeholder in it"},
		{`"url": "http://10.0.0.1/{event.id}"`, "destination 10.0.0.1 is refused"},
		{`"url": "https://example.com", "header": [{"field": "X-A", "value": "{event.nothing}"}]`, `header X-A: "{event.nothing}" is not known`},
		{`"url": "https://example.com", "header": [{"field": "X-A", "value": "{env.BREAK}{event.id}"}]`, "header X-A: the value has a control character"},
		{`"url": "https://example.com", "secret_header": [{"field": "X-A", "value": "{env.UNSET}{event.id}"}]`, "secret_header X-A: {env.UNSET} is not set"},
		{`"url": "https://example.com", "format": "xml"`, `format: there is no "xml"`},
		{`"url": "https://example.com", "format": "structured", "method": "DELETE"`, "format structured: the event stands in the body, and DELETE has none"},
	} {
		_, err := provision(t, `{"subscriptions": [{"name": "crm", `+tt.subscription+`}]}`)
		if err == nil || !strings.HasPrefix(err.Error(), `subscription "crm": `) || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s\ngot:  %v\nwant: %s", tt.subscription, err, tt.want)
		}
	}
	_, err := provision(t, `{"defaults": {"method": "GET"}, "subscriptions": [{"name": "crm", "url": "https://example.com", "format": "structured"}]}`)
	if err == nil || !strings.Contains(err.Error(), "GET has none") {
		t.Errorf("the method of the defaults is not seen: %v", err)
	}
	a := mustProvision(t, `{"defaults": {"format": "binary"}, "subscriptions": [{"name": "crm", "url": "https://example.com"}, {"name": "erp", "url": "https://example.com", "format": "data"}]}`)
	if crm, erp := a.plan.Subscription("crm"), a.plan.Subscription("erp"); crm.Format != relay.FormatBinary || erp.Format != relay.FormatData {
		t.Errorf("formats %s and %s", crm.Format, erp.Format)
	}
	// The words in the page are those of the engine.
	if got := formatNames("|"); got != "data|binary|structured|contentful|phraseanet" {
		t.Errorf("formats %s", got)
	}
}
