package integration

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

const reasonWaiting = "waiting"

// contentCDN is a delivery API as that of Contentful: it shows revisions of entries.
type contentCDN struct {
	*receiver
	mu        sync.Mutex
	revisions map[string]int
	throttled int // so many are answered 429
}

const cdaToken = "cda-open-sesame"

func newContentCDN(t testing.TB) *contentCDN {
	t.Helper()
	c := &contentCDN{receiver: newReceiver(t), revisions: make(map[string]int)}
	c.answer(func(w http.ResponseWriter, a *arrival) {
		c.mu.Lock()
		defer c.mu.Unlock()
		id, ok := strings.CutPrefix(a.path, "/spaces/s1/environments/master/entries/")
		revision, shown := c.revisions[id]
		switch {
		case c.throttled > 0:
			c.throttled--
			w.Header().Set("Retry-After", "1")
			w.WriteHeader(http.StatusTooManyRequests)
		case a.header.Get("Authorization") != "Bearer "+cdaToken:
			w.WriteHeader(http.StatusUnauthorized)
		case !ok || !shown:
			w.WriteHeader(http.StatusNotFound)
		default:
			fmt.Fprintf(w, `{"sys":{"id":%q,"type":"Entry","revision":%d,"space":{"sys":{"id":"s1"}}},"fields":{}}`, id, revision)
		}
	})
	return c
}

// show makes the CDN show a revision; 0: nothing.
func (c *contentCDN) show(id string, revision int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.revisions[id] = revision
	if revision == 0 {
		delete(c.revisions, id)
	}
}

func (c *contentCDN) throttle(n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.throttled = n
}

// publishHook is the body of a webhook about an entry, as Contentful sends it.
func publishHook(id string, revision int) string {
	return fmt.Sprintf(`{"metadata":{"tags":[]},"sys":{"type":"Entry","id":%q,"space":{"sys":{"type":"Link","linkType":"Space","id":"s1"}},`+
		`"environment":{"sys":{"id":"master","type":"Link","linkType":"Environment"}},"contentType":{"sys":{"id":"page"}},`+
		`"revision":%d,"publishedVersion":%d,"createdAt":"2026-06-22T18:40:00.000Z","updatedAt":"2026-06-22T18:42:22.587Z"},`+
		`"fields":{"title":{"en-US":"Hello"}}}`, id, revision, 2*revision+5)
}

func unpublishHook(id string) string {
	return fmt.Sprintf(`{"sys":{"type":"DeletedEntry","id":%q,"space":{"sys":{"type":"Link","linkType":"Space","id":"s1"}},`+
		`"environment":{"sys":{"id":"master","type":"Link","linkType":"Environment"}},"contentType":{"sys":{"id":"page"}},`+
		`"revision":1,"deletedAt":"2026-06-22T18:42:22.587Z"}}`, id)
}

// documentedWait returns the subscription of an example in the documentation, with the
// places that a test has instead of the documented ones.
func documentedWait(t *testing.T, name string, cdn, site *receiver) string {
	t.Helper()
	page, err := os.ReadFile("../docs/deliveries.md")
	if err != nil {
		t.Fatal(err)
	}
	_, block, ok := strings.Cut(string(page), "\t\tsubscription "+name+" ")
	lines, _, closed := strings.Cut(block, "\n\t\t}\n")
	if !ok || !closed {
		t.Fatalf("deliveries.md has no subscription %s", name)
	}
	lines = "subscription " + name + " " + lines + "\nallow_ips 127.0.0.0/8\n" + retriedSoon + "\n}\n"
	for documented, here := range map[string]string{
		"https://cdn.contentful.com": cdn.url(), "https://ci.example.com/build": site.url(),
	} {
		if !strings.Contains(lines, documented) {
			t.Fatalf("the example of %s does not have %s", name, documented)
		}
		lines = strings.ReplaceAll(lines, documented, here)
	}
	return lines
}

