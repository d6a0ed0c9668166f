package caddymodule

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestEgressListNeedsTheOption(t *testing.T) {
	err := validate(mustAdapt(t, "http://:4665 {\n\tbind 127.0.0.1\n\trelay_egress\n}\n"))
	if err == nil || !strings.Contains(err.Error(), "relay_egress needs the relay itself; write the global option") {
		t.Errorf("got %v", err)
	}
}

func TestEgressJSONIsJudged(t *testing.T) {
	for input, want := range map[string]string{
		`{"notice": -1}`: "notice: -1ns is not longer than zero",
	} {
		if err := validate(app(input)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s\ngot:  %v\nwant: %s", input, err, want)
		}
	}
	err := validate(`{"admin": {"disabled": true}, "apps": {"relay": {}, "http": {"servers": {"a": {"routes": [{"handle": [{"handler": "relay_egress", "url": "ftp://x/"}]}]}}}}}`)
	if err == nil || !strings.Contains(err.Error(), `relay_egress: url: "ftp://x/" is not the URL of a folder`) {
		t.Error(err)
	}
}

// egressTimes are those of the tests' planned changes, far enough not to happen in them.
var (
	inFortyDays = time.Now().Add(40 * 24 * time.Hour).UTC().Truncate(time.Second)
	inTenDays   = time.Now().Add(10 * 24 * time.Hour).UTC().Truncate(time.Second)
)

// egressRegions is the JSON of region eu, on loopback addresses, with these lines of egress, and
// of region pods, which is unpinned.
func egressRegions(eu ...string) string {
	return `[{"name": "eu", "egress": [{"address": "127.0.0.1"}` + strings.Join(append([]string{""}, eu...), ", ") +
		`]}, {"name": "pods", "egress": [{"address": "auto", "as": "203.0.113.0/28"}]}]`
}

// site is the JSON of an HTTP app with relay_egress before an answer of its own.
func site(port int) string {
	return fmt.Sprintf(`, "http": {"servers": {"a": {"listen": ["127.0.0.1:%d"], "routes": [{"handle": [
		{"handler": "relay_egress", "url": "https://hooks.example.com/"}, {"handler": "static_response", "body": "next"}]}]}}}`, port)
}

// TestEgressIsShownAndTold: the list for receivers, the admin API, the command and the
// status say the same.
func TestEgressIsShownAndTold(t *testing.T) {
	r := newReceiver(t)
	c := startSteered(t)
	port := freePort(t)
	load := func(eu ...string) {
		t.Helper()
		c.running.load(config{
			admin: c.socket, regions: egressRegions(eu...), apps: site(port),
			subscriptions: "[" +
				r.subscription("crm", `"region": "eu", "topics": ["order.*"], "contacts": ["mailto:crm@example.com", "mailto:ops@example.com"]`) + ", " +
				r.subscription("erp", `"region": "eu", "topics": ["order.*"], "contacts": ["mailto:ops@example.com"]`) + ", " +
				r.subscription("shop", `"region": "eu", "topics": ["order.*"]`) + ", " +
				r.subscription("log", `"region": "pods", "topics": ["relay.egress.*"]`) + "]",
		})
	}
	load(fmt.Sprintf(`{"address": "127.0.0.2", "as": "192.0.2.11", "from": %q}`, inFortyDays.Format(time.RFC3339)), `{"address": "127.0.0.3"}`)

	get := func(path string) (int, string) {
		t.Helper()
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, fmt.Sprintf("http://127.0.0.1:%d%s", port, path), nil)
		if err != nil {
			t.Fatal(err)
		}
		return do(t, http.DefaultClient, req)
	}
	var list struct {
		Version string
		Regions map[string]struct {
			Active    []string
			Scheduled []struct{ Prefix, From string }
			Retiring  []any
			Unpinned  []string
		}
	}
	status, body := get("/any/where/egress.json")
	if err := json.Unmarshal([]byte(body), &list); err != nil || status != http.StatusOK {
		t.Fatalf("%d %s", status, body)
	}
	eu := list.Regions["eu"]
	if !slices.Equal(eu.Active, []string{"127.0.0.1/32", "127.0.0.3/32"}) || len(eu.Scheduled) != 1 || eu.Scheduled[0].Prefix != "192.0.2.11/32" ||
		eu.Scheduled[0].From != inFortyDays.Format(time.RFC3339) || eu.Retiring == nil || !slices.Equal(list.Regions["pods"].Unpinned, []string{"203.0.113.0/28"}) {
		t.Errorf("%s", body)
	}
	if status, body := get("/egress"); status != http.StatusOK || body != "next" {
		t.Errorf("what is not the list's: %d %s", status, body)
	}
	if status, body := get("/egress.txt?region=nope"); status != http.StatusNotFound || !strings.Contains(body, "there are eu, pods") {
		t.Errorf("%d %s", status, body)
	}

	// Without a warning, since it is announced in time; then one that is not, and one gone.
	var s struct{ Warnings []string }
	c.want(http.StatusOK, "GET /relay/status", "", &s)
	egressWarnings := func() (all []string) {
		for _, text := range s.Warnings {
			if strings.HasPrefix(text, `region "eu"`) {
				all = append(all, text)
			}
		}
		return all
	}
	if w := egressWarnings(); len(w) != 0 || len(s.Warnings) == 0 {
		t.Errorf("%q", s.Warnings)
	}
	load(fmt.Sprintf(`{"address": "127.0.0.2", "as": "192.0.2.11", "from": %q}`, inTenDays.Format(time.RFC3339)))
	c.want(http.StatusOK, "GET /relay/status", "", &s)
	if w := egressWarnings(); len(w) != 2 || !strings.Contains(w[0], "192.0.2.11 comes into use on "+inTenDays.Format(time.RFC3339)) || !strings.Contains(w[1], "127.0.0.3 vanished") {
		t.Errorf("%q", w)
	}
	c.wantLog(`"logger":"relay","msg":"region \"eu\": the address 127.0.0.3 vanished`)
	c.wantLog(`"logger":"relay","msg":"operational event","topic":"relay.egress.withdrawn","region":"eu"`)

	var answer egressAnswer
	c.want(http.StatusOK, "GET /relay/egress", "", &answer)
	if len(answer.Planned) != 1 || !answer.Planned[0].ShortNotice || !slices.Equal(answer.Planned[0].Added, []string{"192.0.2.11/32"}) ||
		!answer.Planned[0].At.Equal(inTenDays) || answer.NoticeSeconds != 30*24*3600 || answer.URL != "https://hooks.example.com/" || len(answer.Warnings) != 2 {
		t.Errorf("%+v", answer)
	}
	var kinds []string
	for _, h := range answer.History {
		kinds = append(kinds, string(h.Kind)+" "+h.Region)
	}
	slices.Sort(kinds)
	if want := []string{"changed eu", "scheduled eu", "scheduled eu", "withdrawn eu"}; !slices.Equal(kinds, want) {
		t.Errorf("%q", kinds)
	}
	region := answer.Regions[0]
	if region.Name != "eu" || len(region.Contacts) != 2 || region.Contacts[0].Contact != "mailto:crm@example.com" ||
		!slices.Equal(region.Contacts[1].Subscriptions, []string{"crm", "erp"}) || !slices.Equal(region.WithoutContact, []string{"shop"}) ||
		!strings.Contains(region.Message.Body, "https://hooks.example.com/egress.json?region=eu") {
		t.Errorf("%+v", region)
	}

	out := c.mustRun("egress")
	for _, want := range []string{
		"eu      127.0.0.1/32    active     -                     -      \n",
		"eu      192.0.2.11/32   scheduled  " + inTenDays.Format(time.RFC3339) + "  -      \n",
		"pods    203.0.113.0/28  active     -                     -      unpinned: the network keeps it, not the relay\n",
		"planned for " + inTenDays.Format(time.RFC3339) + ", region eu: +192.0.2.11/32; announced ",
		`warning: region "eu": the address 127.0.0.3 vanished`,
		"Region eu: to be told\n  mailto:crm@example.com  (crm)\n  mailto:ops@example.com  (crm, erp)\n  nobody for shop; add to the subscription: contact mailto:<address>\n",
		"  Subject: The addresses of our webhooks change on " + inTenDays.Format(time.DateOnly) + "\n\n  Hello,\n\n  our webhooks to you",
		"Region pods: to be told\n  nobody for log;",
	} {
		if !strings.Contains(out, want) {
			t.Errorf("caddy relay egress lacks %q:\n%s", want, out)
		}
	}
	if out := c.mustRun("egress", "--region", "pods"); strings.Contains(out, "192.0.2.11") || strings.Contains(out, "Region eu") {
		t.Error(out)
	}
	var again egressAnswer
	if err := json.Unmarshal([]byte(c.mustRun("egress", "--json")), &again); err != nil || again.List.Version != answer.List.Version {
		t.Errorf("%v %+v", err, again)
	}
	if _, err := c.run("egress", "--region", "pod"); err == nil || !strings.Contains(err.Error(), `did you mean "pods"`) {
		t.Error(err)
	}
}

