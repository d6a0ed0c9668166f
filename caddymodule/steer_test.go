package caddymodule

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/spf13/cobra"

	"github.com/caddyrelay/caddyrelay/relay"
	"github.com/caddyrelay/caddyrelay/relay/signature"
	"github.com/caddyrelay/caddyrelay/relay/view"
)

// steeredCaddy is a running one whose admin endpoint is a unix socket.
type steeredCaddy struct {
	*running
	socket string
	client *http.Client
}

func startSteered(t *testing.T) *steeredCaddy {
	t.Helper()
	c := startCaddy(t)
	// Short, since the path of a socket has at most about a hundred characters.
	dir, err := os.MkdirTemp("", "relay")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	socket := filepath.Join(dir, "admin")
	// A reload replaces the admin server, and with it the connections that were kept.
	transport := &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", socket)
	}}
	return &steeredCaddy{running: c, socket: socket, client: &http.Client{Transport: transport}}
}

func (c *steeredCaddy) load(subscriptions ...string) {
	c.t.Helper()
	c.running.load(config{admin: c.socket, subscriptions: "[" + strings.Join(subscriptions, ", ") + "]"})
}

// post publishes an event and returns its ID.
func (c *steeredCaddy) post(typ string) string {
	c.t.Helper()
	var answer struct{ ID string }
	c.want(http.StatusAccepted, "POST /relay/events", fmt.Sprintf(`{"type": %q, "data": 1}`, typ), &answer)
	return answer.ID
}

// postLines publishes a batch of envelopes.
func (c *steeredCaddy) postLines(envelopes []string) {
	c.t.Helper()
	request, err := http.NewRequestWithContext(c.t.Context(), http.MethodPost, "http://localhost/relay/events", strings.NewReader(strings.Join(envelopes, "\n")))
	if err != nil {
		c.t.Fatal(err)
	}
	request.Header.Set("Content-Type", "application/x-ndjson")
	if status, body := do(c.t, c.client, request); status != http.StatusAccepted {
		c.t.Fatalf("%d %s", status, body)
	}
}

// ask makes a request of the admin API, "METHOD path". After a reload the admin server of
// the configuration before may still take a connection, and close it unanswered.
func (c *steeredCaddy) ask(request, body string) (int, http.Header, []byte) {
	c.t.Helper()
	for try := 1; ; try++ {
		status, header, answer, err := c.askOnce(request, body)
		if err == nil {
			return status, header, answer
		}
		if try == 3 || !errors.Is(err, io.EOF) {
			c.t.Fatal(err)
		}
	}
}

func (c *steeredCaddy) askOnce(request, body string) (int, http.Header, []byte, error) {
	c.t.Helper()
	method, path, _ := strings.Cut(request, " ")
	r, err := http.NewRequestWithContext(c.t.Context(), method, "http://localhost"+path, strings.NewReader(body))
	if err != nil {
		c.t.Fatal(err)
	}
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	response, err := c.client.Do(r)
	if err != nil {
		return 0, nil, nil, err
	}
	defer func() { _ = response.Body.Close() }()
	answer, err := io.ReadAll(response.Body)
	return response.StatusCode, response.Header, answer, err
}

// want makes a request that must be answered with the status, and decodes the answer.
func (c *steeredCaddy) want(status int, request, body string, into any) http.Header {
	c.t.Helper()
	got, header, answer := c.ask(request, body)
	if got != status {
		c.t.Fatalf("%s %s: %d %s; want %d", request, body, got, answer, status)
	}
	if into == nil {
		return header
	}
	if err := json.Unmarshal(answer, into); err != nil {
		c.t.Fatalf("%s: %v in %s", request, err, answer)
	}
	return header
}

// refused makes a request that must be answered with the status and an error of Caddy's
// admin API.
func (c *steeredCaddy) refused(status int, request, body, text string) http.Header {
	c.t.Helper()
	got, header, answer := c.ask(request, body)
	var said struct{ Error string }
	if err := json.Unmarshal(answer, &said); err != nil || got != status || !strings.Contains(said.Error, text) {
		c.t.Errorf("%s %s: %d %s; want %d and an error with %q", request, body, got, answer, status, text)
	}
	return header
}

