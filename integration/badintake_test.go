package integration

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"
)

// problem is the body of a refusal (RFC 9457).
type problem struct {
	Type   string `json:"type"`
	Title  string `json:"title"`
	Status int    `json:"status"`
	Detail string `json:"detail"`
}

// wantProblem checks that an answer is a refusal with this status.
func wantProblem(t *testing.T, a answer, status int) {
	t.Helper()
	if a.err != nil || a.status != status {
		t.Errorf("answered %.300s; want %d", a, status)
		return
	}
	if got := a.header.Get("Content-Type"); got != "application/problem+json" {
		t.Errorf("Content-Type is %q; want application/problem+json", got)
	}
	var p problem
	if err := json.Unmarshal(a.body, &p); err != nil || p.Status != status || p.Type == "" || p.Title == "" || p.Detail == "" {
		t.Errorf("the problem is incomplete (%v): %s", err, a.body)
	}
}

// rejected is a request that is refused with this status.
type rejected struct {
	name, method, path, body string
	header                   []string
	status                   int
}

const (
	open   = "/v1/events"
	ofType = "/v1/events/order.paid"
)

func rejections() []rejected {
	json := []string{"Content-Type", "application/json"}
	with := func(more ...string) []string { return append(slices.Clone(json), more...) }
	post := http.MethodPost
	return []rejected{
		{"truncated", post, ofType, `{"a":`, json, 400},
		{"empty", post, ofType, ``, json, 400},
		{"text", post, ofType, `hello`, json, 400},
		{"two values", post, ofType, `{} {}`, json, 400},
		{"comment", post, ofType, `{} // paid`, json, 400},
		{"trailing comma", post, ofType, `[1,]`, json, 400},
		{"NaN", post, ofType, `NaN`, json, 400},
		{"duplicate name", post, ofType, `{"a":1,"b":2,"a":3}`, json, 400},
		{"duplicate name, escaped", post, ofType, `{"a":1,"\u0061":3}`, json, 400},
		{"duplicate name, deep", post, ofType, `{"x":[{"a":1,"a":3}]}`, json, 400},
		{"too deep", post, ofType, strings.Repeat("[", 65) + strings.Repeat("]", 65), json, 400},
		{"far too deep", post, ofType, strings.Repeat("[", 200_000), json, 400},
		{"not UTF-8", post, ofType, "\"\xff\"", json, 400},
		{"byte order mark", post, ofType, "\ufeff{}", json, 400},
		{"envelope, truncated", post, open, `{"type":"order.paid","data":`, json, 400},
		{"oversized", post, ofType, `"` + strings.Repeat("x", 512<<10) + `"`, json, 413},
		{"form", post, ofType, `a=1`, []string{"Content-Type", "application/x-www-form-urlencoded"}, 415},
		{"form that is JSON", post, ofType, `{"a":1}`, []string{"Content-Type", "application/x-www-form-urlencoded"}, 415},
		{"multipart", post, ofType, "--x\r\n\r\n--x--", []string{"Content-Type", "multipart/form-data; boundary=x"}, 415},
		{"plain text", post, ofType, `{}`, []string{"Content-Type", "text/plain"}, 415},
		{"text/json", post, ofType, `{}`, []string{"Content-Type", "text/json"}, 415},
		{"no content type", post, ofType, `{}`, nil, 415},
		{"compressed", post, ofType, "\x1f\x8b", with("Content-Encoding", "gzip"), 415},
		{"no type", post, open, `{"data":1}`, json, 422},
		{"empty type", post, open, `{"type":"","data":1}`, json, 422},
		{"type of the relay", post, "/v1/events/relay.delivery.failed", `{}`, json, 422},
		{"type of the relay, in capitals", post, open, `{"type":"Relay.x","data":1}`, json, 422},
		{"long type", post, "/v1/events/" + strings.Repeat("x", 256), `{}`, json, 422},
		{"type with a space", post, "/v1/events/order%20paid", `{}`, json, 422},
		{"unknown subscription", post, ofType, `{}`, with("Relay-Subscriptions", "crm, erp"), 422},
		{"CloudEvent without id", post, open, `{"specversion":"1.0","type":"a","source":"/s","data":1}`, []string{"Content-Type", ofCloudEvent}, 422},
		{"CloudEvent of another version", post, open, `{"specversion":"0.3","type":"a","source":"/s","id":"1"}`, []string{"Content-Type", ofCloudEvent}, 422},
		{"CloudEvent with an object for an extension", post, open, `{"specversion":"1.0","type":"a","source":"/s","id":"1","x":{}}`, []string{"Content-Type", ofCloudEvent}, 422},
		{"CloudEvent, truncated", post, open, `{"specversion":"1.0"`, []string{"Content-Type", ofCloudEvent}, 400},
		{"CloudEvent in another format", post, open, `x`, []string{"Content-Type", "application/cloudevents+avro"}, 415},
		{"CloudEvent in header fields without type", post, open, `{}`, with("ce-specversion", "1.0", "ce-id", "1", "ce-source", "/s"), 422},
		{"CloudEvent in header fields with text", post, open, `{}`, []string{"Content-Type", "text/plain", "ce-specversion", "1.0", "ce-id", "1", "ce-source", "/s", "ce-type", "a"}, 415},
		{"batch with one that is wrong", post, open, `[{"specversion":"1.0","type":"a","source":"/s","id":"1"},{}]`, []string{"Content-Type", ofCloudEvents}, 422},
		{"batch, truncated", post, open, `[{"specversion":"1.0","type":"a","source":"/s","id":"1"}`, []string{"Content-Type", ofCloudEvents}, 400},
		{"batch with two of one id", post, open, `{"type":"a","id":"1","data":1}` + "\n" + `{"type":"a","id":"1","data":2}`, []string{"Content-Type", ofLines}, 422},
		{"lines with one that is wrong", post, open, `{"type":"a","data":1}` + "\n" + `{"data":1}`, []string{"Content-Type", ofLines}, 422},
		{"lines with one that is no JSON", post, open, `{"type":"a","data":1}` + "\n" + `{"type"`, []string{"Content-Type", ofLines}, 400},
		{"too many lines", post, open, strings.Repeat(`{"type":"a","data":1}`+"\n", 1001), []string{"Content-Type", ofLines}, 413},
		{"lines with the type in the path", post, ofType, `{}`, []string{"Content-Type", ofLines}, 415},
		{"long key", post, ofType, `{}`, with("Idempotency-Key", strings.Repeat("k", 256)), 400},
		{"foreign host", post, ofType, `{}`, with("Host", "relay.attacker.example"), 403},
		{"foreign host that looks local", post, ofType, `{}`, with("Host", "127.0.0.1.attacker.example"), 403},
		{"foreign origin", post, ofType, `{}`, with("Origin", "https://attacker.example"), 403},
		{"origin of a sandbox", post, ofType, `{}`, with("Origin", "null"), 403},
		{"forwarded", post, ofType, `{}`, with("Forwarded", "for=198.51.100.7"), 403},
		{"forwarded for", post, ofType, `{}`, with("X-Forwarded-For", "198.51.100.7"), 403},
		{"forwarded host", post, ofType, `{}`, with("X-Forwarded-Host", "shop.example"), 403},
		{"by a proxy", post, ofType, `{}`, with("Via", "1.1 proxy"), 403},
		{"read by a foreign host", http.MethodGet, "/v1/events/evt_1", ``, []string{"Host", "relay.attacker.example"}, 403},
		{"read by a proxy", http.MethodGet, "/v1/events/evt_1", ``, []string{"Via", "1.1 proxy"}, 403},
		{"no such event", http.MethodGet, "/v1/events/evt_38g0g3e5p0000pb9", ``, nil, 404},
		{"root", http.MethodGet, "/", ``, nil, 404},
		{"root, posted", post, "/", `{}`, json, 404},
		{"another version", post, "/v2/events/order.paid", `{}`, json, 404},
		{"below a type", post, "/v1/events/order/paid", `{}`, json, 404},
		{"no segment", post, "/v1/events/", `{}`, json, 404},
		{"list", http.MethodGet, open, ``, nil, 405},
		{"put", http.MethodPut, ofType, `{}`, json, 405},
		{"delete", http.MethodDelete, ofType, ``, nil, 405},
		{"livez, posted", post, "/livez", `{}`, json, 405},
	}
}

