package integration

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
)

// issuer is a token server: each token it issues is another one.
func issuer(t testing.TB, life int) (*receiver, *atomic.Int64) {
	t.Helper()
	r, issued := newReceiver(t), new(atomic.Int64)
	r.answer(func(w http.ResponseWriter, _ *arrival) {
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprintf(w, `{"access_token":"token-%d","token_type":"Bearer","expires_in":%d}`, issued.Add(1), life)
	})
	return r, issued
}

func oauth2(r *receiver) string {
	return fmt.Sprintf("auth oauth2 {\ntoken_url %s/token\nclient_id relay\nclient_secret {env.OAUTH}\nscopes hooks.write\n}", r.url())
}

// The request for a token leaves from the region, as the delivery does. One token serves all,
// and what is secret shows nowhere.
func TestTokensAreAskedForFromTheRegion(t *testing.T) {
	t.Parallel()
	const secret = "open-sesame"
	tokens, issued := issuer(t, 3600)
	crm, erp := newReceiver(t), newReceiver(t)
	c := run(t, "region far 127.0.0.9\n"+subscribed("crm", crm, oauth2(tokens))+subscribed("erp", erp, oauth2(tokens))+
		subscribed("basic", erp, "auth basic relay {env.OAUTH}")+subscribed("bearer", erp, "auth bearer {env.OAUTH}"), withEnv("OAUTH="+secret))
	const n = 20
	for i := range n {
		c.accept("order.paid", fmt.Sprint(i))
	}
	c.drained()
	asked := tokens.wantExactly(1)[0]
	form, err := url.ParseQuery(string(asked.body))
	if err != nil || asked.peer != "127.0.0.9" || asked.method != http.MethodPost || form.Get("grant_type") != "client_credentials" || form.Get("scope") != "hooks.write" {
		t.Errorf("%s from %s: %s", asked.method, asked.peer, asked.body)
	}
	if user, password, ok := (&http.Request{Header: asked.header}).BasicAuth(); !ok || user != "relay" || password != secret {
		t.Errorf("the client is %q %q", user, password)
	}
	for _, got := range append(crm.wantExactly(n), erp.wantExactly(3*n)...) {
		want := map[string]string{
			"crm": "Bearer token-1", "erp": "Bearer token-1", "basic": "Basic cmVsYXk6b3Blbi1zZXNhbWU=", "bearer": "Bearer " + secret,
		}[got.subscription()]
		if got.header.Get("Authorization") != want || got.peer != "127.0.0.9" {
			t.Errorf("%s from %s: %s; want %s", got.subscription(), got.peer, got.header.Get("Authorization"), want)
		}
	}
	shown := string(c.get("/config/").body) + string(c.get("/relay/status").body) + c.log() + c.relay("show", "crm").out + c.relay("show", "basic").out
	for _, hidden := range []string{secret, "token-1", "cmVsYXk6b3Blbi1zZXNhbWU="} {
		if strings.Contains(shown, hidden) {
			t.Errorf("%s can be read somewhere", hidden)
		}
	}
	if issued.Load() != 1 {
		t.Errorf("%d tokens were issued", issued.Load())
	}
}

// A token that the endpoint refuses is replaced, and a server that gives none fails the
// attempt with a kind of its own; nothing is sent without credentials.
func TestTokensThatAreRefusedOrMissing(t *testing.T) {
	t.Parallel()
	tokens, issued := issuer(t, 3600)
	crm, erp := newReceiver(t), newReceiver(t)
	crm.answer(func(w http.ResponseWriter, a *arrival) {
		if a.header.Get("Authorization") != "Bearer token-2" {
			w.WriteHeader(http.StatusUnauthorized)
		}
	})
	broken := newReceiver(t)
	broken.answer(func(w http.ResponseWriter, _ *arrival) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusBadRequest)
		_, _ = w.Write([]byte(`{"error":"invalid_scope","error_description":"no such scope"}`))
	})
	down := newReceiver(t)
	down.down()
	c := run(t, subscribed("crm", crm, oauth2(tokens), retriedSoon)+subscribed("broken", erp, oauth2(broken), "retry off")+subscribed("down", erp, oauth2(down), "retry off"),
		withEnv("OAUTH=open-sesame"))
	id := c.accept("order.paid", `{"order":1}`).ID
	if d := c.wantDelivery(id, "crm", stateDelivered, ""); d.AttemptCount != 2 || d.Attempts[0].Status != http.StatusUnauthorized {
		t.Errorf("%+v; want a 401, then success", d)
	}
	if issued.Load() != 2 {
		t.Errorf("%d tokens were issued; want 2", issued.Load())
	}
	for name, want := range map[string]string{
		"broken": "auth: asking for a token: the server answered 400 Bad Request, invalid_scope: no such scope", "down": "connection refused",
	} {
		d := c.wantDelivery(id, name, stateFailed, anyReason)
		if a := d.Attempts[0]; a.ErrorKind != "auth" || !strings.Contains(a.Error, want) || a.Status != 0 {
			t.Errorf("%s: %+v; want %s", name, a, want)
		}
	}
	erp.wantSilence("an endpoint without credentials")
}