// state waits for the only delivery of an event to be in a state, "state" or
// "state (reason)".
func (c *steeredCaddy) state(id, want string) view.Delivery {
	c.t.Helper()
	var e view.Event
	eventually(c.t, func() bool {
		e = view.Event{}
		c.want(http.StatusOK, "GET /relay/events/"+id, "", &e)
		return len(e.Deliveries) == 1 && stateAndReason(&e.Deliveries[0]) == want
	}, func() string { return fmt.Sprintf("the delivery is not %s: %+v", want, e) })
	return e.Deliveries[0]
}

// job waits for a job to end.
func (c *steeredCaddy) job(id string) job {
	c.t.Helper()
	var j job
	eventually(c.t, func() bool {
		c.want(http.StatusOK, "GET /relay/jobs/"+id, "", &j)
		return j.State != relay.JobRunning
	}, func() string { return fmt.Sprintf("the job does not end: %+v", j) })
	return j
}

// run runs a subcommand of caddy relay.
func (c *steeredCaddy) run(args ...string) (string, error) {
	cmd := &cobra.Command{Use: "relay"}
	relayCommand(cmd)
	var out bytes.Buffer
	cmd.SetOut(&out)
	cmd.SetErr(io.Discard)
	cmd.SetArgs(append(slices.Clone(args), "--address", "unix/"+c.socket))
	err := cmd.Execute()
	return out.String(), err
}

func (c *steeredCaddy) mustRun(args ...string) string {
	c.t.Helper()
	out, err := c.run(args...)
	if err != nil {
		c.t.Fatalf("caddy relay %s: %v", strings.Join(args, " "), err)
	}
	return out
}

// once makes a subscription try only once, so that what fails has failed.
const once = `"retry": {"off": true}, "breaker": {"off": true}`

func TestPauseHoldsAndResumeLetsGo(t *testing.T) {
	r := newReceiver(t)
	c := startSteered(t)
	c.load(r.subscription("crm"))
	var s map[string]any
	c.want(http.StatusOK, "POST /relay/subscriptions/crm/pause", `{"reason": "call first"}`, &s)
	if s["name"] != "crm" || s["state"] != "paused" || s["reason"] != "paused" || s["detail"] != "call first" {
		t.Errorf("paused: %v", s)
	}
	for _, field := range []string{"pending", "in_flight", "failed", "oldest_due", "last_success", "failing_since"} {
		if _, ok := s[field]; !ok {
			t.Errorf("the status has no %s: %v", field, s)
		}
	}
	id := c.post("order.paid")
	if d := c.state(id, "held (paused)"); !d.NextAttempt.IsZero() || d.AttemptCount != 0 {
		t.Errorf("held: %+v", d)
	}
	c.load(r.subscription("crm")) // the pause is not the configuration's
	c.state(id, "held (paused)")
	clear(s)
	c.want(http.StatusOK, "POST /relay/subscriptions/crm/resume", "", &s)
	if s["state"] != "active" || s["reason"] != "" || s["detail"] != nil {
		t.Errorf("resumed: %v", s)
	}
	c.state(id, "delivered")
	c.want(http.StatusOK, "POST /relay/subscriptions/crm/resume", "", nil) // also where nothing is held
	c.want(http.StatusOK, "POST /relay/subscriptions/crm/pause", "", nil)  // a reason is not asked for
}

func TestResumeCannotEndThePauseOfTheConfiguration(t *testing.T) {
	r := newReceiver(t)
	c := startSteered(t)
	c.load(r.subscription("crm", `"paused": true, "paused_reason": "until Monday"`))
	id := c.post("order.paid")
	c.refused(http.StatusConflict, "POST /relay/subscriptions/crm/resume", "", `take the word "paused" out and reload`)
	if _, err := c.run("resume", "crm"); err == nil || !strings.Contains(err.Error(), "the configuration pauses the subscription") {
		t.Errorf("the command says %v", err)
	}
	c.state(id, "held (paused)")
	// There are two flags: that of the API outlasts that of the configuration.
	c.want(http.StatusOK, "POST /relay/subscriptions/crm/pause", "", nil)
	c.load(r.subscription("crm"))
	c.state(id, "held (paused)")
	c.want(http.StatusOK, "POST /relay/subscriptions/crm/resume", "", nil)
	c.state(id, "delivered")
}

