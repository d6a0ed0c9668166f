package integration

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"
)

// F29
func TestGoneDisablesAndHoldsWhatIsLeft(t *testing.T) {
	t.Parallel()
	gone, well := newReceiver(t), newReceiver(t)
	gone.answer(with(http.StatusGone))
	c := run(t, subscribed("gone", gone, retriedSoon)+subscribed("well", well))
	first := c.accept("order.paid", `1`).ID
	c.wantDelivery(first, "gone", stateRetrying, reasonDisabled)
	second := c.accept("order.paid", `2`).ID
	d := c.wantDelivery(second, "gone", stateHeld, reasonDisabled)
	if d.AttemptCount != 0 {
		t.Errorf("%+v; want no attempt", d)
	}
	if s := c.subscription("gone"); s.State != "disabled" || s.Pending != 2 {
		t.Errorf("%+v; want it disabled with 2 pending", s)
	}
	for _, id := range []string{first, second} {
		c.wantDelivery(id, "well", stateDelivered, "")
	}
	// It stays so over a crash.
	c.kill()
	c.start()
	c.wantDelivery(c.accept("order.paid", `3`).ID, "well", stateDelivered, "")
	if s := c.subscription("gone"); s.State != "disabled" || s.Pending != 3 {
		t.Errorf("after a crash: %+v", s)
	}
	gone.wantExactly(1)
}

// F28
func TestRetryAfterHoldsTheWholeSubscription(t *testing.T) {
	t.Parallel()
	for _, answered := range []struct {
		name   string
		status int
		after  func() string
	}{
		{"429 in seconds", http.StatusTooManyRequests, func() string { return "2" }},
		{"503 in seconds", http.StatusServiceUnavailable, func() string { return "2" }},
		// Dates have whole seconds.
		{"429 with a date", http.StatusTooManyRequests, func() string {
			return time.Now().Add(3 * time.Second).UTC().Format(http.TimeFormat)
		}},
	} {
		t.Run(answered.name, func(t *testing.T) {
			t.Parallel()
			r, well := newReceiver(t), newReceiver(t)
			r.answer(func(w http.ResponseWriter, a *arrival) {
				if a.number == 1 {
					with(answered.status, "Retry-After", answered.after())(w, a)
				}
			})
			c := run(t, subscribed("busy", r, retriedSoon, "max_in_flight 1")+subscribed("well", well))
			first := c.accept("order.paid", `1`).ID
			c.wantDelivery(first, "busy", stateRetrying, reasonRetryAfter)
			second := c.accept("order.paid", `2`).ID
			c.wantDelivery(second, "well", stateDelivered, "")
			if got := len(r.got()); got == 1 { // unless the machine was too busy to look
				c.wantDelivery(second, "busy", stateHeld, reasonRetryAfter)
				if s := c.subscription("busy"); s.State != "active" || s.Reason != reasonRetryAfter || s.Pending != 2 {
					t.Errorf("%+v; want it active, held by retry_after", s)
				}
			}
			c.drained()
			got := r.wantExactly(3)
			if waited := got[1].at.Sub(got[0].answered); waited < 1900*time.Millisecond {
				t.Errorf("the next attempt came after %s, although the endpoint had asked for 2s", waited)
			}
		})
	}
}

// F16
func TestRedirectsAreNotFollowed(t *testing.T) {
	t.Parallel()
	r, canary := newReceiver(t), newReceiver(t)
	codes := []int{300, 301, 302, 303, 304, 307, 308}
	r.answer(func(w http.ResponseWriter, a *arrival) {
		target := canary.url()
		if a.number == 1 {
			target = r.url() // in a loop
		}
		with(codes[a.number-1], "Location", target)(w, a)
	})
	c := run(t, subscribed("crm", r, "retry off", "max_in_flight 1"))
	for i, code := range codes {
		id := c.accept("order.paid", fmt.Sprint(i)).ID
		d := c.wantDelivery(id, "crm", stateFailed, anyReason)
		if a := d.Attempts[0]; d.AttemptCount != 1 || a.Status != code || a.ErrorKind != "3xx" {
			t.Errorf("%d: %+v", code, d)
		}
	}
	r.wantExactly(len(codes))
	canary.wantSilence("the target of the redirects")
}

// F17, F18
func TestResponsesAreNotReadToTheirEnd(t *testing.T) {
	t.Parallel()
	const (
		excerptOfFailed, excerptOfDelivered = 16 << 10, 1 << 10
		// What the kernel takes on both sides although nobody reads it.
		buffers = 24 << 20
	)
	var bomb bytes.Buffer
	zip := gzip.NewWriter(&bomb)
	for range 64 {
		_, _ = zip.Write(bytes.Repeat([]byte("boom"), 1<<18))
	}
	_ = zip.Close()
	r := newReceiver(t)
	written := make(chan int, 2)
	endless := func(status int) reply {
		return func(w http.ResponseWriter, _ *arrival) {
			w.WriteHeader(status)
			n := 0
			for n < 1<<30 {
				m, err := w.Write(bytes.Repeat([]byte("x"), 32<<10))
				n += m
				if err != nil {
					break
				}
			}
			written <- n
		}
	}
	c := run(t, subscribed("crm", r, "retry off", "max_in_flight 1"))
	one := func(reply reply, state string, limit int) attempt {
		t.Helper()
		r.answer(reply)
		id := c.accept("order.paid", `1`).ID
		d := c.wantDelivery(id, "crm", state, anyReason)
		if n := len(d.Attempts[0].ResponseExcerpt); n > limit {
			t.Errorf("%s: %d bytes are kept of the answer; want at most %d", state, n, limit)
		}
		return d.Attempts[0]
	}
	one(endless(http.StatusOK), stateDelivered, excerptOfDelivered)
	one(endless(http.StatusInternalServerError), stateFailed, excerptOfFailed)
	for range 2 {
		if n := <-written; n > buffers {
			t.Errorf("%d bytes of an endless answer were read", n)
		}
	}
	zipped := func(w http.ResponseWriter, a *arrival) {
		if accepted := a.header.Get("Accept-Encoding"); strings.Contains(accepted, "gzip") {
			t.Errorf("the request asks for %s", accepted)
		}
		w.Header().Set("Content-Encoding", "gzip")
		w.WriteHeader(http.StatusInternalServerError)
		_, _ = w.Write(bomb.Bytes())
	}
	if a := one(zipped, stateFailed, excerptOfFailed); strings.Contains(a.ResponseExcerpt, "boomboomboom") {
		t.Error("a compressed answer was inflated")
	}
}