// The address of the region is away: the delivery is held for it, and no attempt is charged
// for the token that could not be asked for.
func TestATokenThatCannotBeAskedForHoldsTheDelivery(t *testing.T) {
	t.Parallel()
	tokens, _ := issuer(t, 3600)
	crm := newReceiver(t)
	c := run(t, "region away 192.0.2.77\n"+subscribed("crm", crm, oauth2(tokens)), withEnv("OAUTH=open-sesame"))
	id := c.accept("order.paid", `{"order":1}`).ID
	c.wantDelivery(id, "crm", "held", "egress")
	if d := c.delivery(id, "crm"); d.AttemptCount != 0 {
		t.Errorf("%+v; want no attempt", d)
	}
	tokens.wantSilence("the token server")
	crm.wantSilence("the endpoint")
}

// Values of the event stand in the URL and in header fields; bodies are made by a template.
func TestRequestsAreShapedByTheEvent(t *testing.T) {
	t.Parallel()
	r := newReceiver(t)
	c := run(t, fmt.Sprintf("subscription index %s/items/{event.data.id}?type={event.type} {\nallow_ips 127.0.0.1\nretry off\nmethod PUT\n", r.url())+
		"header X-Event \"{event.type} {event.data.id}\"\n"+
		"transform template <<JSON\n\t{\"entry\": {{ toJson .data.id }}, \"at\": {{ toJson .time }}}\n\tJSON application/json\n"+signed+"\n}\n"+
		subscribed("form", r, "transform jq `\"id=\\(.data.id|@uri)\"` application/x-www-form-urlencoded"), withEnv("SECRET="+newSecret()))
	id := c.accepted(c.post("/v1/events", `{"type":"Entry.publish","time":"2026-06-22T18:42:22.587Z","data":{"id":"a/b {env.SECRET}"}}`)).ID
	c.wantDelivery(id, "index", stateDelivered, "")
	c.wantDelivery(id, "form", stateDelivered, "")
	for _, got := range r.wantExactly(2) {
		if got.subscription() == "form" {
			if string(got.body) != "id=a%2Fb%20%7Benv.SECRET%7D" || got.header.Get("Content-Type") != "application/x-www-form-urlencoded" {
				t.Errorf("%s %s", got.header.Get("Content-Type"), got.body)
			}
			continue
		}
		if got.method != http.MethodPut || got.path != "/items/a/b {env.SECRET}" || got.header.Get("X-Event") != "Entry.publish a/b {env.SECRET}" ||
			string(got.body) != `{"entry": "a/b {env.SECRET}", "at": "2026-06-22T18:42:22.587Z"}` {
			t.Errorf("%s %s %v %s", got.method, got.path, got.header, got.body)
		}
	}
	// What would go up to another path is not sent.
	id = c.accept("Entry.publish", `{"id":"../admin"}`).ID
	d := c.wantDelivery(id, "index", stateFailed, anyReason)
	if a := d.Attempts[0]; a.ErrorKind != "transform" || !strings.Contains(a.Error, `".."`) {
		t.Errorf("%+v", a)
	}
	c.wantDelivery(id, "form", stateDelivered, "")
	r.wantExactly(3)
}