func TestResumeEndsWhatA410Began(t *testing.T) {
	r := newReceiver(t)
	r.status.Store(http.StatusGone)
	c := startSteered(t)
	c.load(r.subscription("crm"))
	id := c.post("order.paid")
	c.state(id, "retrying (disabled)")
	next := c.post("order.paid")
	c.state(next, "held (disabled)")
	r.status.Store(http.StatusOK)
	out := c.mustRun("resume", "crm")
	if !strings.Contains(out, "SUBSCRIPTION") || !strings.Contains(out, "crm") || !strings.Contains(out, "active") {
		t.Errorf("resume prints:\n%s", out)
	}
	if d := c.state(id, "delivered"); d.AttemptCount != 2 {
		t.Errorf("%+v", d)
	}
	c.state(next, "delivered")
}

func TestDropGivesUpAndReplayBringsBack(t *testing.T) {
	r := newReceiver(t)
	c := startSteered(t)
	c.load(r.subscription("crm"))
	c.mustRun("pause", "crm", "--reason", "call first")
	var ids []string
	for range 3 {
		ids = append(ids, c.post("order.paid"))
	}
	c.state(ids[0], "held (paused)")
	var s subscriptionStatus
	c.want(http.StatusOK, "POST /relay/subscriptions/crm/drop", "", &s)
	if s.Pending != 0 || s.Failed != 3 || s.State != relay.SubscriptionPaused {
		t.Errorf("dropped: %+v", s)
	}
	for _, id := range ids {
		c.state(id, "failed (dropped)")
	}
	c.mustRun("resume", "crm")

	// One of them.
	var d view.Delivery
	c.want(http.StatusOK, "POST /relay/events/"+ids[0]+"/deliveries/crm/replay", "", &d)
	if d.Event != ids[0] || d.Subscription != "crm" {
		t.Errorf("replayed: %+v", d)
	}
	c.state(ids[0], "delivered")
	out := c.mustRun("replay", ids[1], "crm")
	if !strings.HasPrefix(out, ids[1]+" for crm is ") {
		t.Errorf("replay prints %q", out)
	}
	c.state(ids[1], "delivered")
	// The rest.
	if out := c.mustRun("replay", "--subscription", "crm", "--select", "failed", "--since", "1h"); !strings.Contains(out, ": done, 1 of 3 replayed") {
		t.Errorf("replay prints %q", out)
	}
	c.state(ids[2], "delivered")
	for i, h := range r.want(t, 3) {
		if h.Get("Webhook-Id") != ids[i] || h.Get("Relay-Attempt") != "1" {
			t.Errorf("request %d: %v", i+1, h)
		}
	}
}

func TestReplayOfAFinishedDeliveryNumbersOn(t *testing.T) {
	r := newReceiver(t)
	c := startSteered(t)
	c.load(r.subscription("crm"))
	id := c.post("order.paid")
	c.state(id, "delivered")
	c.want(http.StatusOK, "POST /relay/events/"+id+"/deliveries/crm/replay", "", nil)
	got := r.want(t, 2)
	if got[1].Get("Webhook-Id") != id || got[1].Get("Relay-Attempt") != "2" {
		t.Errorf("the second request: %v", got[1])
	}
	if d := c.state(id, "delivered"); len(d.Attempts) != 2 {
		t.Errorf("%+v", d)
	}
}

