package caddymodule

import (
	"bufio"
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddyrelay/caddyrelay/relay"
	"github.com/caddyrelay/caddyrelay/relay/view"
)

// streamed is one server-sent event.
type streamed struct{ name, id, data string }

// stream opens one and returns its events; the channel is closed when the stream ends.
func (c *steeredCaddy) stream(query, last string) (events chan streamed, leave func()) {
	c.t.Helper()
	ctx, leave := context.WithCancel(c.t.Context())
	c.t.Cleanup(leave)
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://localhost/relay/stream"+query, nil)
	if err != nil {
		c.t.Fatal(err)
	}
	if last != "" {
		r.Header.Set("Last-Event-ID", last)
	}
	response, err := c.client.Do(r)
	if err != nil {
		c.t.Fatal(err)
	}
	if got := response.Header.Get("Content-Type"); response.StatusCode != http.StatusOK || got != "text/event-stream" {
		c.t.Fatalf("%d %s", response.StatusCode, got)
	}
	events = make(chan streamed, 10000)
	go func() {
		defer close(events)
		defer response.Body.Close()
		var e streamed
		for lines := bufio.NewScanner(response.Body); lines.Scan(); {
			field, value, _ := strings.Cut(lines.Text(), ": ")
			switch field {
			case "event":
				e.name = value
			case "id":
				e.id = value
			case "data":
				e.data = value
			case "":
				if e != (streamed{}) {
					events <- e
				}
				e = streamed{}
			}
		}
	}()
	if first := next(c.t, events); first.data != "" || first.id == "" {
		c.t.Fatalf("the stream begins with %+v", first)
	}
	return events, leave
}

func next(t *testing.T, events chan streamed) streamed {
	t.Helper()
	select {
	case e, ok := <-events:
		if !ok {
			t.Fatal("the stream has ended")
		}
		return e
	case <-time.After(patience):
		t.Fatal("nothing is streamed")
	}
	panic("unreachable")
}

// settlement returns the next one of a stream.
func settlement(t *testing.T, events chan streamed) view.Settlement {
	t.Helper()
	e := next(t, events)
	var s view.Settlement
	if err := json.Unmarshal([]byte(e.data), &s); err != nil || e.id == "" || e.name != "" {
		t.Fatalf("%+v: %v", e, err)
	}
	return s
}

func wantEnd(t *testing.T, events chan streamed) {
	t.Helper()
	for deadline := time.After(patience); ; {
		select {
		case _, ok := <-events:
			if !ok {
				return
			}
		case <-deadline:
			t.Fatal("the stream does not end")
		}
	}
}

func TestStreamTellsWhatBecomesOfDeliveries(t *testing.T) {
	well, sick := newReceiver(t), newReceiver(t)
	sick.status.Store(http.StatusNotFound)
	c := startSteered(t)
	c.load(well.subscription("well"), sick.subscription("sick", once))
	all, leave := c.stream("", "")
	failed, _ := c.stream("?state=failed&subscription=sick", "")

	id := c.postData("order.paid", `{"card": "4111"}`)
	got := map[string]view.Settlement{}
	for range 2 {
		s := settlement(t, all)
		got[s.Subscription] = s
	}
	for name, want := range map[string]struct {
		state  relay.State
		status int
	}{"well": {relay.StateDelivered, 200}, "sick": {relay.StateFailed, 404}} {
		s := got[name]
		if s.Event != id || s.Type != "order.paid" || s.State != want.state || s.AttemptCount != 1 || s.Attempt == nil || s.Attempt.Status != want.status || s.At.IsZero() {
			t.Errorf("%+v, attempt %+v", s, s.Attempt)
		}
	}
	if s := settlement(t, failed); s.Subscription != "sick" || s.State != relay.StateFailed {
		t.Errorf("%+v", s)
	}
	leave()
	wantEnd(t, all)
	// The follower has left: what nobody follows is not kept for long.
	c.postData("order.paid", `1`)
	if s := settlement(t, failed); s.Subscription != "sick" {
		t.Errorf("%+v", s)
	}
}

