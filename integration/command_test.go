package integration

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"
)

// printed decodes what a command printed with --json.
func printed[T any](t *testing.T, r result) T {
	t.Helper()
	var v T
	if err := json.Unmarshal([]byte(r.out), &v); err != nil || r.code != 0 {
		t.Fatalf("%s: %v", r, err)
	}
	return v
}

// wantOutput checks that a command succeeds and prints all of these.
func wantOutput(t *testing.T, r result, want ...string) {
	t.Helper()
	for _, w := range want {
		if r.code != 0 || !strings.Contains(r.out, w) {
			t.Errorf("%s; want success, and %q", r, w)
		}
	}
}

// wantFailure checks that a command fails, says so on standard error, and prints no
// result.
func wantFailure(t *testing.T, r result, want string) {
	t.Helper()
	if r.code == 0 || !strings.Contains(unquoted(r.errors), want) {
		t.Errorf("%s; want a failure with %q", r, want)
	}
}

func TestCommandSendsListsAndShows(t *testing.T) {
	t.Parallel()
	well, sick := newReceiver(t), newReceiver(t)
	sick.answer(with(http.StatusInternalServerError))
	c := run(t, subscribed("well", well)+subscribed("sick", sick, "topics order.*", "retry off"))

	sent := printed[receipt](t, c.relay("send", "order.paid", `{"order": 1}`, "--json", "--id", "o-1"))
	c.wantDelivery(sent.ID, "well", stateDelivered, "")
	c.wantDelivery(sent.ID, "sick", stateFailed, anyReason)
	wantOutput(t, c.relay("send", "order.paid", `{"order": 1}`, "--id", "o-1"), sent.ID, "before") // a duplicate
	wantOutput(t, c.relay("send", "invoice.sent", "@"+c.write("invoice.json", `{"invoice": 1}`+"\n")), "evt_", "invoice.sent", "well")
	wantOutput(t, c.caddyWithInput(`[1, 2]`, "relay", "send", "list.made", "-", "--address", c.admin()), "evt_", "list.made")
	wantOutput(t, c.relay("send", "nothing.said"), "evt_")
	bodies := make(map[string]bool)
	for _, a := range well.want(4) {
		bodies[strings.TrimSpace(string(a.body))] = true
	}
	for _, want := range []string{`{"order": 1}`, `{"invoice": 1}`, `[1, 2]`, `null`} {
		if !bodies[want] {
			t.Errorf("%s did not arrive as it was given: %v", want, bodies)
		}
	}

	wantOutput(t, c.relay("list", "events"), sent.ID, "order.paid", "well delivered", "sick failed")
	wantOutput(t, c.relay("list", "deliveries", "--state", "failed"), sent.ID, "sick")
	wantOutput(t, c.relay("list", "subscriptions"), "well", "sick", "active")
	wantOutput(t, c.relay("show", sent.ID), "order.paid", "delivered", "failed", "500", well.address)
	wantOutput(t, c.relay("show", "sick"), "sick", "active")
	if events := printed[list[event]](t, c.relay("list", "events", "--json", "--type", "order.paid")); len(events.Items) != 1 || events.Items[0].ID != sent.ID {
		t.Errorf("listed are %+v", events)
	}
	if one := printed[list[event]](t, c.relay("list", "events", "--json", "--limit", "1")); len(one.Items) != 1 {
		t.Errorf("listed are %+v; want one", one)
	}
	if failed := printed[list[delivery]](t, c.relay("list", "deliveries", "--json", "--state", "failed", "--since", "1h")); len(failed.Items) != 1 {
		t.Errorf("listed are %+v", failed)
	}
	if subs := printed[list[subscription]](t, c.relay("list", "subscriptions", "--json")); len(subs.Items) != 2 {
		t.Errorf("listed are %+v", subs)
	}
	if e := printed[event](t, c.relay("show", sent.ID, "--json")); e.ID != sent.ID || len(e.Deliveries) != 2 {
		t.Errorf("shown is %+v", e)
	}
	if s := printed[subscription](t, c.relay("show", "sick", "--json")); s.Failed != 1 {
		t.Errorf("shown is %+v", s)
	}
	// The configuration names the admin address, too.
	wantOutput(t, c.caddy("relay", "list", "subscriptions", "--config", c.path("Caddyfile")), "well")
}

