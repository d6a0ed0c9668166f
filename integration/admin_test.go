package integration

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
)

// object is JSON whose members are looked at by name.
type object map[string]any

// wantMembers checks that an object has all these members, and of others only those in
// optional.
func wantMembers(t *testing.T, what string, o object, members string, optional ...string) {
	t.Helper()
	want := strings.Fields(members)
	for _, name := range want {
		if _, ok := o[name]; !ok {
			t.Errorf("%s has no %q: %v", what, name, o)
		}
	}
	for name := range maps.Keys(o) {
		if !slices.Contains(want, name) && !slices.Contains(optional, name) {
			t.Errorf("%s has a member %q that is not documented: %v", what, name, o)
		}
	}
}

func inner(t *testing.T, o object, name string) []object {
	t.Helper()
	list, ok := o[name].([]any)
	if !ok {
		t.Fatalf("%q is no list: %v", name, o)
	}
	var all []object
	for _, item := range list {
		m, ok := item.(map[string]any)
		if !ok {
			t.Fatalf("%q holds something else than objects: %v", name, list)
		}
		all = append(all, m)
	}
	return all
}

func TestAdminAPIShowsStatusEventsAndDeliveriesAsDocumented(t *testing.T) {
	t.Parallel()
	needRegions(t)
	well, sick := newReceiver(t), newReceiver(t)
	sick.answer(with(http.StatusInternalServerError))
	c := run(t, "region eu 127.0.0.2\n"+subscribed("well", well)+subscribed("sick", sick, "retry 1h")+
		subscribed("halted", well, `paused "until Monday"`))
	r := c.accepted(c.post(open, `{"type":"order.paid","id":"o-1","source":"/shop","subject":"order/1","time":"2026-11-20T08:15:02Z","data":{"order":1}}`))
	c.wantDelivery(r.ID, "well", stateDelivered, "")
	c.wantDelivery(r.ID, "sick", stateRetrying, "")
	c.wantDelivery(r.ID, "halted", stateHeld, reasonPaused)

	s := decode[object](t, c.get("/relay/status"))
	wantMembers(t, "status", s, "version instances storage regions subscriptions", "warnings")
	for _, region := range inner(t, s, "regions") {
		wantMembers(t, "region", region, "name addresses")
		for _, a := range inner(t, region, "addresses") {
			wantMembers(t, "address", a, "address public up pinned active from until", "error")
			if a["address"] != "127.0.0.2" || a["public"] != "127.0.0.2" || a["up"] != true {
				t.Errorf("%v", a)
			}
		}
	}
	states := make(map[string]string)
	for _, sub := range inner(t, s, "subscriptions") {
		wantMembers(t, "subscription", sub, "name state reason pending in_flight failed oldest_due last_success", "detail", "warning", "failing_since")
		states[sub["name"].(string)] = fmt.Sprintf("%v %v %v", sub["state"], sub["reason"], sub["pending"])
		for _, name := range []string{"oldest_due", "last_success"} {
			if text, ok := sub[name].(string); ok {
				parseTime(t, text)
			} else if sub[name] != nil {
				t.Errorf("%s is %v; want a time or null", name, sub[name])
			}
		}
	}
	if want := map[string]string{"well": "active  0", "sick": "active  1", "halted": "paused paused 1"}; !maps.Equal(states, want) {
		t.Errorf("subscriptions are %v; want %v", states, want)
	}

	one := c.get("/relay/events/" + r.ID)
	e := decode[object](t, one)
	wantMembers(t, "event", e, "id type source subject time accepted content_type size deliveries", "source_id", "extensions")
	for name, want := range map[string]any{
		"id": r.ID, "type": "order.paid", "source": "/shop", "subject": "order/1", "source_id": "o-1",
		"time": "2026-11-20T08:15:02.000Z", "size": 11.0,
	} {
		if e[name] != want {
			t.Errorf("%s is %v; want %v", name, e[name], want)
		}
	}
	const members = "event subscription region state reason next_attempt attempt_count"
	for _, d := range inner(t, e, "deliveries") {
		wantMembers(t, "delivery", d, members+" attempts")
		for _, a := range inner(t, d, "attempts") {
			wantMembers(t, "attempt", a, "number at duration_ms status error error_kind local_address remote_address response_excerpt")
		}
	}
	// Intake shows the same of it.
	if a := c.request(http.MethodGet, "/v1/events/"+r.ID, ""); string(a.body) != string(one.body) {
		t.Errorf("/v1 and /relay show one event as\n%s\n%s", a.body, one.body)
	}
	listed := decode[list[object]](t, c.get("/relay/deliveries"))
	for _, d := range listed.Items {
		wantMembers(t, "listed delivery", d, members)
	}
	if len(listed.Items) != 3 {
		t.Errorf("%d deliveries are listed; want 3", len(listed.Items))
	}
	for _, path := range []string{"/relay/health/live", "/relay/health/ready"} {
		if a := c.get(path); a.status != http.StatusOK {
			t.Errorf("%s: %s", path, a)
		}
	}
}