// Nothing of what is refused is stored or delivered, and the one thing that is taken
// afterwards arrives.
func TestBadRequestsAreRefusedAndLeaveNothing(t *testing.T) {
	t.Parallel()
	r := newReceiver(t)
	c := run(t, subscribed("crm", r))
	for _, bad := range rejections() {
		t.Run(bad.name, func(t *testing.T) {
			a := c.request(bad.method, bad.path, bad.body, bad.header...)
			wantProblem(t, a, bad.status)
			if bad.status == http.StatusMethodNotAllowed && a.header.Get("Allow") == "" {
				t.Error("the answer has no Allow")
			}
		})
	}
	t.Run("oversized, of unknown length", func(t *testing.T) {
		body := io.MultiReader(strings.NewReader(`"`), strings.NewReader(strings.Repeat("x", 600<<10)), strings.NewReader(`"`))
		req, err := http.NewRequest(http.MethodPost, c.url(ofType), body)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", "application/json")
		wantProblem(t, do(clientOf, req), http.StatusRequestEntityTooLarge)
	})
	t.Run("huge announcement", func(t *testing.T) {
		// Caddy reads 256 KiB of a body that its handler has refused before it answers.
		c.speak(t, "POST "+ofType+" HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 99999999999\r\n\r\n"+
			strings.Repeat("x", 260<<10), "413")
	})
	t.Run("cut body", func(t *testing.T) {
		c.speak(t, "POST "+ofType+" HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{\"a\":1", "")
	})

	if events := c.events(); len(events) != 0 {
		t.Errorf("something of it was stored: %+v", events)
	}
	if deliveries := c.deliveries(); len(deliveries) != 0 {
		t.Errorf("something of it is to be delivered: %+v", deliveries)
	}
	id := c.accept("order.paid", strings.Repeat("[", 64)+strings.Repeat("]", 64)).ID
	c.drained()
	if got := r.wantExactly(1); got[0].id() != id {
		t.Errorf("%s was delivered; want %s", got[0].id(), id)
	}
}