func TestCommandFailsWhereItDoesNotSucceed(t *testing.T) {
	t.Parallel()
	c := run(t, subscribed("crm", newReceiver(t)))
	for _, bad := range []struct {
		args []string
		want string
	}{
		{[]string{"sent", "order.paid"}, `did you mean "send"`},
		{[]string{"bogus"}, `unknown subcommand "bogus"`},
		{[]string{"send"}, "is missing"},
		{[]string{"send", "order.paid", "{"}, "not JSON"},
		{[]string{"send", "order.paid", "@" + c.path("none")}, "no such file"},
		{[]string{"send", "relay.delivery.failed", "{}"}, "relay."},
		{[]string{"send", "order paid", "{}"}, "type"},
		{[]string{"list"}, "is missing"},
		{[]string{"list", "eggs"}, `"eggs" cannot be listed`},
		{[]string{"list", "deliveries", "--state", "lost"}, `"lost"`},
		{[]string{"list", "events", "--limit", "0"}, "--limit"},
		{[]string{"list", "events", "--since", "yesterday"}, "yesterday"},
		{[]string{"list", "events", "--colour"}, "--colour"},
		{[]string{"show", "evt_38g0g3e5p0000pb9"}, "no such event"},
		{[]string{"show", "crn"}, `did you mean "crm"`},
	} {
		wantFailure(t, c.relay(bad.args...), bad.want)
	}
	if n := len(c.events()); n != 0 {
		t.Errorf("%d events are stored; want none", n)
	}
	wantOutput(t, c.relay(), "demo", "send", "list", "show", "doctor")
}

func TestCommandTellsThatNothingRuns(t *testing.T) {
	t.Parallel()
	c := prepare(t)
	for _, args := range [][]string{
		{"send", "order.paid", "{}"}, {"list", "events"}, {"list", "subscriptions", "--json"}, {"show", "crm"},
	} {
		r := c.relay(args...)
		wantFailure(t, r, c.path("admin.sock"))
		if r.out != "" {
			t.Errorf("%v printed %q although nothing runs", args, r.out)
		}
	}
	doctor := c.relay("doctor")
	if doctor.code == 0 || !strings.Contains(doctor.out, "caddy run") {
		t.Errorf("%s; want it to fail and say how to start", doctor)
	}
}

// finding is one line of the doctor.
type doctorFinding struct {
	Grade  string `json:"grade"`
	Check  string `json:"check"`
	Detail string `json:"detail"`
	Fix    string `json:"fix"`
}

func TestDoctorFindsWhatIsWrong(t *testing.T) {
	t.Parallel()
	needRegions(t)
	gone := newReceiver(t)
	gone.answer(with(http.StatusGone))
	c := run(t, "region eu 127.0.0.2\n"+subscribed("crm", newReceiver(t))+subscribed("left", gone, "topics left.*"))
	healthy := c.relay("doctor", "--config", c.path("Caddyfile"))
	wantOutput(t, healthy, "is valid", "127.0.0.2", "crm", "0 failures")

	id := c.accept("left.here", `1`).ID
	c.wantDelivery(id, "left", stateRetrying, reasonDisabled)
	sick := c.relay("doctor", "--json")
	if sick.code == 0 {
		t.Errorf("%s; want it to fail", sick)
	}
	var findings []doctorFinding
	if err := json.Unmarshal([]byte(sick.out), &findings); err != nil {
		t.Fatalf("%s: %v", sick, err)
	}
	failed := 0
	for _, f := range findings {
		if f.Grade == "FAIL" {
			failed++
			if !strings.Contains(f.Check, "left") || f.Fix == "" {
				t.Errorf("%+v; want a finding about left, with its mend", f)
			}
		}
	}
	if failed != 1 {
		t.Errorf("%d findings failed; want 1: %s", failed, sick)
	}

	broken := c.write("Broken.caddyfile", "{\n\trelay {\n\t\tsubscription crm ftp://crm.example.com/\n\t}\n}\n")
	r := c.caddy("relay", "doctor", "--config", broken, "--adapter", "caddyfile", "--address", c.admin())
	if r.code == 0 || !strings.Contains(r.out, "Broken.caddyfile:3") {
		t.Errorf("%s; want it to fail and name the line", r)
	}
}