func TestReplayOfManyIsAJob(t *testing.T) {
	r := newReceiver(t)
	r.status.Store(http.StatusInternalServerError)
	c := startSteered(t)
	c.load(r.subscription("crm", once))
	var last string
	for range 20 {
		last = c.post("order.paid")
	}
	c.state(last, "failed (schedule)")
	r.want(t, 20)
	r.status.Store(http.StatusOK)

	var begun struct{ Job string }
	header := c.want(http.StatusAccepted, "POST /relay/replay", `{"subscription": "crm", "select": "failed", "since": "1h", "rate": 1000}`, &begun)
	if header.Get("Location") != "/relay/jobs/"+begun.Job || !strings.HasPrefix(begun.Job, "job_") {
		t.Errorf("job %q at %q", begun.Job, header.Get("Location"))
	}
	j := c.job(begun.Job)
	if j.ID != begun.Job || j.Subscription != "crm" || j.Select != relay.SelectFailed || j.State != relay.JobDone ||
		j.Total != 20 || j.Done != 20 || j.Replayed != 20 || j.Started.IsZero() || j.Ended.IsZero() || j.Error != "" {
		t.Errorf("%+v", j)
	}
	r.want(t, 40)

	// One that is slow, and cancelled.
	c.want(http.StatusAccepted, "POST /relay/replay", `{"subscription": "crm", "select": "all", "rate": 1}`, &begun)
	eventually(t, func() bool {
		c.want(http.StatusOK, "GET /relay/jobs/"+begun.Job, "", &j)
		return j.Total == 20 && j.Done > 0
	}, func() string { return fmt.Sprintf("no progress: %+v", j) })
	if j.State != relay.JobRunning || j.Done > 5 || !j.Ended.IsZero() {
		t.Errorf("while it runs: %+v", j)
	}
	for range 2 { // again: nothing changes
		c.want(http.StatusOK, "DELETE /relay/jobs/"+begun.Job, "", &j)
		if j.State != relay.JobCancelled || j.Replayed > 5 || j.Ended.IsZero() {
			t.Errorf("cancelled: %+v", j)
		}
	}

	// A window of time that holds nothing.
	c.want(http.StatusAccepted, "POST /relay/replay", `{"subscription": "crm", "select": "all", "until": "1h"}`, &begun)
	if j := c.job(begun.Job); j.State != relay.JobDone || j.Total != 0 {
		t.Errorf("of the time before: %+v", j)
	}
}

func TestReplayOfMissingDeliversWhatCameEarlier(t *testing.T) {
	first, late := newReceiver(t), newReceiver(t)
	c := startSteered(t)
	c.load(first.subscription("first"))
	id := c.post("order.paid")
	c.post("user.created")
	first.want(t, 2)
	c.load(first.subscription("first"), late.subscription("late", `"topics": ["order.*"]`))
	c.refused(http.StatusNotFound, "POST /relay/events/"+id+"/deliveries/late/replay", "", "replay those that are missing")

	out := c.mustRun("replay", "--subscription", "late", "--select", "missing", "--json")
	var j job
	if err := json.Unmarshal([]byte(out), &j); err != nil || j.State != relay.JobDone || j.Replayed != 1 {
		t.Errorf("replay prints %s (%v)", out, err)
	}
	if got := late.want(t, 1); got[0].Get("Webhook-Id") != id || got[0].Get("Relay-Subscription") != "late" {
		t.Errorf("got %v", got)
	}
	if out := c.mustRun("replay", "--subscription", "late", "--select", "missing"); !strings.Contains(out, "done, 0 of 0 replayed") {
		t.Errorf("a second time: %q", out)
	}
}

func TestReplayCanBeLeftAlone(t *testing.T) {
	r := newReceiver(t)
	c := startSteered(t)
	c.load(r.subscription("crm"))
	c.state(c.post("order.paid"), "delivered")
	id := strings.TrimSpace(c.mustRun("replay", "--subscription", "crm", "--select", "all", "--detach"))
	if j := c.job(id); j.State != relay.JobDone || j.Replayed != 1 {
		t.Errorf("%+v", j)
	}
	r.want(t, 2)
}

func TestTestEventArrives(t *testing.T) {
	r, other := newReceiver(t), newReceiver(t)
	c := startSteered(t)
	c.load(r.subscription("crm", `"topics": ["order.*"]`), other.subscription("other"))
	var s subscriptionStatus
	header := c.want(http.StatusOK, "POST /relay/subscriptions/crm/test", "", &s)
	if s.Name != "crm" || s.State != relay.SubscriptionActive {
		t.Errorf("%+v", s)
	}
	id, ok := strings.CutPrefix(header.Get("Location"), "/relay/events/")
	if !ok {
		t.Fatalf("Location %q", header.Get("Location"))
	}
	c.state(id, "delivered")
	if got := r.want(t, 1); got[0].Get("Relay-Event") != "relay.test" || got[0].Get("Webhook-Id") != id {
		t.Errorf("got %v", got)
	}
	if n := len(other.headers()); n != 0 {
		t.Errorf("another subscription got %d", n)
	}
}