// speak sends bytes, no more, and expects the status.
func (c *instance) speak(t *testing.T, bytes, status string) {
	t.Helper()
	conn, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", c.port))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(conn, bytes); err != nil {
		t.Fatal(err)
	}
	if status == "" {
		return
	}
	line, err := bufio.NewReader(conn).ReadString('\n')
	if err != nil || !strings.Contains(line, " "+status+" ") {
		t.Errorf("answered %q (%v); want %s", line, err, status)
	}
}

func TestRepeatIsAnsweredAsBeforeAndAnotherBodyIsRefused(t *testing.T) {
	t.Parallel()
	r := newReceiver(t)
	c := run(t, subscribed("crm", r))
	first := c.accept("order.paid", `{"n":1}`, "Idempotency-Key", "k-1")
	for _, key := range []string{"k-1", `"k-1"`} { // bare or quoted
		a := c.post(ofType, `{"n":1}`, "Idempotency-Key", key)
		again := c.accepted(a)
		if again.ID != first.ID || !again.Duplicate || a.header.Get("Idempotency-Replayed") != "true" {
			t.Errorf("the repeat is answered %s", a)
		}
	}
	wantProblem(t, c.post(ofType, `{"n":2}`, "Idempotency-Key", "k-1"), http.StatusUnprocessableEntity)
	wantProblem(t, c.post("/v1/events/order.sent", `{"n":1}`, "Idempotency-Key", "k-1"), http.StatusUnprocessableEntity)

	// The sender's own id in the envelope is a key, too, and remembered over a crash.
	enveloped := c.accepted(c.post(open, `{"type":"order.paid","id":"o-1","data":1}`))
	c.kill()
	c.start()
	if again := c.accepted(c.post(open, `{"type":"order.paid","id":"o-1","data":1}`)); again.ID != enveloped.ID || !again.Duplicate {
		t.Errorf("after a crash the repeat is answered %+v", again)
	}
	wantProblem(t, c.post(open, `{"type":"order.paid","id":"o-1","data":2}`), http.StatusUnprocessableEntity)
	c.drained()
	if n := len(c.events()); n != 2 {
		t.Errorf("%d events are stored; want 2", n)
	}
}

