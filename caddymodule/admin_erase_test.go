package caddymodule

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/caddyrelay/caddyrelay/relay/view"
)

// newEcho is an endpoint that answers with what it got, as many do.
func newEcho(t *testing.T, status int) *httptest.Server {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(status)
		_, _ = io.Copy(w, r.Body)
	}))
	t.Cleanup(s.Close)
	return s
}

func subscriptionTo(name, url string, more ...string) string {
	return fmt.Sprintf(`{"name": %q, "url": %q, "allow_ips": ["127.0.0.1"] %s}`, name, url, strings.Join(append([]string{""}, more...), ", "))
}

// TestErasureLeavesNothingOfTheBody: after DELETE no route and no command shows a byte of the
// data, or of what receivers answered to it.
func TestErasureLeavesNothingOfTheBody(t *testing.T) {
	const private = "jane.doe.4711"
	well, sick := newEcho(t, http.StatusOK), newEcho(t, http.StatusBadRequest)
	c := startSteered(t)
	c.load(
		subscriptionTo("well", well.URL), subscriptionTo("sick", sick.URL, once), subscriptionTo("retrying", sick.URL),
		subscriptionTo("halted", well.URL, `"paused": true`),
	)
	id := c.postData("order.paid", `{"customer": "`+private+`"}`)
	other := c.postData("order.paid", `{"customer": "somebody else"}`)
	states := func(id string) string {
		var e view.Event
		c.want(http.StatusOK, "GET /relay/events/"+id, "", &e)
		var all []string
		for _, d := range e.Deliveries {
			all = append(all, d.Subscription+" "+stateAndReason(&d))
		}
		return strings.Join(all, ", ")
	}
	before := "well delivered, sick failed (schedule), retrying retrying, halted held (paused)"
	for _, id := range []string{id, other} {
		eventually(t, func() bool { return states(id) == before }, func() string { return states(id) })
	}
	reads := []string{
		"/relay/events", "/relay/events?matched=false", "/relay/events/" + id, "/relay/events/" + id + "/data", "/relay/deliveries", "/relay/status",
		"/relay/explain?event=" + id + "&subscription=well", "/relay/subscriptions/sick",
	}
	commands := [][]string{{"show", id}, {"show", id, "--json"}, {"list", "events", "--json"}, {"list", "deliveries", "--json"}}
	shown := func() (found []string) {
		for _, path := range reads {
			if _, _, answer := c.ask("GET "+path, ""); strings.Contains(string(answer), private) {
				found = append(found, path)
			}
		}
		for _, args := range commands {
			if strings.Contains(c.mustRun(args...), private) {
				found = append(found, strings.Join(args, " "))
			}
		}
		return found
	}
	if n := len(shown()); n < 3 {
		t.Fatalf("before, only %d reads show the data: this test proves nothing", n)
	}

	var erased view.Event
	c.want(http.StatusOK, "DELETE /relay/events/"+id, "", &erased)
	if erased.ID != id || erased.Erased.IsZero() {
		t.Errorf("the answer is %+v", erased)
	}
	after := "well delivered, sick failed (schedule), retrying failed (erased), halted failed (erased)"
	if got := states(id); got != after {
		t.Errorf("deliveries are %s; want %s", got, after)
	}
	if got := shown(); got != nil {
		t.Errorf("still shown by %v", got)
	}
	c.refused(http.StatusGone, "GET /relay/events/"+id+"/data", "", "was erased at")
	c.refused(http.StatusConflict, "POST /relay/events/"+id+"/deliveries/sick/replay", "", "erased")
	if got := states(other); got != before {
		t.Errorf("deliveries of another event are %s; want %s", got, before)
	}

	// Again, and after a reload and resume: nothing comes back.
	c.want(http.StatusOK, "DELETE /relay/events/"+id, "", nil)
	c.load(subscriptionTo("well", well.URL), subscriptionTo("sick", sick.URL, once), subscriptionTo("retrying", sick.URL), subscriptionTo("halted", well.URL))
	c.mustRun("resume", "retrying")
	if got := states(id); got != after {
		t.Errorf("later, deliveries are %s; want %s", got, after)
	}
	if got := shown(); got != nil {
		t.Errorf("shown again by %v", got)
	}
	c.refused(http.StatusNotFound, "DELETE /relay/events/evt_38g0g3e5p0000pb9", "", "no such event")
	c.refused(http.StatusMethodNotAllowed, "DELETE /relay/events/"+id+"/data", "", "takes GET, HEAD, not DELETE")
	if out := c.mustRun("show", id); !strings.Contains(out, "data erased") {
		t.Errorf("show does not say that it was erased: %s", out)
	}
}
