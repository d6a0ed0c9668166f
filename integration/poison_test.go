package integration

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

// F27. That a signer or a transport panics, and that a record cannot be read, is tested in
// package relay in virtual time (TestSignerFaultFailsOneAttemptOnly, TestAttemptFailsAlone,
// TestUnreadableEventIsSetAsideAndTheRestGoesOn): from outside there is no such module.
// What comes from outside is text that goes into the header of each request.

// A value that no header can carry is refused when the configuration is loaded.
func TestHeaderValueThatCannotBeSentIsRefused(t *testing.T) {
	t.Parallel()
	r := newReceiver(t)
	for name, value := range map[string]string{
		"line break":      "acme\r\nX-Injected: yes",
		"line feed":       "acme\nX-Injected: yes",
		"carriage return": "acme\rX-Injected: yes",
		"escape":          "acme\x1b[31m",
		"delete":          "acme\x7f",
	} {
		for _, word := range []string{"header", "secret_header"} {
			c := prepare(t, withEnv("TENANT="+value))
			c.configure(subscribed("crm", r, word+" X-Tenant {env.TENANT}"))
			res := c.caddy("run", "--config", c.path("Caddyfile"))
			if res.code == 0 || !strings.Contains(res.errors, "control character") || !strings.Contains(res.errors, "X-Tenant") {
				t.Errorf("%s in %s: %s; want it refused", name, word, res)
			}
			if strings.Contains(res.errors, "Injected") {
				t.Errorf("%s in %s: the value is shown: %s", name, word, res)
			}
		}
	}
	r.wantSilence("the receiver")
}

// What a sender says is either refused or delivered, as it was said, and never stands in
// the way of what comes after it.
func TestStrangeHeaderOfASenderHoldsUpNothing(t *testing.T) {
	t.Parallel()
	r := newReceiver(t)
	c := run(t, subscribed("crm", r, "max_in_flight 1", "retry off"))
	type said struct{ field, value string }
	taken := make(map[string]said) // by event
	for i, s := range []said{
		{"Content-Type", "application/json; note=\"\xff\xfe\""},
		{"Content-Type", "application/json; note=\"\u00e9\u4e16\""},
		{"Content-Type", "application/json; " + strings.Repeat("x", 4000) + "=y"},
		{"Content-Type", "text/\tplain"},
		{"Content-Type", "no type at all"},
		{"Content-Type", ";"},
		{"Content-Type", "a\x01b"},
		{"Traceparent", "\xff"},
		{"Traceparent", strings.Repeat("0", 5000)},
		{"Traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"},
		{"Tracestate", "\xfe=\xff," + strings.Repeat("x", 3000)},
		{"Relay-Attempt", "7"},
		{"Webhook-Id", "evt_of_somebody_else"},
	} {
		status, id := raw(t, c, fmt.Sprintf("%d", i), s.field, s.value)
		switch {
		case status == http.StatusAccepted:
			taken[id] = s
		case status < 400 || status > 499:
			t.Errorf("%s: %q was answered %d; want it taken or refused", s.field, s.value, status)
		}
	}
	last := c.accept("order.paid", `"last"`).ID
	if d := c.wantDelivery(last, "crm", stateDelivered, ""); d.AttemptCount != 1 {
		t.Errorf("%+v", d)
	}
	c.drained()
	if len(taken) == 0 {
		t.Error("everything was refused")
	}
	for _, got := range r.wantExactly(len(taken) + 1) {
		s := taken[got.id()]
		delete(taken, got.id())
		if s.field == "Content-Type" && got.header.Get("Content-Type") != s.value {
			t.Errorf("Content-Type is %q; want %q", got.header.Get("Content-Type"), s.value)
		}
		if got.header.Get("Relay-Attempt") != "1" || len(got.header["Webhook-Id"]) != 1 || len(got.header["Relay-Attempt"]) != 1 {
			t.Errorf("the sender's field was passed on: %v", got.header)
		}
	}
	for _, s := range taken {
		t.Errorf("%s: %q was taken, but not delivered", s.field, s.value)
	}
	for _, d := range c.deliveries() {
		if d.State != stateDelivered {
			t.Errorf("%+v", d)
		}
	}
}

// raw posts with a field that Go's client might not send, and returns what came of it.
func raw(t *testing.T, c *instance, body, field, value string) (status int, id string) {
	t.Helper()
	conn, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", c.port))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(patience))
	text := fmt.Sprintf("POST /v1/events/order.paid HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\nContent-Length: %d\r\n", len(body))
	if field != "Content-Type" {
		text += "Content-Type: application/json\r\n"
	}
	if _, err := io.WriteString(conn, text+field+": "+value+"\r\n\r\n"+body); err != nil {
		t.Fatal(err)
	}
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	_, _ = io.Copy(io.Discard, resp.Body)
	return resp.StatusCode, strings.TrimPrefix(resp.Header.Get("Location"), "/v1/events/")
}