func TestTokenOpensIntakeAndNothingElseDoes(t *testing.T) {
	t.Parallel()
	r := newReceiver(t)
	c := run(t, subscribed("crm", r), withIntake("token {env.TOKEN}\ntoken {env.OLD_TOKEN}"),
		withEnv("TOKEN=open-sesame", "OLD_TOKEN=open-barley"))
	for _, header := range [][]string{
		nil,
		{"Authorization", "Bearer"},
		{"Authorization", "Bearer open-sesam"},
		{"Authorization", "Bearer open-sesame2"},
		{"Authorization", "Basic b3Blbi1zZXNhbWU="},
		{"Authorization", "open-sesame"},
	} {
		a := c.post(ofType, `{}`, header...)
		wantProblem(t, a, http.StatusUnauthorized)
		if !strings.HasPrefix(a.header.Get("WWW-Authenticate"), "Bearer") {
			t.Errorf("%v: WWW-Authenticate is %q", header, a.header.Get("WWW-Authenticate"))
		}
	}
	wantProblem(t, c.request(http.MethodGet, "/v1/events/evt_1", ""), http.StatusUnauthorized)
	for _, path := range []string{"/livez", "/readyz"} { // these answer anyone
		if a := c.request(http.MethodGet, path, ""); a.status != http.StatusOK {
			t.Errorf("%s: %s", path, a)
		}
	}
	// With a token the request may come through a proxy, under any name.
	for _, token := range []string{"open-sesame", "open-barley"} {
		c.accept("order.paid", `{}`, "Authorization", "Bearer "+token, "X-Forwarded-For", "198.51.100.7", "Host", "relay.example.com")
	}
	c.drained()
	r.wantExactly(2)
	for _, token := range []string{"open-sesame", "open-barley"} {
		if strings.Contains(c.log(), token) {
			t.Errorf("the log has the token %q", token)
		}
	}
}

func TestWithoutATokenOnlyThisMachineMaySend(t *testing.T) {
	t.Parallel()
	own := ""
	addresses, err := net.InterfaceAddrs()
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range addresses {
		if ip, _, err := net.ParseCIDR(a.String()); err == nil && ip.To4() != nil && !ip.IsLoopback() {
			own = ip.String()
		}
	}
	if own == "" {
		t.Skip("needs an address beside the loopback ones")
	}
	c := run(t, subscribed("crm", newReceiver(t)), func(c *instance) { c.bind = own })
	wantProblem(t, c.post(ofType, `{}`), http.StatusForbidden)
	wantProblem(t, c.post(ofType, `{}`, "Host", "localhost"), http.StatusForbidden)
	wantProblem(t, c.request(http.MethodGet, "/v1/events/evt_1", ""), http.StatusForbidden)
	if n := len(c.events()); n != 0 {
		t.Errorf("%d events are stored", n)
	}
}