// F22: the status line decides, whatever follows it.
func TestResetAtEachStageOfAnAnswer(t *testing.T) {
	t.Parallel()
	r := newReceiver(t)
	c := run(t, subscribed("crm", r, "retry off", "timeout 3s"))
	for _, stage := range []struct {
		name, sent, state string
		kind              string // empty: any
	}{
		{"before the answer", "", stateFailed, "reset"},
		{"in the status line", "HTTP/1.1 20", stateFailed, ""},
		{"after the status line", "HTTP/1.1 200 OK\r\n", stateDelivered, ""},
		{"in the header", "HTTP/1.1 200 OK\r\nContent-Length: 1000\r\nX-Half", stateDelivered, ""},
		{"in the body", "HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nhalf", stateDelivered, ""},
		{"in a chunk", "HTTP/1.1 202 Accepted\r\nTransfer-Encoding: chunked\r\n\r\nff\r\nhalf", stateDelivered, ""},
		{"after a bad chunk", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nnonsense\r\n", stateDelivered, ""},
		{"after a bad header", "HTTP/1.1 200 OK\r\nnonsense\r\n\r\n", stateDelivered, ""},
		{"after something else", "SSH-2.0-OpenSSH_9.6\r\n", stateFailed, "protocol"},
	} {
		t.Run(stage.name, func(t *testing.T) {
			r.answer(func(w http.ResponseWriter, _ *arrival) {
				conn, err := hijack(w)
				if err != nil {
					t.Error(err)
					return
				}
				_, _ = conn.Write([]byte(stage.sent))
				if stage.sent != "" {
					// So that it is read before the reset drops it.
					time.Sleep(50 * time.Millisecond)
				}
				_ = conn.SetLinger(0)
				_ = conn.Close()
			})
			id := c.accept("order.paid", `1`).ID
			var d delivery
			eventually(t, func() bool {
				d = c.delivery(id, "crm")
				return d.State == stateFailed || d.State == stateDelivered
			}, func() string { return fmt.Sprintf("%+v", d) })
			if kind := d.Attempts[0].ErrorKind; d.State != stage.state || stage.kind != "" && kind != stage.kind || d.State == stateDelivered && kind != "" {
				t.Errorf("%+v; want %s %s", d, stage.state, stage.kind)
			}
		})
	}
}

// F13 to F15: one deadline for all of an attempt, and nobody else waits for it.
func TestSlowEndpointIsCutByTheTimeoutAndHoldsUpNobody(t *testing.T) {
	t.Parallel()
	drip := func(first string, rest func(i int) string) reply {
		return func(w http.ResponseWriter, _ *arrival) {
			conn, err := hijack(w)
			if err != nil {
				t.Error(err)
				return
			}
			defer conn.Close()
			_, err = conn.Write([]byte(first))
			for i := 0; err == nil && i < 6000; i++ {
				time.Sleep(5 * time.Millisecond)
				_, err = conn.Write([]byte(rest(i)))
			}
		}
	}
	for _, slow := range []struct {
		name, state, kind string
		reply             reply
	}{
		{"silent", stateFailed, "timeout", newGate(t).then(with(http.StatusOK))},
		{"status line byte by byte", stateFailed, "timeout", drip("HTTP/1.1 200 ", func(int) string { return "O" })},
		{"endless interim answers", stateFailed, "timeout", drip("", func(int) string { return "HTTP/1.1 102 Processing\r\n\r\n" })},
		{"body byte by byte", stateDelivered, "", drip("HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n", func(int) string { return "x" })},
		{"header byte by byte", stateDelivered, "", drip("HTTP/1.1 200 OK\r\nX-Endless: ", func(int) string { return "x" })},
	} {
		t.Run(slow.name, func(t *testing.T) {
			t.Parallel()
			r, well := newReceiver(t), newReceiver(t)
			r.answer(slow.reply)
			c := run(t, subscribed("slow", r, "retry off", "timeout 1s", "max_in_flight 1")+subscribed("well", well), withGrace("1s"))
			first := c.accept("order.paid", `1`).ID
			r.want(1)
			for i := range 5 {
				c.wantDelivery(c.accept("order.paid", fmt.Sprint(i)).ID, "well", stateDelivered, "")
			}
			var d delivery
			eventually(t, func() bool {
				d = c.delivery(first, "slow")
				return d.AttemptCount == 1 && d.State != statePending // the attempt is known a moment before its result
			}, func() string { return fmt.Sprintf("%+v", d) })
			if d.State != slow.state || d.Attempts[0].ErrorKind != slow.kind {
				t.Errorf("%+v; want %s %s", d, slow.state, slow.kind)
			}
		})
	}
}