func TestListsAreNewestFirstAndFiltered(t *testing.T) {
	t.Parallel()
	r := newReceiver(t)
	c := run(t, subscribed("crm", r, "topics order.*")+subscribed("halted", r, "topics order.paid", "paused"))
	var ids []string
	for i := range 7 {
		ids = append(ids, c.accept([]string{"order.paid", "order.sent", "nobody.wants"}[i%3], fmt.Sprint(i)).ID)
	}
	slices.Reverse(ids)
	eventually(t, func() bool { return c.subscription("crm").Pending == 0 }, func() string { return "crm is not delivered" })

	idsOf := func(query string) []string {
		t.Helper()
		values, err := url.ParseQuery(query)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, e := range pages[event](c, "/relay/events", values) {
			got = append(got, e.ID)
		}
		return got
	}
	for query, want := range map[string][]string{
		"":                      ids,
		"limit=2":               ids, // by its cursors
		"type=order.paid":       {ids[0], ids[3], ids[6]},
		"matched=false&limit=1": {ids[1], ids[4]},
		"since=1h":              ids,
		"until=1h":              nil,
		"since=2026-01-01T00:00:00Z&until=2026-01-02T00:00:00Z": nil,
	} {
		if got := idsOf(query); !slices.Equal(got, want) {
			t.Errorf("%q lists %v; want %v", query, got, want)
		}
	}
	for query, want := range map[string]int{
		"limit=1": 8, "subscription=crm": 5, "subscription=crm&limit=2": 5, "state=held": 3, "state=delivered&limit=1": 5,
		"subscription=halted&state=delivered": 0, "subscription=nobody": 0, "state=failed": 0, "until=1h": 0,
	} {
		values, _ := url.ParseQuery(query)
		if got := pages[delivery](c, "/relay/deliveries", values); len(got) != want {
			t.Errorf("%q lists %d deliveries; want %d: %+v", query, len(got), want, got)
		}
	}
}

// Errors of the admin API have the form that Caddy's admin API gives them.
func TestAdminAPIRefusesWhatItDoesNotKnow(t *testing.T) {
	t.Parallel()
	c := run(t, subscribed("crm", newReceiver(t)))
	for path, want := range map[string]int{
		"/relay/events?limit=0":              400,
		"/relay/events?limit=1001":           400,
		"/relay/events?limit=many":           400,
		"/relay/events?cursor=sesame":        400,
		"/relay/events?since=yesterday":      400,
		"/relay/events?colour=red":           400,
		"/relay/deliveries?state=lost":       400,
		"/relay/deliveries?cursor=sesame":    400,
		"/relay/events/evt_38g0g3e5p0000pb9": 404,
		"/relay/events/nonsense":             404,
		"/relay/nonsense":                    404,
	} {
		wantAdminError(t, path, c.get(path), want)
	}
	for request, allow := range map[string]string{
		"DELETE /relay/status": "GET, HEAD", "PUT /relay/events": "GET, HEAD, POST", "GET /relay/replay": "POST",
	} {
		method, path, _ := strings.Cut(request, " ")
		a := c.adminRequest(method, path, "")
		wantAdminError(t, request, a, http.StatusMethodNotAllowed)
		if got := a.header.Get("Allow"); got != allow {
			t.Errorf("%s: Allow is %q, want %q", request, got, allow)
		}
	}
	if a := c.adminRequest(http.MethodPost, "/relay/events", `{"type":"order.paid","data":1}`); a.status != http.StatusAccepted {
		t.Errorf("POST /relay/events: %s", a)
	}
	if a := c.adminRequest(http.MethodPost, "/relay/events", `{"data":1}`); a.status != http.StatusUnprocessableEntity {
		t.Errorf("POST /relay/events without a type: %s", a)
	}
	if n := len(c.events()); n != 1 {
		t.Errorf("%d events are stored; want 1", n)
	}
}

func wantAdminError(t *testing.T, what string, a answer, status int) {
	t.Helper()
	var body struct {
		Error string `json:"error"`
	}
	if err := json.Unmarshal(a.body, &body); a.status != status || err != nil || body.Error == "" {
		t.Errorf("%s: %s; want %d with {\"error\"}", what, a, status)
	}
}