// TestSteeringRefusesWhatItCannotDo goes through the statuses of what is wrong.
func TestSteeringRefusesWhatItCannotDo(t *testing.T) {
	r := newReceiver(t)
	c := startSteered(t)
	c.load(r.subscription("crm"))
	c.mustRun("pause", "crm")
	id := c.post("order.paid")
	for _, q := range []struct {
		status              int
		request, body, text string
	}{
		{404, "POST /relay/subscriptions/mrc/pause", "", `there is no subscription named "mrc"`},
		{404, "POST /relay/subscriptions/mrc/resume", "", `there is no subscription named "mrc"`},
		{404, "POST /relay/subscriptions/mrc/drop", "", `there is no subscription named "mrc"`},
		{404, "POST /relay/subscriptions/mrc/test", "", `there is no subscription named "mrc"`},
		{404, "POST /relay/subscriptions/crm/stop", "", "there is no /relay/subscriptions/crm/stop"},
		{405, "POST /relay/subscriptions/crm", "", "takes GET, HEAD, not POST"},
		{404, "POST /relay/events/evt_none/deliveries/crm/replay", "", "evt_none"},
		{404, "POST /relay/events/" + id + "/deliveries/mrc/replay", "", "has no delivery for the subscription"},
		{404, "POST /relay/replay", `{"subscription": "mrc", "select": "all"}`, `there is no subscription named "mrc"`},
		{404, "GET /relay/jobs/job_none", "", "no such job"},
		{404, "DELETE /relay/jobs/job_none", "", "no such job"},

		{405, "GET /relay/subscriptions/crm/pause", "", "takes POST, not GET"},
		{405, "DELETE /relay/subscriptions/crm/resume", "", "takes POST, not DELETE"},
		{405, "PUT /relay/subscriptions/crm/drop", "", "takes POST, not PUT"},
		{405, "GET /relay/subscriptions/crm/test", "", "takes POST, not GET"},
		{405, "GET /relay/replay", "", "takes POST, not GET"},
		{405, "GET /relay/events/" + id + "/deliveries/crm/replay", "", "takes POST, not GET"},
		{405, "POST /relay/jobs/job_none", "", "takes GET, HEAD, DELETE, not POST"},

		{409, "POST /relay/events/" + id + "/deliveries/crm/replay", "", "the delivery is not finished"},

		{400, "POST /relay/subscriptions/crm/pause", "reason", "the body is not the JSON that this route takes"},
		{400, "POST /relay/subscriptions/crm/pause", `{"reason": 1}`, "the body is not the JSON that this route takes"},
		{400, "POST /relay/replay", "", `"" selects nothing; there are failed, all and missing`},
		{400, "POST /relay/replay", `{"subscription": "crm"}`, `"" selects nothing`},
		{400, "POST /relay/replay", `{"subscription": "crm", "select": "some"}`, `"some" selects nothing`},
		{400, "POST /relay/replay", `{"subscription": "crm", "select": "all", "since": "yesterday"}`, `since="yesterday" is neither a time`},
		{400, "POST /relay/replay", `{"subscription": "crm", "select": "all", "until": "-1h"}`, `until="-1h" is neither a time`},
		{400, "POST /relay/replay", `{"subscription": "crm", "select": "all", "rate": -1}`, "rate -1 is not possible"},
		{400, "POST /relay/replay", `["crm"]`, "the body is not the JSON that this route takes"},
		// A window that is not understood would replay too much.
		{400, "POST /relay/replay", `{"subscription": "crm", "select": "all", "after": "1h"}`, `unknown field "after"`},
		{400, "POST /relay/replay", `{"subscription": "crm", "select": "all"} {}`, "the body is not the JSON that this route takes"},

		{413, "POST /relay/subscriptions/crm/pause", `{"reason": "` + strings.Repeat("x", maxBody) + `"}`, "more than 65536 bytes"},
	} {
		header := c.refused(q.status, q.request, q.body, q.text)
		allowed, _, _ := strings.Cut(strings.TrimPrefix(q.text, "takes "), ", not ")
		if q.status != 405 {
			allowed = ""
		}
		if got := header.Get("Allow"); got != allowed {
			t.Errorf("%s: Allow is %q, want %q", q.request, got, allowed)
		}
	}
	if d := c.state(id, "held (paused)"); d.AttemptCount != 0 {
		t.Errorf("what was refused did something: %+v", d)
	}
}

