package integration

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"
)

// answer is what a client was told, or the error that it had instead.
type answer struct {
	status int
	header http.Header
	body   []byte
	err    error
}

func (a answer) String() string { return fmt.Sprintf("%d %s (%v)", a.status, a.body, a.err) }

// receipt is the body of a 202.
type receipt struct {
	ID        string   `json:"id"`
	Type      string   `json:"type"`
	Matched   []string `json:"matched"`
	Duplicate bool     `json:"duplicate"`
}

// clientOf posts to intake. Requests are bounded: none waits for ever.
var clientOf = &http.Client{Timeout: patience}

func (c *instance) url(path string) string {
	host := c.bind
	if host == "0.0.0.0" {
		host = "127.0.0.1"
	}
	return fmt.Sprintf("http://%s:%d%s", host, c.port, path)
}

// post sends JSON; header are names and values in turn.
func (c *instance) post(path, body string, header ...string) answer {
	return c.request(http.MethodPost, path, body, append([]string{"Content-Type", "application/json"}, header...)...)
}

func (c *instance) request(method, path, body string, header ...string) answer {
	req, err := http.NewRequest(method, c.url(path), strings.NewReader(body))
	if err != nil {
		return answer{err: err}
	}
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	if host := req.Header.Get("Host"); host != "" {
		req.Host = host
		req.Header.Del("Host")
	}
	a := do(clientOf, req)
	c.conform(req, body, a)
	return a
}

func do(client *http.Client, req *http.Request) answer {
	resp, err := client.Do(req)
	if err != nil {
		return answer{err: err}
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	return answer{resp.StatusCode, resp.Header, body, err}
}

// accept sends an event of this type, which must be taken. At a reload Caddy closes the
// connections of the old listener, also those that wait in its queue: after one, accept
// does what the documentation asks of senders, and repeats with an Idempotency-Key.
func (c *instance) accept(typ, body string, header ...string) receipt {
	c.t.Helper()
	post := func() answer { return c.post("/v1/events/"+typ, body, header...) }
	if c.reloads == 0 {
		return c.accepted(post())
	}
	if !slices.Contains(header, "Idempotency-Key") {
		header = append(slices.Clone(header), "Idempotency-Key", rand.Text())
	}
	a := post()
	if a.err != nil {
		a = post()
	}
	return c.accepted(a)
}

// accepted reads a 202.
func (c *instance) accepted(a answer) receipt {
	c.t.Helper()
	var r receipt
	if a.err != nil || a.status != http.StatusAccepted {
		c.t.Fatalf("posting: %s; want 202", a)
	}
	if err := json.Unmarshal(a.body, &r); err != nil {
		c.t.Fatalf("posting: %s: %v", a, err)
	}
	if want := "/v1/events/" + r.ID; a.header.Get("Location") != want || !strings.HasPrefix(r.ID, "evt_") {
		c.t.Errorf("Location is %q for the id %q", a.header.Get("Location"), r.ID)
	}
	return r
}

// What the relay says of itself, with the names of the documentation.
type (
	event struct {
		ID          string     `json:"id"`
		Type        string     `json:"type"`
		Source      string     `json:"source"`
		SourceID    string     `json:"source_id"`
		Accepted    string     `json:"accepted"`
		ContentType string     `json:"content_type"`
		Size        int        `json:"size"`
		Deliveries  []delivery `json:"deliveries"`
	}
	delivery struct {
		Event        string    `json:"event"`
		Subscription string    `json:"subscription"`
		Region       string    `json:"region"`
		State        string    `json:"state"`
		Reason       string    `json:"reason"`
		NextAttempt  *string   `json:"next_attempt"`
		AttemptCount int       `json:"attempt_count"`
		Attempts     []attempt `json:"attempts"`
	}
	attempt struct {
		Number          int    `json:"number"`
		At              string `json:"at"`
		DurationMS      int64  `json:"duration_ms"`
		Status          int    `json:"status"`
		Error           string `json:"error"`
		ErrorKind       string `json:"error_kind"`
		LocalAddress    string `json:"local_address"`
		RemoteAddress   string `json:"remote_address"`
		ResponseExcerpt string `json:"response_excerpt"`
	}
	list[T any] struct {
		Items []T    `json:"items"`
		Next  string `json:"next"`
	}
	status struct {
		Version string `json:"version"`
		Regions []struct {
			Name      string `json:"name"`
			Addresses []struct {
				Address string `json:"address"`
				Up      bool   `json:"up"`
				Active  bool   `json:"active"`
			} `json:"addresses"`
		} `json:"regions"`
		Subscriptions []subscription `json:"subscriptions"`
		Instances     []struct {
			ID      string   `json:"id"`
			Regions []string `json:"regions"`
			Shards  []int    `json:"shards"`
			Seen    string   `json:"seen"`
		} `json:"instances"`
	}
	subscription struct {
		Name        string  `json:"name"`
		State       string  `json:"state"`
		Reason      string  `json:"reason"`
		Pending     int     `json:"pending"`
		InFlight    int     `json:"in_flight"`
		Failed      int     `json:"failed"`
		OldestDue   *string `json:"oldest_due"`
		LastSuccess *string `json:"last_success"`
	}
)

// Names of states and reasons.
const (
	statePending   = "pending"
	stateRetrying  = "retrying"
	stateHeld      = "held"
	stateDelivered = "delivered"
	stateFailed    = "failed"

	reasonPaused     = "paused"
	reasonDisabled   = "disabled"
	reasonGone       = "gone"
	reasonRetryAfter = "retry_after"
	reasonEgress     = "egress"
)

// event returns what GET /v1/events/{id} says.
func (c *instance) event(id string) event {
	c.t.Helper()
	a := c.request(http.MethodGet, "/v1/events/"+id, "")
	var e event
	if a.status != http.StatusOK || json.Unmarshal(a.body, &e) != nil {
		c.t.Fatalf("GET /v1/events/%s: %s", id, a)
	}
	return e
}

// delivery returns the delivery of an event for a subscription.
func (c *instance) delivery(id, subscription string) delivery {
	c.t.Helper()
	e := c.event(id)
	for _, d := range e.Deliveries {
		if d.Subscription == subscription {
			return d
		}
	}
	c.t.Fatalf("%s has no delivery for %q: %+v", id, subscription, e)
	return delivery{}
}

// wantDelivery waits until the delivery is in this state for this reason. That nothing is
// shown as finished without its attempts is for a test of its own.
func (c *instance) wantDelivery(id, subscription, state, reason string) delivery {
	c.t.Helper()
	var d delivery
	eventually(c.t, func() bool {
		d = c.delivery(id, subscription)
		return d.State == state && (d.Reason == reason || reason == anyReason) && !lacksAttempt(d)
	}, func() string { return fmt.Sprintf("want %s %q: %+v", state, reason, d) })
	return d
}

// lacksAttempt reports whether a finished delivery is shown without what finished it.
func lacksAttempt(d delivery) bool {
	return (d.State == stateDelivered || d.State == stateFailed) && (d.AttemptCount == 0 || len(d.Attempts) == 0)
}

// anyReason stands for those that the documentation gives no names.
const anyReason = "any"

// get asks the admin API.
func (c *instance) get(path string) answer {
	a := c.adminRequest(http.MethodGet, path, "")
	if a.err != nil && c.reloads > 0 { // as in accept
		a = c.adminRequest(http.MethodGet, path, "")
	}
	return a
}

// adminRequest asks the admin API; header are names and values in turn.
func (c *instance) adminRequest(method, path, body string, header ...string) answer {
	req, err := http.NewRequest(method, "http://caddy"+path, bytes.NewReader([]byte(body)))
	if err != nil {
		return answer{err: err}
	}
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	transport := &http.Transport{
		DisableKeepAlives: true, // the socket is another one after a restart
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", c.path("admin.sock"))
		},
	}
	return do(&http.Client{Transport: transport, Timeout: patience}, req)
}