// The two documented examples, end to end: a publication is delivered when the delivery API
// shows its revision, what is unpublished when it does not show it any more. Over a kill.
func TestDocumentedWaitsForContentful(t *testing.T) {
	t.Parallel()
	cdn, site := newContentCDN(t), newReceiver(t)
	c := run(t, "region eu 127.0.0.9\n"+documentedWait(t, "site-published", cdn.receiver, site)+documentedWait(t, "site-unpublished", cdn.receiver, site),
		withIntake("accept contentful"), withEnv("CDA_TOKEN="+cdaToken, "SITE_SECRET="+newSecret()))
	hook := func(topic, body string) string {
		t.Helper()
		return c.accepted(c.request(http.MethodPost, "/v1/events", body, "Content-Type", "application/vnd.contentful.management.v1+json",
			"X-Contentful-Topic", "ContentManagement.Entry."+topic)).ID
	}
	cdn.show("e1", 34)
	cdn.show("e2", 1)
	cdn.show("e3", 7)
	late, gone := hook("publish", publishHook("e1", 35)), hook("unpublish", unpublishHook("e2"))
	c.wantDelivery(late, "site-published", stateHeld, reasonWaiting)
	if d := c.wantDelivery(gone, "site-unpublished", stateHeld, reasonWaiting); d.AttemptCount != 0 || d.NextAttempt == nil {
		t.Errorf("%+v", d)
	}
	// What is there already does not wait behind them.
	there := hook("publish", publishHook("e3", 7))
	c.wantDelivery(there, "site-published", stateDelivered, "")
	if got := site.wantExactly(1); got[0].id() != there || got[0].header.Get("Relay-Waited") != "ready" || got[0].header.Get("Authorization") != "" {
		t.Errorf("%+v", got[0])
	}

	c.kill()
	cdn.show("e1", 35)
	cdn.show("e2", 0)
	c.start()
	for id, subscription := range map[string]string{late: "site-published", gone: "site-unpublished"} {
		c.wantDelivery(id, subscription, stateDelivered, "")
	}
	for _, a := range site.wantExactly(3) {
		if a.header.Get("Relay-Waited") != "ready" || a.header.Get("webhook-signature") == "" {
			t.Errorf("%+v", a)
		}
	}
	for _, a := range cdn.got() {
		if a.peer != "127.0.0.9" || a.method != http.MethodGet || len(a.body) != 0 || a.header.Get("webhook-id") != "" {
			t.Errorf("a poll from %s: %s %s, %v", a.peer, a.method, a.path, a.header)
		}
	}
	shown := string(c.get("/config/").body) + string(c.get("/relay/status").body) + string(c.get("/relay/events/"+late).body) +
		c.log() + c.relay("show", "site-published").out
	if strings.Contains(shown, cdaToken) {
		t.Error("the token can be read somewhere")
	}
	if out := c.relay("show", "site-published").out; !strings.Contains(out, "secret_header Authorization ***{env.CDA_TOKEN}") {
		t.Errorf("show says\n%s", out)
	}
	m := c.metrics()
	if m[`caddy_relay_waits_total{result="ready",subscription="site-published"}`] != 1 ||
		m[`caddy_relay_polls_total{outcome="ready",region="eu",subscription="site-unpublished"}`] != 1 {
		t.Errorf("counted: %v", m)
	}
}

