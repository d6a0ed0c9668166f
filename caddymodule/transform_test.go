package caddymodule

import (
	"context"
	"strings"
	"testing"

	"github.com/caddyrelay/caddyrelay/relay/transform"
)

func TestTransformsAreCompiledInProvision(t *testing.T) {
	in := transform.Input{ID: "evt_1", Type: "order.paid", ContentType: "application/json", Data: []byte(`{"id":"{env.HOME}"}`)}
	for _, tt := range []struct{ transform, want, contentType string }{
		{`{"engine": "template", "text": "<{{ .data.id }}>"}`, "<{env.HOME}>", ""},
		{`{"engine": "template", "text": "{env.HOME}", "content_type": "text/plain"}`, "{env.HOME}", "text/plain"},
		{`{"engine": "jq", "text": ".data.id"}`, `"{env.HOME}"`, "application/json"},
		{`{"engine": "jq", "text": ".data.id", "content_type": "text/plain"}`, `{env.HOME}`, "text/plain"},
	} {
		for _, where := range []string{
			`{"subscriptions": [{"name": "crm", "url": "https://example.com", "transform": ` + tt.transform + `}]}`,
			`{"defaults": {"transform": ` + tt.transform + `}, "subscriptions": [{"name": "crm", "url": "https://example.com"}]}`,
		} {
			made := mustProvision(t, where).plan.Subscription("crm").Transform
			if made == nil || made.ContentType != tt.contentType {
				t.Fatalf("%s: %+v; want content type %q", where, made, tt.contentType)
			}
			if got, err := made.Apply(context.Background(), in); err != nil || string(got) != tt.want {
				t.Errorf("%s: %s, %v; want %s", where, got, err, tt.want)
			}
		}
	}
	for _, tt := range []struct{ settings, want string }{
		{`"transform": {"engine": "template", "text": "{{ .x"}`, "transform template: line 1: unclosed action"},
		{`"transform": {"engine": "jq", "text": "nosuch"}`, "transform jq: function not defined: nosuch/0"},
		{`"transform": {"engine": "jq", "text": ".", "content_type": "json"}`, `transform jq: "json" is no content type`},
		{`"transform": {"engine": "xslt", "text": "."}`, `transform: unknown module "xslt"; known here: jq, template`},
		{`"transform": {"text": "."}`, "transform: a name must follow"},
		{`"transform": {"engine": 1}`, "transform: engine: "},
		{`"transform": []`, "transform: "},
		{`"method": "GET", "transform": {"engine": "jq", "text": "."}`, "transform: it makes a body, and GET has none"},
	} {
		_, err := provision(t, `{"subscriptions": [{"name": "crm", "url": "https://example.com", `+tt.settings+`}]}`)
		if err == nil || !strings.HasPrefix(err.Error(), `subscription "crm": `) || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s\ngot:  %v\nwant: %s", tt.settings, err, tt.want)
		}
	}
	_, err := provision(t, `{"defaults": {"transform": {"engine": "jq", "text": "."}}, "subscriptions": [{"name": "crm", "url": "https://example.com", "method": "GET"}]}`)
	if err == nil || !strings.Contains(err.Error(), "GET has none") {
		t.Errorf("the transform of the defaults is not seen: %v", err)
	}
}
