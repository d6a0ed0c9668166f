package integration

import (
	"fmt"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"testing"
)

// explanation is what GET /relay/explain answers.
type explanation struct {
	Event, Type, Subscription, Note string
	Matches                         bool
	Clauses                         []struct {
		Word, Text, Found string
		Verdict           bool
	}
	Delivery *delivery
}

// explain asks why an event matches a subscription, and returns the words of the clauses
// that do not.
func (c *instance) explain(id, subscription string) (x explanation, unmet []string) {
	c.t.Helper()
	query := url.Values{"event": {id}, "subscription": {subscription}}
	x = decode[explanation](c.t, c.get("/relay/explain?"+query.Encode()))
	for _, clause := range x.Clauses {
		if !clause.Verdict {
			unmet = append(unmet, clause.Word)
		}
	}
	if x.Matches != (len(unmet) == 0) {
		c.t.Errorf("matches is %v with %v unmet", x.Matches, unmet)
	}
	return x, unmet
}

// TestAWebhookOfContentfulMovesHereAsItIs: its topics, and its filters as its API gives
// them.
func TestAWebhookOfContentfulMovesHereAsItIs(t *testing.T) {
	t.Parallel()
	to := newReceiver(t)
	c := run(t, fmt.Sprintf(`
		defaults {
			allow_ips 127.0.0.1
		}
		subscription tariffs %[1]s/ {
			topics Entry.publish Entry.unpublish
			filters <<JSON
				[
					{"equals": [{"doc": "sys.environment.sys.id"}, "master"]},
					{"in": [{"doc": "sys.contentType.sys.id"}, ["tariff", "page"]]}
				]
				JSON
		}
		subscription not-anna %[1]s/ {
			topics *.publish
			filters <<JSON
				[{"not": {"equals": [{"doc": "sys.updatedBy.sys.id"}, "1DfGhJ2KlMnB3vCxZaSdQw"]}}]
				JSON
		}
		subscription drafts %[1]s/ ContentManagement.Entry.* {
			filters <<JSON
				[{"regexp": [{"doc": "sys.environment.sys.id"}, {"pattern": "^ci-[a-z]{3,5}$"}]}]
				JSON
		}
		subscription recent %[1]s/ entry.* {
			expression <<CEL
				event.data.sys.revision > 3 && event.data.fields.price["en-US"] == 2.5 &&
					event.id.startsWith("evt_")
				CEL
		}`, to.url()), withIntake("accept contentful"))

	published := fixture(t, "contentful.entry.publish.json")
	deleted := `{"sys":{"type":"DeletedEntry","id":"x","environment":{"sys":{"id":"ci-abc"}},"contentType":{"sys":{"id":"tariff"}},"revision":4}}`
	post := func(topic, body, key string) receipt {
		return c.accepted(c.request(http.MethodPost, "/v1/events", body, "Content-Type", "application/vnd.contentful.management.v1+json",
			"X-Contentful-Topic", "ContentManagement."+topic, "X-Contentful-Idempotency-Key", key))
	}
	for i, p := range []struct{ topic, body, matched string }{
		{"Entry.publish", published, "tariffs recent"},
		{"Entry.save", published, "recent"},
		{"Entry.publish", strings.ReplaceAll(published, "1DfGhJ2KlMnB3vCxZaSdQw", "somebody"), "tariffs not-anna recent"},
		{"Entry.unpublish", deleted, "drafts"},
		{"Entry.publish", deleted, "drafts"}, // without updatedBy, not of anybody else either
		{"Asset.publish", published, ""},
	} {
		r := post(p.topic, p.body, fmt.Sprint("key-", i))
		if got := strings.Join(r.Matched, " "); got != p.matched {
			t.Errorf("%d %s: %q; want %q", i, p.topic, got, p.matched)
		}
		for _, name := range r.Matched {
			c.wantDelivery(r.ID, name, stateDelivered, "")
		}
		x, unmet := c.explain(r.ID, "not-anna")
		if x.Event != r.ID || x.Matches != slices.Contains(r.Matched, "not-anna") || (x.Delivery != nil) != x.Matches || x.Note != "" {
			t.Errorf("%d: %+v, unmet %v", i, x, unmet)
		}
	}
}