// A slash that is escaped is a part of a name: what is asked of "crm/eu" is not done to "crm".
func TestEscapedSlashIsAPartOfAName(t *testing.T) {
	r := newReceiver(t)
	c := startSteered(t)
	c.load(r.subscription("crm", `"paused": true`))
	id := c.post("order.paid")
	for _, request := range []string{
		"POST /relay/subscriptions/crm%2Feu/drop", "POST /relay/subscriptions/crm%2Feu/resume",
		"DELETE /relay/events/" + id + "%2Fdata",
	} {
		if status, _, body := c.ask(request, ""); status != http.StatusNotFound {
			t.Errorf("%s: %d %s", request, status, body)
		}
	}
	for _, args := range [][]string{{"drop", "crm/eu", "--yes"}, {"pause", "crm/eu"}} {
		if out, err := c.run(args...); err == nil {
			t.Errorf("%v: %s", args, out)
		}
	}
	if got, err := c.engine().Status(t.Context()); err != nil || got[0].Pending != 1 {
		t.Errorf("%+v, %v; want one pending still", got, err)
	}
}

func TestSteeringCommandsSayWhatIsWrong(t *testing.T) {
	r := newReceiver(t)
	c := startSteered(t)
	c.load(r.subscription("crm"))
	for _, q := range []struct {
		args []string
		want string
	}{
		{[]string{"pause"}, `something is missing behind "pause"; write: relay pause <subscription>`},
		{[]string{"pause", "mrc"}, `there is no subscription named "mrc"`},
		{[]string{"resume", "mrc"}, `there is no subscription named "mrc"`},
		{[]string{"drop", "mrc", "--yes"}, `there is no subscription named "mrc"`},
		{[]string{"replay"}, "say what to replay"},
		{[]string{"replay", "evt_none"}, "say what to replay"},
		{[]string{"replay", "--subscription", "crm"}, "say what to replay"},
		{[]string{"replay", "evt_none", "crm"}, "evt_none"},
		{[]string{"replay", "--subscription", "mrc", "--select", "all"}, `there is no subscription named "mrc"`},
		{[]string{"replay", "--subscription", "crm", "--select", "some"}, `"some" selects nothing`},
		{[]string{"replay", "--subscription", "crm", "--select", "all", "--since", "then"}, `since="then" is neither a time`},
		{[]string{"paus", "crm"}, `unknown subcommand "paus"`},
	} {
		if out, err := c.run(q.args...); err == nil || !strings.Contains(err.Error(), q.want) {
			t.Errorf("caddy relay %s: %v, %q; want an error with %q", strings.Join(q.args, " "), err, out, q.want)
		}
	}
}

func TestSteeringCommandsPrintJSON(t *testing.T) {
	r := newReceiver(t)
	c := startSteered(t)
	c.load(r.subscription("crm"))
	id := c.post("order.paid")
	c.state(id, "delivered")
	for _, q := range []struct {
		args  []string
		field string
		want  any
	}{
		{[]string{"pause", "crm", "--reason", "x"}, "detail", "x"},
		{[]string{"resume", "crm"}, "state", "active"},
		{[]string{"drop", "crm", "--yes"}, "pending", 0.0},
		{[]string{"replay", id, "crm"}, "event", id},
		{[]string{"replay", "--subscription", "crm", "--select", "failed"}, "state", "done"},
	} {
		var got map[string]any
		out := c.mustRun(append(q.args, "--json")...)
		if err := json.Unmarshal([]byte(out), &got); err != nil || got[q.field] != q.want {
			t.Errorf("caddy relay %s: %s (%v); want %s %v", strings.Join(q.args, " "), out, err, q.field, q.want)
		}
	}
}

