package caddymodule

import (
	"net/http"
	"strings"
	"testing"
)

func TestDryRunShowsWhatWouldBeSentAndSendsNothing(t *testing.T) {
	secret := newSecret(t, "PREVIEW_SECRET")
	t.Setenv("PREVIEW_KEY", "key-4711")
	r := newReceiver(t)
	c := startSteered(t)
	c.load(
		r.subscription("crm", `"topics": ["order.*"]`, `"transform": {"engine": "template", "text": "order {{.data.order}} of {{.type}}", "content_type": "text/plain"}`,
			`"sign": [{"scheme": "standard", "secrets": [{"secret": "{env.PREVIEW_SECRET}"}]}]`, `"secret_header": [{"field": "X-Key", "value": "{env.PREVIEW_KEY}"}]`),
		r.subscription("archive", `"topics": ["invoice.*"]`),
	)
	out := c.mustRun("send", "order.paid", `{"order": 47}`, "--dry-run")
	for _, want := range []string{
		"order.paid  13 bytes; nothing is stored or sent", "crm: matches", "archive: does not match", "no   topics invoice.*", "POST", "Relay-Attempt: 1",
		"Webhook-Id: evt_preview", "order 47 of order.paid", "and by the word sign: standard",
	} {
		if !strings.Contains(out, want) {
			t.Errorf("it lacks %q:\n%s", want, out)
		}
	}
	_, _, answer := c.ask("POST /relay/preview", `{"type": "order.paid", "data": {"order": 47}}`)
	for _, hidden := range []string{secret, "key-4711"} {
		if strings.Contains(out, hidden) || strings.Contains(string(answer), hidden) {
			t.Errorf("%q is shown:\n%s\n%s", hidden, out, answer)
		}
	}
	if !strings.Contains(string(answer), `"body":"order 47 of order.paid"`) {
		t.Errorf("%s", answer)
	}
	// A transform that fails on this event says why.
	if out := c.mustRun("send", "order.paid", `47`, "--dry-run", "--json"); !strings.Contains(out, `"matches": true`) {
		t.Errorf("%s", out)
	}
	if status, _, answer := c.ask("POST /relay/preview", `{"data": 1}`); status != http.StatusUnprocessableEntity || !strings.Contains(string(answer), "type") {
		t.Errorf("%d %s", status, answer)
	}
	c.refused(http.StatusMethodNotAllowed, "GET /relay/preview", "", "takes POST, not GET")
	if _, err := c.run("send", "relay.mine", "1", "--dry-run"); err == nil {
		t.Error("a type that intake refuses is previewed")
	}
	var list page[struct{ ID string }]
	c.want(http.StatusOK, "GET /relay/events", "", &list)
	if n := len(r.headers()); len(list.Items) != 0 || n != 0 {
		t.Errorf("%d events are stored and %d requests sent", len(list.Items), n)
	}
}