// TestEgressChangesReachHandlersAndSubscriptions: one change, told in all ways.
func TestEgressChangesReachHandlersAndSubscriptions(t *testing.T) {
	r, ops := newReceiver(t), newReceiver(t)
	c := startCaddy(t)
	load := func(eu ...string) {
		t.Helper()
		c.load(config{
			regions: egressRegions(eu...),
			subscriptions: "[" + r.subscription("crm", `"region": "eu", "topics": ["order.*"]`) + ", " +
				ops.subscription("ops", `"region": "eu", "topics": ["relay.egress.*"]`) + "]",
			apps: `, "events": {"subscriptions": [{"events": ["relay.egress.scheduled"], "handlers": [{"handler": "relay_test"}]}]}`,
		})
	}
	load()
	c.publish("order.paid")
	if v := r.want(t, 1)[0].Values("Relay-Egress-Change"); v != nil {
		t.Errorf("nothing is planned, and a delivery carries %q", v)
	}
	load(fmt.Sprintf(`{"address": "127.0.0.2", "from": %q}`, inFortyDays.Format(time.RFC3339)))
	e := nextEvent(t)
	if e.Name() != "relay.egress.scheduled" || e.Data["region"] != "eu" || fmt.Sprint(e.Data["added"]) != "[127.0.0.2/32]" || fmt.Sprint(e.Data["removed"]) != "[]" || e.Data["planned"] != true {
		t.Errorf("%s %v", e.Name(), e.Data)
	}
	if at, ok := e.Data["at"].(time.Time); !ok || !at.Equal(inFortyDays) {
		t.Errorf("at %v", e.Data["at"])
	}
	got := ops.want(t, 1)[0]
	if got.Get("Relay-Event") != "relay.egress.scheduled" || got.Get("Relay-Egress-Change") != inFortyDays.Format(time.RFC3339) {
		t.Errorf("%v", got)
	}
	c.publish("order.paid")
	if v := r.want(t, 2)[1].Get("Relay-Egress-Change"); v != inFortyDays.Format(time.RFC3339) {
		t.Errorf("a delivery carries %q", v)
	}
	c.wantLog(`"msg":"operational event","topic":"relay.egress.scheduled","region":"eu"`)
}
