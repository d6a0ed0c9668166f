package caddymodule

import (
	"slices"
	"strings"
	"testing"

	"github.com/caddyrelay/caddyrelay/relay/signature"
)

func TestWarnings(t *testing.T) {
	newSecret(t, "SECRET")
	const signed = `"sign": [{"scheme": "standard", "secrets": [{"secret": "{env.SECRET}"}]}]`
	const region = `"regions": [{"name": "eu", "egress": [{"address": "192.0.2.10"}]}]`
	for _, c := range []struct {
		app  string
		want []string
	}{
		{`{` + region + `, "subscriptions": [{"name": "crm", "url": "https://crm.example.com/", ` + signed + `}]}`, nil},
		{`{` + region + `, "defaults": {` + signed + `}, "subscriptions": [{"name": "crm", "url": "https://crm.example.com/"}]}`, nil},
		{`{}`, nil},
		{
			`{"regions": [{"name": "eu", "egress": [{"address": "192.0.2.10"}], "network_proxy": {"from": "url", "url": "http://me:s3cret@proxy.example.com:3128"}}]}`,
			[]string{`region "eu": network_proxy url: a secret is written in clear`},
		},
		{`{"regions": [{"name": "eu", "egress": [{"address": "192.0.2.10"}], "network_proxy": {"from": "url", "url": "http://me:{env.SECRET}@proxy.example.com:3128"}}]}`, nil},
		{
			`{"regions": [{"name": "eu", "egress": [{"address": "192.0.2.10", "until": "2020-01-01T00:00:00Z"}, {"address": "192.0.2.11", "from": "2120-01-01T00:00:00Z"}, {"address": "2001:db8::10"}]}]}`,
			[]string{`region "eu": none of its IPv4 addresses is in use now, and what has to leave from one is held: 192.0.2.10 was used until 2020-01-01T00:00:00Z, 192.0.2.11 is used from 2120-01-01T00:00:00Z on; add one that is`},
		},
		{`{"subscriptions": [{"name": "crm", "url": "https://crm.example.com/"}]}`, []string{"no region is declared", `subscription "crm": deliveries are not signed`}},
		{
			`{` + region + `, "subscriptions": [{"name": "crm", "url": "https://crm.example.com/", "sign": [{"scheme": "standard", "secrets": [{"secret": "` + signature.NewStandardSecret() + `"}]}]}]}`,
			[]string{`subscription "crm": sign standard: a secret is written in clear`},
		},
		{
			`{` + region + `, "subscriptions": [{"name": "crm", "url": "https://crm.example.com/", ` + signed + `, "secret_header": [{"field": "X-A", "value": "b"}]}]}`,
			[]string{`subscription "crm": secret_header X-A: a secret is written in clear`},
		},
		{
			`{` + region + `, "defaults": {"header": [{"field": "authorization", "value": "b"}]}, "subscriptions": [{"name": "crm", "url": "https://crm.example.com/", ` + signed + `}]}`,
			[]string{`defaults: header authorization: the value is not masked; write: secret_header authorization`},
		},
		{
			`{` + region + `, "subscriptions": [{"name": "crm", "url": "https://crm.example.com/", ` + signed + `, "wait_for": {"url": "http://cdn.example.com/", "until": "true",
				"header": [{"field": "Authorization", "value": "b"}], "secret_header": [{"field": "X-A", "value": "b"}]}}]}`,
			[]string{
				`subscription "crm": wait_for: the URL is not https`, `subscription "crm": wait_for: header Authorization: the value is not masked`,
				`subscription "crm": wait_for: secret_header X-A: a secret is written in clear`,
			},
		},
	} {
		got := mustProvision(t, c.app).warnings()
		if !slices.EqualFunc(got, c.want, strings.HasPrefix) {
			t.Errorf("%s\ngot:  %q\nwant: %q", c.app, got, c.want)
		}
	}
}