// TestWhyNotMatchedIsToldAndMissingIsMadeGood over a change of the configuration.
func TestWhyNotMatchedIsToldAndMissingIsMadeGood(t *testing.T) {
	t.Parallel()
	to := newReceiver(t)
	lines := func(filter string) string {
		return fmt.Sprintf(`
		subscription crm %s/ order.* {
			allow_ips 127.0.0.1
			%s
		}`, to.url(), filter)
	}
	c := run(t, lines("filter currency in USD GBP"))
	missed := c.accept("order.paid", `{"currency":"EUR","total":100.50}`)
	wanted := c.accept("order.paid", `{"currency":"USD"}`)
	other := c.accept("invoice.paid", `{"currency":"USD"}`)
	c.wantDelivery(wanted.ID, "crm", stateDelivered, "")
	for id, want := range map[string]string{missed.ID: "filter", wanted.ID: "", other.ID: "topics"} {
		if _, unmet := c.explain(id, "crm"); strings.Join(unmet, " ") != want {
			t.Errorf("unmet %v; want %q", unmet, want)
		}
	}
	wantOutput(t, c.relay("show", missed.ID), "no subscription matched")
	wantOutput(t, c.relay("show", missed.ID, "--why", "crm"), "does not match crm", "no   filter currency in USD GBP", `"EUR"`, "no delivery")
	wantFailure(t, c.relay("show", missed.ID, "--why", "nobody"), `no subscription named "nobody"`)
	wantOutput(t, c.relay("show", "crm"), "filter", "currency in USD GBP", "built-in")
	if a := c.get("/relay/explain?event=" + missed.ID + "&subscription=nobody"); a.status != http.StatusNotFound {
		t.Errorf("an unknown subscription: %s", a)
	}

	c.mustReload(lines("expression `event.data.total == 100.5`"))
	for id, want := range map[string]string{missed.ID: "would be today", wanted.ID: "would not be today", other.ID: ""} {
		if x, _ := c.explain(id, "crm"); !strings.Contains(x.Note, want) || (x.Note == "") != (want == "") {
			t.Errorf("noted %q; want %q", x.Note, want)
		}
	}
	if r := c.relay("replay", "--subscription", "crm", "--select", "missing"); r.code != 0 || !strings.Contains(r.out, "1 of 1 replayed") {
		t.Errorf("replaying what is missing: %s", r)
	}
	c.wantDelivery(missed.ID, "crm", stateDelivered, "")
	to.wantExactly(2)
}

// TestSubscriptionsFromSnippetsAndFiles: a snippet above the options block, files that a
// pattern finds, and a file that comes later.
func TestSubscriptionsFromSnippetsAndFiles(t *testing.T) {
	t.Parallel()
	to := newReceiver(t)
	c := prepare(t, withEnv("PARTNER_SECRET="+newSecret()))
	t.Cleanup(func() { c.kill() })
	if err := os.Mkdir(c.path("subscriptions.d"), 0o700); err != nil {
		t.Fatal(err)
	}
	c.write("subscriptions.d/erp.caddyfile", "subscription erp "+to.url()+"/erp {\n\tallow_ips 127.0.0.1\n\tfilter n equals 1\n}\n")
	c.configure(fmt.Sprintf(`
		import partner acme %[1]s/acme order.paid order.refunded {
			filter not test equals true
		}
		import partner mega %[1]s/mega *
		import subscriptions.d/*.caddyfile
		import nothing.d/*.caddyfile`, to.url()))
	c.write("Caddyfile", `(partner) {
	subscription {args[0]} {args[1]} {
		topics {args[2:]}
		sign standard {env.PARTNER_SECRET}
		allow_ips 127.0.0.1
		header X-Partner {args[0]}
		{block}
	}
}

`+c.file("Caddyfile"))
	c.start()
	for _, p := range []struct{ typ, body, matched string }{
		{"order.paid", `{"n":1,"test":false}`, "acme mega erp"},
		{"order.paid", `{"n":2,"test":true}`, "mega"},
		{"order.made", `{"n":1}`, "mega erp"},
	} {
		if got := strings.Join(c.accept(p.typ, p.body).Matched, " "); got != p.matched {
			t.Errorf("%s %s: %q; want %q", p.typ, p.body, got, p.matched)
		}
	}
	for _, a := range to.want(6) {
		if who := a.header.Get("X-Partner"); a.path != "/"+a.subscription() || who != "" && who != a.subscription() {
			t.Errorf("%s got the header of %q at %s", a.subscription(), who, a.path)
		}
	}

	c.write("subscriptions.d/late.caddyfile", "subscription late "+to.url()+"/late {\n\tallow_ips 127.0.0.1\n\tfilter n equal 1\n}\n")
	wantFailure(t, c.reload(), "late.caddyfile:3")
	c.write("subscriptions.d/late.caddyfile", "subscription late "+to.url()+"/late {\n\tallow_ips 127.0.0.1\n\tfilter n equals 1\n}\n")
	if r := c.reload(); r.code != 0 {
		t.Fatalf("reload: %s", r)
	}
	if got := strings.Join(c.accept("a", `{"n":1}`).Matched, " "); got != "mega erp late" {
		t.Errorf("after the reload: %q", got)
	}
	to.want(9)
}