// What has waited in vain is made all the same, fails an attempt or fails, as is configured;
// and a reload changes what is waited for.
func TestWaitingInVainEndsAsConfigured(t *testing.T) {
	t.Parallel()
	cdn, site := newContentCDN(t), newReceiver(t)
	wait := func(timeout, more string) string {
		return fmt.Sprintf("wait_for %s/spaces/s1/environments/master/entries/{event.data.sys.id} {\nuntil `response.json.sys.revision >= event.data.sys.revision`\n"+
			"secret_header Authorization \"Bearer {env.CDA}\"\ninterval 100ms 200ms\ntimeout %s\n%s\n}", cdn.url(), timeout, more)
	}
	config := subscribed("deliver", site, wait("1s", "")) +
		subscribed("retry", site, wait("1s", "on_timeout retry"), "retry 100ms 10m") +
		subscribed("fail", site, wait("1s", "on_timeout fail"))
	c := run(t, config+subscribed("reloaded", site, wait("1h", "")), withEnv("CDA="+cdaToken))
	cdn.throttle(4)
	id := c.accept("Entry.publish", publishHook("e1", 2)).ID
	c.wantDelivery(id, "deliver", stateDelivered, "")
	d := c.wantDelivery(id, "fail", stateFailed, reasonWaiting)
	if len(d.Attempts) != 1 || d.Attempts[0].ErrorKind != "timeout" || d.Attempts[0].Status != 0 || !strings.HasPrefix(d.Attempts[0].Error, "waited for ") {
		t.Errorf("%+v", d)
	}
	eventually(t, func() bool { return c.delivery(id, "retry").AttemptCount == 2 }, func() string { return fmt.Sprint(c.delivery(id, "retry")) })
	if d := c.delivery(id, "retry"); d.State != stateRetrying || d.Attempts[1].ErrorKind != "timeout" {
		t.Errorf("%+v", d)
	}
	if got := site.wantExactly(1)[0]; got.subscription() != "deliver" || got.header.Get("Relay-Waited") != "timeout" {
		t.Errorf("%+v", got)
	}
	c.wantDelivery(id, "reloaded", stateHeld, reasonWaiting)
	c.mustReload(config + subscribed("reloaded", site, wait("1s", "")))
	c.wantDelivery(id, "reloaded", stateDelivered, "")
	// Back where it began, with the word taken out.
	other := c.accept("Entry.publish", publishHook("e1", 2)).ID
	c.mustReload(config + subscribed("reloaded", site))
	c.wantDelivery(other, "reloaded", stateDelivered, "")
	if s := c.subscription("fail"); s.Failed == 0 || s.State != "active" || s.Reason != "" {
		t.Errorf("%+v", s)
	}
}

// shownBy runs the documented script of a receiver for a webhook.
func shownBy(t *testing.T, cdn *contentCDN, webhook string, timeout time.Duration) bool {
	t.Helper()
	script, err := filepath.Abs("../docs/receivers/wait.mjs")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*patience)
	defer cancel()
	options, err := json.Marshal(map[string]any{
		"token": cdaToken, "host": cdn.url(), "timeout": timeout.Milliseconds(), "first": 10, "longest": 50,
	})
	if err != nil {
		t.Fatal(err)
	}
	program := fmt.Sprintf("import { shown } from %q; console.log(await shown(%s, %s))", script, webhook, options)
	out, err := exec.CommandContext(ctx, "node", "--input-type=module", "--eval", program).CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return strings.TrimSpace(string(out)) == "true"
}

// The documented script waits for what the webhook is about, honours a 429, and ends.
func TestDocumentedScriptWaits(t *testing.T) {
	t.Parallel()
	need(t, "node", "Node.js")
	for name, test := range map[string]struct {
		before, after int // the revision that is shown, and that after some polls
		webhook       string
		want          bool
	}{
		"published later":     {34, 35, publishHook("e1", 35), true},
		"published first":     {0, 1, publishHook("e1", 1), true},
		"a newer one is":      {36, 36, publishHook("e1", 35), true},
		"never published":     {34, 34, publishHook("e1", 35), false},
		"unpublished later":   {1, 0, unpublishHook("e1"), true},
		"never unpublished":   {1, 1, unpublishHook("e1"), false},
		"unpublished already": {0, 0, unpublishHook("e1"), true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cdn := newContentCDN(t)
			cdn.show("e1", test.before)
			cdn.throttle(1)
			done := make(chan struct{})
			go func() {
				defer close(done)
				for deadline := time.Now().Add(patience); cdn.count() < 4 && time.Now().Before(deadline); time.Sleep(time.Millisecond) {
					if test.before == test.after {
						return
					}
				}
				cdn.show("e1", test.after)
			}()
			timeout := patience
			if !test.want {
				timeout = 5 * time.Second
			}
			if got := shownBy(t, cdn, test.webhook, timeout); got != test.want {
				t.Errorf("it resolves to %v after %d polls; want %v", got, cdn.count(), test.want)
			}
			<-done
			got := cdn.got()
			if len(got) < 2 || got[1].at.Sub(got[0].at) < 900*time.Millisecond {
				t.Errorf("%d polls; it was asked to wait for a second after the first", len(got))
			}
		})
	}
}