func decode[T any](t testing.TB, a answer) T {
	t.Helper()
	var v T
	if a.err != nil || a.status != http.StatusOK {
		t.Fatalf("want 200: %s", a)
	}
	if err := json.Unmarshal(a.body, &v); err != nil {
		t.Fatalf("%v: %s", err, a)
	}
	return v
}

func (c *instance) status() status {
	c.t.Helper()
	return decode[status](c.t, c.get("/relay/status"))
}

func (c *instance) subscription(name string) subscription {
	c.t.Helper()
	s := c.status()
	for _, sub := range s.Subscriptions {
		if sub.Name == name {
			return sub
		}
	}
	c.t.Fatalf("there is no subscription %q: %+v", name, s)
	return subscription{}
}

// pages reads a list to its end.
func pages[T any](c *instance, path string, query url.Values) []T {
	c.t.Helper()
	var all []T
	for range 10_000 {
		page := decode[list[T]](c.t, c.get(path+"?"+query.Encode()))
		all = append(all, page.Items...)
		if page.Next == "" {
			return all
		}
		query.Set("cursor", page.Next)
	}
	c.t.Fatalf("%s has no end", path)
	return nil
}

func (c *instance) deliveries() []delivery {
	c.t.Helper()
	return pages[delivery](c, "/relay/deliveries", url.Values{"limit": {"1000"}})
}

func (c *instance) events() []event {
	c.t.Helper()
	return pages[event](c, "/relay/events", url.Values{"limit": {"1000"}})
}

// drained waits until nothing is pending.
func (c *instance) drained() {
	c.t.Helper()
	var s status
	eventually(c.t, func() bool {
		s = c.status()
		for _, sub := range s.Subscriptions {
			if sub.Pending != 0 {
				return false
			}
		}
		return true
	}, func() string { return fmt.Sprintf("deliveries are pending: %+v", s.Subscriptions) })
}

// parseTime reads a time as the relay writes them.
func parseTime(t testing.TB, text string) time.Time {
	t.Helper()
	at, err := time.Parse("2006-01-02T15:04:05.000Z", text)
	if err != nil {
		t.Errorf("%q is no time of RFC 3339 in UTC with milliseconds", text)
	}
	return at
}
