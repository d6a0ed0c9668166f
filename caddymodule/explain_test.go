package caddymodule

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/caddyrelay/caddyrelay/relay/view"
)

// picky is what the tests' subscriptions ask of an event.
const picky = `"topics": ["order.*"],
	"filter": [{"path": "currency", "operator": "in", "values": ["EUR", "USD"]}],
	"filters": [{"not": {"equals": [{"doc": "test"}, true]}}],
	"expression": "event.data.total > 100"`

func (c *steeredCaddy) postData(typ, data string) string {
	c.t.Helper()
	var answer struct{ ID string }
	c.want(http.StatusAccepted, "POST /relay/events", fmt.Sprintf(`{"type": %q, "data": %s}`, typ, data), &answer)
	return answer.ID
}

func (c *steeredCaddy) explain(id, subscription string) view.Explanation {
	c.t.Helper()
	var x view.Explanation
	c.want(http.StatusOK, "GET /relay/explain?event="+id+"&subscription="+subscription, "", &x)
	return x
}

func TestWhoGetsAnEventAndWhy(t *testing.T) {
	r := newReceiver(t)
	c := startSteered(t)
	c.load(r.subscription("crm", picky), r.subscription("all"))
	wanted := c.postData("order.paid", `{"currency": "EUR", "test": false, "total": 100.5}`)
	other := c.postData("order.paid", `{"currency": "GBP", "test": true}`)
	r.want(t, 3)
	var e view.Event
	c.want(http.StatusOK, "GET /relay/events/"+other, "", &e)
	if len(e.Deliveries) != 1 || e.Deliveries[0].Subscription != "all" {
		t.Errorf("the other event has the deliveries %+v", e.Deliveries)
	}

	x := c.explain(wanted, "crm")
	if !x.Matches || x.Delivery == nil || x.Delivery.Subscription != "crm" || x.Note != "" || len(x.Clauses) != 4 {
		t.Errorf("the wanted one: %+v", x)
	}
	x = c.explain(other, "crm")
	want := []view.Clause{
		{Word: "topics", Text: "order.*", Verdict: true, Found: "order.paid matches order.*"},
		{Word: "filter", Text: "currency in EUR USD", Found: `"GBP"`},
		{Word: "filters", Text: `{"not":{"equals":[{"doc":"test"},true]}}`, Found: "true"},
		{Word: "expression", Text: "event.data.total > 100", Found: `no answer: there is no "total"`},
	}
	if x.Matches || x.Delivery != nil || x.Event != other || x.Type != "order.paid" || x.Subscription != "crm" || !slices.Equal(x.Clauses, want) {
		t.Errorf("the other one: %+v", x)
	}

	out := c.mustRun("show", other, "--why", "crm")
	for _, line := range []string{
		other + "  order.paid  does not match crm", "  yes  topics order.*", "  no   filter currency in EUR USD\n       \"GBP\"",
		`no answer: there is no "total"`, "no delivery",
	} {
		if !strings.Contains(out, line) {
			t.Errorf("show --why lacks %q:\n%s", line, out)
		}
	}
	if out := c.mustRun("show", wanted, "--why", "crm"); !strings.Contains(out, "matches crm") || !strings.Contains(out, "delivery: ") {
		t.Errorf("show --why:\n%s", out)
	}
	if out := c.mustRun("show", other, "--why", "crm", "--json"); !strings.Contains(out, `"verdict": false`) {
		t.Errorf("show --why --json:\n%s", out)
	}
}

func TestExplainTellsWhatAReloadHasChanged(t *testing.T) {
	r := newReceiver(t)
	c := startSteered(t)
	c.load(r.subscription("crm", picky))
	id := c.postData("order.paid", `{"currency": "GBP"}`)
	if out := c.mustRun("show", id); !strings.Contains(out, "no subscription matched; see why with: caddy relay show "+id+" --why <subscription>") {
		t.Errorf("show:\n%s", out)
	}
	c.load(r.subscription("crm", `"topics": ["order.*"]`))
	if x := c.explain(id, "crm"); !x.Matches || x.Delivery != nil || !strings.Contains(x.Note, "would be today") {
		t.Errorf("%+v", x)
	}
	if out := c.mustRun("show", id, "--why", "crm"); !strings.Contains(out, "note: ") {
		t.Errorf("show --why:\n%s", out)
	}
	c.mustRun("replay", "--subscription", "crm", "--select", "missing")
	r.want(t, 1)
}

func TestExplainRefusesWhatItDoesNotKnow(t *testing.T) {
	c := startSteered(t)
	c.load(newReceiver(t).subscription("crm"))
	id := c.post("order.paid")
	c.refused(http.StatusNotFound, "GET /relay/explain?event="+id+"&subscription=crn", "", `no subscription named "crn"`)
	c.refused(http.StatusNotFound, "GET /relay/explain?event=evt_0&subscription=crm", "", "no such event")
	c.refused(http.StatusBadRequest, "GET /relay/explain?event="+id, "", "event and subscription are needed")
	c.refused(http.StatusBadRequest, "GET /relay/explain?subscription=crm", "", "event and subscription are needed")
	c.refused(http.StatusBadRequest, "GET /relay/explain?event="+id+"&subscription=crm&x=1", "", "unknown parameter")
	c.refused(http.StatusMethodNotAllowed, "POST /relay/explain", "", "takes GET")
	if _, err := c.run("show", "crm", "--why", "crm"); err == nil || !strings.Contains(err.Error(), `"crm" is no event`) {
		t.Errorf("--why of a subscription: %v", err)
	}
}
