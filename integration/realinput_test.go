package integration

import (
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// fixture returns a body of testdata.
func fixture(t *testing.T, name string) string {
	t.Helper()
	body, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	return string(body)
}

// needRegions skips where only 127.0.0.1 of the loopback network can be used.
func needRegions(t *testing.T) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.2:0")
	if err != nil {
		t.Skip("needs 127.0.0.2 and 127.0.0.3 as addresses of this machine: ", err)
	}
	_ = l.Close()
}

// seed is a relay that takes webhooks of Phraseanet and Contentful, with one receiver in
// each of two regions, and one that wants neither.
type seed struct {
	*instance
	press, site, orders     *receiver
	pressSecret, siteSecret string
}

func newSeed(t *testing.T) *seed {
	needRegions(t)
	s := &seed{
		press: newReceiver(t), site: newReceiver(t), orders: newReceiver(t),
		pressSecret: newSecret(), siteSecret: newSecret(),
	}
	c := prepare(t, withIntake("accept phraseanet\naccept contentful"), withEnv("SITE_SECRET="+s.siteSecret))
	t.Cleanup(func() { c.kill() })
	secretFile := c.write("press-secret", s.pressSecret+"\n")
	c.configure(fmt.Sprintf(`
		region eu 127.0.0.2
		region us 127.0.0.3
		defaults {
			allow_ips 127.0.0.1
		}
		subscription press %s/hooks/in?from=dam new_feed_entry {
			region eu
			sign standard {file.%s}
		}
		subscription site %s/ Entry.* {
			region us
			sign standard {env.SITE_SECRET}
		}
		subscription orders %s/ order.* Asset.* {
			region us
			sign standard {env.SITE_SECRET}
		}`, s.press.url(), secretFile, s.site.url(), s.orders.url()))
	c.start()
	s.instance = c
	return s
}

// wantDelivered checks one delivery in all three ledgers.
func (s *seed) wantDelivered(a *arrival, r receipt, body, contentType, typ, name, secret, region, source string) {
	s.t.Helper()
	if string(a.body) != body {
		s.t.Errorf("the body arrived changed:\n%s\nwant\n%s", a.body, body)
	}
	if err := verify(secret, a); err != nil {
		s.t.Errorf("the signature: %v", err)
	}
	if err := verify(newSecret(), a); err == nil {
		s.t.Error("the control: another secret verifies the signature, too")
	}
	if a.peer != source {
		s.t.Errorf("the delivery came from %s; want %s", a.peer, source)
	}
	for field, want := range map[string]string{
		"Content-Type": contentType, "webhook-id": r.ID, "Relay-Event": typ, "Relay-Subscription": name, "Relay-Attempt": "1",
	} {
		if got := a.header.Get(field); got != want {
			s.t.Errorf("%s is %q; want %q", field, got, want)
		}
	}
	if agent := a.header.Get("User-Agent"); !strings.HasPrefix(agent, "caddy-relay/") {
		s.t.Errorf("User-Agent is %q", agent)
	}
	if strings.Contains(a.id(), ".") {
		s.t.Errorf("the id %q has a dot, which separates the parts that are signed", a.id())
	}
	e := s.event(r.ID)
	if e.Type != typ || e.ContentType != contentType || e.Size != len(body) || len(e.Deliveries) != 1 {
		s.t.Errorf("GET /v1/events/%s: %+v", r.ID, e)
	}
	d := s.wantDelivery(r.ID, name, stateDelivered, "")
	if d.Region != region || d.AttemptCount != 1 || len(d.Attempts) != 1 || d.NextAttempt != nil {
		s.t.Fatalf("%+v", d)
	}
	at := d.Attempts[0]
	local, _, _ := net.SplitHostPort(at.LocalAddress)
	if at.Number != 1 || at.Status != http.StatusOK || local != source || at.Error != "" || at.ErrorKind != "" {
		s.t.Errorf("%+v; want one from %s", at, source)
	}
	if number(a, "webhook-timestamp") != int(parseTime(s.t, at.At).Unix()) {
		s.t.Errorf("webhook-timestamp is %s; the attempt was made at %s", a.header.Get("webhook-timestamp"), at.At)
	}
}

