package caddymodule

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/caddyrelay/caddyrelay/relay"
)

func TestWhatIsWaitedForIsResolvedInProvision(t *testing.T) {
	certificate, key := pair(t, time.Now().Add(time.Hour))
	t.Setenv("CDN", "https://cdn.example.com/spaces/s3cret")
	t.Setenv("TOKEN", "t-0123456789")
	a := mustProvision(t, `{"defaults": {"wait_for": {"url": "{env.CDN}/entries/{event.data.id}", "until": "response.status == 404",
			"secret_header": [{"field": "authorization", "value": "Bearer {env.TOKEN}"}]}},
		"subscriptions": [
			{"name": "crm", "url": "https://crm.example.com/", "tls_client_auth": {"certificate_file": `+quote(t, certificate)+`, "key_file": `+quote(t, key)+`}},
			{"name": "erp", "url": "https://crm.example.com/", "wait_for": {"url": "https://cdn.example.com/", "until": "true", "interval": "20s", "timeout": "1h", "on_timeout": "retry"}}
		]}`)
	crm, erp := a.plan.Subscription("crm"), a.plan.Subscription("erp")
	w := crm.WaitFor
	u, err := w.URLTemplate.URL(&relay.Event{ContentType: "application/json", Data: []byte(`{"id":"a/b"}`)})
	if err != nil || u.String() != "https://cdn.example.com/spaces/s3cret/entries/a%2Fb" {
		t.Errorf("%v, %v", u, err)
	}
	if w.Interval != time.Second || w.Longest != 15*time.Second || w.Timeout != 5*time.Minute || w.OnTimeout != relay.TimeoutDeliver ||
		len(w.Header) != 1 || w.Header[0].Value != "Bearer t-0123456789" || !w.Header[0].Secret {
		t.Errorf("%+v", w)
	}
	if w := erp.WaitFor; w.Interval != 20*time.Second || w.Longest != 20*time.Second || w.Timeout != time.Hour || w.OnTimeout != relay.TimeoutRetry || w.URLTemplate != nil {
		t.Errorf("%+v", w)
	}
	// The client certificate is for the subscription's own server.
	if w.Transport == crm.Transport || w.Transport != erp.Transport || erp.WaitFor.Transport != erp.Transport {
		t.Error("polls do not take the way of the subscription without its certificate")
	}
	shown, err := json.Marshal(a)
	if err != nil {
		t.Fatal(err)
	}
	var lines []string
	for _, s := range a.effective(a.Subscriptions[0]) {
		lines = append(lines, s.Values...)
	}
	text := strings.Join(lines, "\n")
	for _, secret := range []string{"s3cret", "0123456789"} {
		if strings.Contains(string(shown)+text, secret) {
			t.Errorf("%q is shown", secret)
		}
	}
	for _, want := range []string{
		"{env.CDN}/entries/{event.data.id}", "until response.status == 404", "interval 1s 15s", "timeout 5m", "on_timeout deliver",
		"secret_header authorization ***{env.TOKEN}",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("%q is missing in\n%s", want, text)
		}
	}
}

// What only the environment tells is judged like what the text says.
func TestWhatIsWaitedForIsJudgedInProvision(t *testing.T) {
	t.Setenv("PRIVATE", "https://10.0.0.1")
	t.Setenv("NOWHERE", "cdn.example.com")
	t.Setenv("NESTED", "https://cdn.example.com/{env.PRIVATE}")
	t.Setenv("BROKEN", "a\nb")
	for fields, want := range map[string]string{
		`"url": "{env.PRIVATE}/{event.id}"`: `wait_for: destination 10.0.0.1 is refused: it is private`,
		`"url": "{env.NOWHERE}/"`:           `wait_for: `,
		`"url": "{env.NESTED}"`:             `wait_for: URL: what its placeholder holds has a placeholder in it`,
		`"url": "{env.UNSET}"`:              `wait_for: URL: {env.UNSET} is not set`,
		`"url": "https://cdn.example.com/", "secret_header": [{"field": "X-A", "value": "{env.BROKEN}"}]`: `wait_for: secret_header X-A: the value has a control character`,
		`"url": "https://cdn.example.com/", "header": [{"field": "X-A", "value": "{env.UNSET}"}]`:         `wait_for: header X-A: {env.UNSET} is not set`,
	} {
		_, err := provision(t, `{"subscriptions": [{"name": "crm", "url": "https://crm.example.com/", "wait_for": {"until": "true", `+fields+`}}]}`)
		if err == nil || !strings.HasPrefix(err.Error(), `subscription "crm": `+want) {
			t.Errorf("%s\ngot:  %v\nwant: %s", fields, err, want)
		}
		if err != nil && strings.Contains(err.Error(), "a\nb") {
			t.Errorf("the error shows what is secret: %v", err)
		}
	}
}

// A place that would be asked in vain is told after the start, beside that of deliveries.
func TestPlacesThatAreWaitedForAreSurveyed(t *testing.T) {
	c := startCaddy(t)
	r := newReceiver(t)
	c.load(config{subscriptions: "[" + r.subscription("crm", `"allow_hosts": ["cdn.localhost"], "wait_for": {"url": "http://cdn.localhost:4000/", "until": "true"}`) + "]"})
	c.wantLog(`subscription \"crm\": deliveries would wait in vain now`)
}