func TestSecretCommandMakesSecrets(t *testing.T) {
	c := &steeredCaddy{running: &running{t: t}}
	seen := make(map[string]bool)
	for range 3 {
		secret := strings.TrimSuffix(c.mustRun("secret"), "\n")
		if _, err := signature.ParseStandardSecret(secret); err != nil || !strings.HasPrefix(secret, "whsec_") {
			t.Errorf("%q: %v", secret, err)
		}
		seen[secret] = true
	}
	var asJSON struct{ Secret string }
	if err := json.Unmarshal([]byte(c.mustRun("secret", "--json")), &asJSON); err != nil || asJSON.Secret == "" {
		t.Errorf("as JSON: %+v, %v", asJSON, err)
	}
	seen[asJSON.Secret] = true
	if len(seen) != 4 {
		t.Errorf("secrets repeat: %v", seen)
	}
}

// TestOrderShowsWhatADeliveryWaitsFor: the field waiting_for leads to the head of the key.
func TestOrderShowsWhatADeliveryWaitsFor(t *testing.T) {
	r := newReceiver(t)
	r.status.Store(http.StatusInternalServerError)
	c := startSteered(t)
	c.load(r.subscription("crm", `"order_by": "{event.data.customer}", "retry": {"delays": ["1h"]}`))
	post := func(customer int) string {
		var answer struct{ ID string }
		c.want(http.StatusAccepted, "POST /relay/events", fmt.Sprintf(`{"type": "order.paid", "data": {"customer": %d}}`, customer), &answer)
		return answer.ID
	}
	head := post(1)
	c.state(head, "retrying")
	second := post(1)
	if d := c.state(second, "held (order)"); d.WaitingFor != head || d.AttemptCount != 0 {
		t.Errorf("%+v", d)
	}
	for _, query := range []string{"state=held", "subscription=crm&state=held"} {
		var list page[view.Delivery]
		c.want(http.StatusOK, "GET /relay/deliveries?"+query, "", &list)
		if len(list.Items) != 1 || list.Items[0].Event != second || list.Items[0].WaitingFor != head {
			t.Errorf("%s: %+v", query, list)
		}
	}
	for _, args := range [][]string{{"list", "deliveries", "--subscription", "crm"}, {"show", second}} {
		if out := c.mustRun(args...); !strings.Contains(out, "after "+head) {
			t.Errorf("%v prints:\n%s", args, out)
		}
	}
	r.status.Store(http.StatusOK)
	other := post(2)
	if d := c.state(other, "delivered"); d.WaitingFor != "" {
		t.Errorf("%+v", d)
	}
	if _, _, answer := c.ask("GET /relay/events/"+other, ""); bytes.Contains(answer, []byte("waiting_for")) {
		t.Errorf("waiting_for without a wait: %s", answer)
	}
	c.mustRun("resume", "crm")
	c.state(second, "delivered")
	var order []string
	for _, h := range r.want(t, 4) {
		order = append(order, h.Get("Webhook-Id"))
	}
	if want := []string{head, other, head, second}; !slices.Equal(order, want) {
		t.Errorf("order %v; want %v", order, want)
	}
}

func TestOpenBreakerShowsInStatus(t *testing.T) {
	r := newReceiver(t)
	r.status.Store(http.StatusInternalServerError)
	c := startSteered(t)
	c.load(r.subscription("crm", `"breaker": {"failure_ratio": 1, "least_attempts": 1, "window": "1m", "pause": "1h"}`))
	tried := c.post("order.paid")
	c.state(tried, "retrying (breaker)")
	waits := c.post("order.paid")
	d := c.state(waits, "held (breaker)")
	if until := time.Until(d.NextAttempt.Time); until < 50*time.Minute || until > time.Hour {
		t.Errorf("the next attempt is in %s", until)
	}
	out := c.mustRun("list", "subscriptions")
	if !strings.Contains(out, "active") || !strings.Contains(out, "breaker: too many attempts failed") {
		t.Errorf("list subscriptions:\n%s", out)
	}
	if n := len(r.headers()); n != 1 {
		t.Errorf("%d attempts", n)
	}
}
