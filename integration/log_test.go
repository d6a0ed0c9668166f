package integration

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

// echo is a server that answers each connection with the bytes that it got: no HTTP, and
// all of the request's secrets.
func echo(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				_ = conn.SetDeadline(time.Now().Add(time.Second))
				_, _ = io.Copy(conn, conn)
			}()
		}
	}()
	return "http://" + l.Addr().String()
}

// repeat answers with all of the request, in the status given.
func repeat(status int) reply {
	return func(w http.ResponseWriter, a *arrival) {
		w.Header().Set("X-Echo", a.header.Get("Authorization"))
		w.WriteHeader(status)
		fmt.Fprintf(w, "%v %s", a.header, a.body)
	}
}

// Endpoints send back what they got, applications send what is wrong, all on the debug
// level: no secret, payload or URL of a subscription gets into the log, and no line is
// forged.
func TestLogHoldsNoPayloadSecretOrURL(t *testing.T) {
	t.Parallel()
	const (
		inPath, inQuery = "pathSECRET1", "querySECRET2"
		inField, bearer = "fieldSECRET3", "bearerSECRET4"
		token           = "tokenSECRET5-which-is-long-enough"
		payload         = "payloadSECRET6"
		oauthSecret     = "oauthSECRET7"
	)
	key := newSecret()
	answering, failing, tokens := newReceiver(t), newReceiver(t), newReceiver(t)
	failing.answer(repeat(http.StatusInternalServerError))
	answering.answer(repeat(http.StatusOK))
	tokens.answer(repeat(http.StatusBadRequest))
	raw := echo(t)
	dead := fmt.Sprintf("http://127.0.0.1:%d", freePort(t))
	subscription := func(name, target, extra string) string {
		return fmt.Sprintf("subscription %s {env.BASE_%s}/%s?key=%s order.* {\nallow_ips 127.0.0.1\nsign standard {env.KEY}\nsecret_header X-Api-Key {env.FIELD}\nretry 50ms 50ms 50ms\nbreaker off\n%s\n}\n",
			name, target, inPath, inQuery, extra)
	}
	c := run(t, subscription("well", "WELL", "auth bearer {env.BEARER}")+subscription("failing", "FAILING", "auth bearer {env.BEARER}")+
		subscription("echo", "ECHO", "auth bearer {env.BEARER}")+subscription("dead", "DEAD", "auth basic u {env.BEARER}")+
		subscription("jq", "WELL", "transform jq `.data.card | tonumber`")+
		subscription("expr", "WELL", `expression "int(event.data.card) > 3"`)+
		subscription("oauth", "WELL", "auth oauth2 {\ntoken_url "+tokens.url()+"/token?k="+inQuery+"\nclient_id relay\nclient_secret {env.OAUTH}\n}"),
		withGlobals("log {\nlevel DEBUG\n}"), withIntake("token {env.TOKEN}"),
		withEnv("KEY="+key, "FIELD="+inField, "BEARER="+bearer, "TOKEN="+token, "OAUTH="+oauthSecret,
			"BASE_WELL="+answering.url(), "BASE_FAILING="+failing.url(), "BASE_ECHO="+raw, "BASE_DEAD="+dead))

	// What is taken, with a line that would be another record.
	data := fmt.Sprintf(`{"card":%q,%q:1}`, payload+"\n{\"level\":\"error\",\"msg\":\"forged\"}", "member-"+payload)
	authorized := []string{"Authorization", "Bearer " + token}
	post := func(path, body string, header ...string) answer {
		return c.post(path, body, append(append([]string{}, authorized...), header...)...)
	}
	id := c.accepted(post("/v1/events/order.paid", data, "Idempotency-Key", payload)).ID
	// What is refused, in as many ways.
	for _, body := range []string{
		`{"` + payload, `{"a` + payload + `":1,"a` + payload + `":2}`, payload, `"` + payload + "\xff\"", strings.Repeat(`{"`+payload+`":`, 70),
	} {
		post("/v1/events/order.paid", body)
	}
	post("/v1/events", `{"type":"a `+payload+`","data":1}`)
	post("/v1/events", `{"type":"order.paid","time":"`+payload+`","data":1}`)
	post("/v1/events", `{"type":"order.paid","data":1,"`+payload+`":1}`)
	post("/v1/events/order.paid", `1`, "Idempotency-Key", payload)
	post("/v1/events/order.paid", `1`, "Relay-Subscriptions", payload)
	post("/v1/events/order.paid", `1`, "Content-Type", payload+"/x")
	post("/v1/events/order.paid", `1`, "Host", payload+".example.com")
	c.post("/v1/events/order.paid", data, "Authorization", "Bearer wrong-"+token)
	c.finished(id)

	log := c.log()
	for _, secret := range []string{
		inPath, inQuery, inField, bearer, token, payload, oauthSecret, key, strings.TrimPrefix(key, "whsec_"),
		answering.url() + "/", failing.url() + "/", raw + "/", dead + "/",
	} {
		for line := range strings.Lines(log) {
			if strings.Contains(line, secret) {
				t.Errorf("the log has %s:\n%.700s", secret, line)
			}
		}
	}
	loggers := make(map[string]bool)
	kinds := make(map[string]bool)
	for line := range strings.Lines(log) {
		var record struct {
			Logger, Msg string
			ErrorKind   string `json:"error_kind"`
		}
		if err := json.Unmarshal([]byte(line), &record); err != nil {
			t.Errorf("no record: %s", line)
		}
		loggers[record.Logger] = true
		kinds[record.ErrorKind] = true
		if record.Msg == "forged" {
			t.Errorf("forged: %s", line)
		}
	}
	for _, name := range []string{"relay", "relay.intake", "relay.delivery"} {
		if !loggers[name] {
			t.Errorf("nothing was logged by %s", name)
		}
	}
	for _, kind := range []string{"5xx", "protocol", "connect", "transform", "auth"} {
		if !kinds[kind] {
			t.Errorf("no attempt failed as %s, so that nothing is proven of it: %v", kind, kinds)
		}
	}
}

// finished waits until all deliveries of an event are.
func (c *instance) finished(id string) {
	c.t.Helper()
	var last event
	eventually(c.t, func() bool {
		last = decode[event](c.t, c.get("/relay/events/"+id))
		for _, d := range last.Deliveries {
			if d.State != stateDelivered && d.State != stateFailed {
				return false
			}
		}
		return true
	}, func() string { return fmt.Sprintf("deliveries are not finished: %+v", last) })
}