func TestWebhooksOfPhraseanetAndContentfulArriveSignedFromTheirRegions(t *testing.T) {
	t.Parallel()
	s := newSeed(t)

	documented := fixture(t, "phraseanet.documented.json")
	sent := fixture(t, "phraseanet.sent.json")
	published := fixture(t, "contentful.entry.publish.json")
	const (
		oldType        = "application/vnd.phraseanet.event+json" // until 2024
		contentfulType = "application/vnd.contentful.management.v1+json"
	)
	contentful := func(attempt string) []string {
		return []string{
			"Content-Type", contentfulType,
			"User-Agent", "", // it sends none
			"X-Contentful-Topic", "ContentManagement.Entry.publish",
			"X-Contentful-Webhook-Name", "relay",
			"X-Contentful-Idempotency-Key", strings.Repeat("5d0c", 16),
			"X-Contentful-Event-Datetime", "2026-11-20T16:40:08.214Z",
			"X-Contentful-Webhook-Request-Attempt", attempt,
			"X-Contentful-CRN", "crn:contentful:::content:spaces/q3v8z1n6t0ke/environments/master/entries/7bQxN2uJ5eYgA9oKt4WiMs",
		}
	}

	first := s.accepted(s.post("/v1/events", documented, "User-Agent", "Phraseanet/4.1.22 (Caviar)"))
	second := s.accepted(s.post("/v1/events", sent, "Content-Type", oldType))
	third := s.accepted(s.request(http.MethodPost, "/v1/events", published, contentful("1")...))
	for _, r := range []receipt{first, second, third} {
		if r.Duplicate || len(r.Matched) != 1 {
			t.Errorf("%+v; want one subscription, and no duplicate", r)
		}
	}

	// Both senders send again what they think was lost.
	for _, again := range []struct {
		a    answer
		want string
	}{
		{s.post("/v1/events", sent, "Content-Type", oldType), second.ID},
		{s.request(http.MethodPost, "/v1/events", published, contentful("2")...), third.ID},
	} {
		r := s.accepted(again.a)
		if !r.Duplicate || r.ID != again.want || again.a.header.Get("Idempotency-Replayed") != "true" {
			t.Errorf("a repeat is answered %s %v; want the duplicate %s", again.a, again.a.header, again.want)
		}
	}

	s.drained()
	press, site := s.press.wantExactly(2), s.site.wantExactly(1)
	if press[0].id() == second.ID {
		press[0], press[1] = press[1], press[0]
	}
	s.wantDelivered(&press[0], first, documented, "application/json", "new_feed_entry", "press", s.pressSecret, "eu", "127.0.0.2")
	s.wantDelivered(&press[1], second, sent, oldType, "new_feed_entry", "press", s.pressSecret, "eu", "127.0.0.2")
	s.wantDelivered(&site[0], third, published, contentfulType, "ContentManagement.Entry.publish", "site", s.siteSecret, "us", "127.0.0.3")
	if press[0].path != "/hooks/in" || press[0].method != http.MethodPost {
		t.Errorf("%s %s; want POST /hooks/in", press[0].method, press[0].path)
	}
	s.orders.wantSilence("the subscription that does not match")
}

// What applications of the house send: types in the path or in an envelope.
func TestBytesArriveAsTheyWerePosted(t *testing.T) {
	t.Parallel()
	r := newReceiver(t)
	secret := newSecret()
	c := run(t, fmt.Sprintf(`
		subscription all %s {
			allow_ips 127.0.0.1
			sign standard {env.SECRET}
		}`, r.url()), withEnv("SECRET="+secret))

	bodies := []string{
		`{"b":1, "a" : 2.0,"e":1e3,"u":"\u00e9\/é"}` + "\n",
		"null", "[]", `"text"`, " 17 ", "-0",
		`{"big":12345678901234567890123456789,"deep":` + strings.Repeat("[", 60) + strings.Repeat("]", 60) + `}`,
		`"` + strings.Repeat("x", 500<<10) + `"`,
	}
	want := make(map[string]string)
	for _, body := range bodies {
		want[c.accept("order.paid", body).ID] = body
	}
	trace := "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
	enveloped := c.accepted(c.post("/v1/events",
		`{"type":"order.paid","id":"o-1","source":"/shop","time":"2026-11-20T16:40:07Z","data": {"x" : [1,2 ] } }`, "traceparent", trace))
	want[enveloped.ID] = `{"x" : [1,2 ] }`
	narrowed := c.accepted(c.post("/v1/events/order.paid", `{}`, "Relay-Subscriptions", "all"))
	want[narrowed.ID] = `{}`

	for _, a := range r.want(len(want)) {
		if string(a.body) != want[a.id()] {
			t.Errorf("%s arrived as %.200q; want %.200q", a.id(), a.body, want[a.id()])
		}
		if err := verify(secret, &a); err != nil {
			t.Error(err)
		}
		if a.id() == enveloped.ID && a.header.Get("traceparent") != trace {
			t.Errorf("traceparent is %q; want %q", a.header.Get("traceparent"), trace)
		}
	}
	c.drained()
	r.wantExactly(len(want))
	e := c.event(enveloped.ID)
	if e.SourceID != "o-1" || e.Source != "/shop" {
		t.Errorf("the event is shown as %+v", e)
	}
	if at := parseTime(t, e.Accepted); time.Since(at) > 2*patience {
		t.Errorf("it was accepted at %s", at)
	}
	for id, body := range want {
		if a := c.get("/relay/events/" + id + "/data"); string(a.body) != body {
			t.Errorf("/relay/events/%s/data is %.200q; want %.200q", id, a.body, body)
		}
	}
}