// A reload and a stop end streams at once; who comes back is told what happened meanwhile.
func TestStreamsEndWithTheConfigurationAndGoOn(t *testing.T) {
	r := newReceiver(t)
	c := startSteered(t)
	c.load(r.subscription("crm"))
	events, _ := c.stream("", "")
	first := c.post("order.1")
	e := next(t, events)
	if !strings.Contains(e.data, first) {
		t.Errorf("%+v", e)
	}
	began := time.Now()
	c.load(r.subscription("crm"), r.subscription("other"))
	wantEnd(t, events)
	second := c.post("order.2")
	r.want(t, 3)
	events, _ = c.stream("?subscription=crm", e.id)
	if s := settlement(t, events); s.Event != second {
		t.Errorf("%+v; want what happened during the reload", s)
	}
	// Somebody who was away for too long is told so.
	late, _ := c.stream("", "long.ago")
	if got := next(t, late); got.name != "missed" || got.data != `{"missed":null}` {
		t.Errorf("%+v", got)
	}
	c.running.load(config{admin: c.socket, subscriptions: "[]"})
	wantEnd(t, events)
	wantEnd(t, late)
	// Caddy waits 10 s for requests to its admin API that go on, at each of the two reloads.
	if took := time.Since(began); took > 18*time.Second {
		t.Errorf("reloads waited %s for streams", took)
	}
}

func TestStreamRefusesWhatItDoesNotKnow(t *testing.T) {
	c := startSteered(t)
	c.load(newReceiver(t).subscription("crm"))
	c.refused(http.StatusNotFound, "GET /relay/stream?subscription=crn", "", `did you mean "crm"`)
	c.refused(http.StatusBadRequest, "GET /relay/stream?state=lost", "", `"lost" is none of`)
	c.refused(http.StatusBadRequest, "GET /relay/stream?since=1h", "", `unknown parameter "since"`)
	c.refused(http.StatusMethodNotAllowed, "POST /relay/stream", "", "takes GET, HEAD, not POST")
}

// A reader that takes nothing keeps no delivery waiting.
func TestAReaderThatTakesNothingHoldsNothingUp(t *testing.T) {
	var taken atomic.Int64
	r := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { taken.Add(1) }))
	t.Cleanup(r.Close)
	c := startSteered(t)
	c.load(subscriptionTo("crm", r.URL, `"max_in_flight": 100`))
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://localhost/relay/stream", nil)
	if err != nil {
		t.Fatal(err)
	}
	response, err := c.client.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close() // nothing of it is read
	const n = 3000              // more than sockets hold
	batch := make([]string, 500)
	for i := range batch {
		batch[i] = `{"type": "order.paid", "data": 1}`
	}
	for range n / len(batch) {
		c.postLines(batch)
	}
	eventually(t, func() bool { return taken.Load() == n }, func() string { return "deliveries wait for a reader" })
}

func TestTailPrintsLinesAndGoesOnOverReloads(t *testing.T) {
	well, sick := newReceiver(t), newReceiver(t)
	sick.status.Store(http.StatusBadGateway)
	c := startSteered(t)
	load := func() {
		c.load(well.subscription("well"), sick.subscription("sick", `"retry": {"delays": ["1h"], "jitter": 0}`))
	}
	load()
	type result struct {
		out string
		err error
	}
	run := func(args ...string) chan result {
		done := make(chan result, 1)
		go func() {
			out, err := c.run(append([]string{"tail"}, args...)...)
			done <- result{out, err}
		}()
		eventually(t, func() bool { return c.engine().Followed() > 0 }, func() string { return "nobody follows" })
		return done
	}
	lines := run("--limit", "4")
	first := c.post("order.paid")
	sick.want(t, 1)
	well.want(t, 1)
	load()
	second := c.post("order.sent")
	got := <-lines
	if got.err != nil {
		t.Fatal(got.err)
	}
	all := strings.Split(strings.TrimSpace(got.out), "\n")
	slices.SortFunc(all[:2], func(a, b string) int { return strings.Compare(strings.Fields(a)[2], strings.Fields(b)[2]) })
	for i, want := range [][]string{
		{"order.paid", "sick", "502 in ", "retry in 1h0m0s  from 127.0.0.1:", first},
		{"order.paid", "well", "200 in ", "delivered  from 127.0.0.1:", first},
	} {
		for _, part := range want {
			if !strings.Contains(all[i], part) {
				t.Errorf("%q lacks %q", all[i], part)
			}
		}
	}
	if len(all) != 4 || !strings.Contains(all[2], second) || !strings.Contains(all[3], second) {
		t.Errorf("after the reload: %s", got.out)
	}

	lines = run("--limit", "1", "--json", "--state", "delivered", "--subscription", "well")
	c.post("order.paid")
	got = <-lines
	var s view.Settlement
	if err := json.Unmarshal([]byte(got.out), &s); err != nil || got.err != nil || s.Subscription != "well" {
		t.Errorf("%q: %v, %v", got.out, err, got.err)
	}
	if _, err := c.run("tail", "--subscription", "wel"); err == nil || !strings.Contains(err.Error(), `did you mean "well"`) {
		t.Errorf("%v", err)
	}
}
