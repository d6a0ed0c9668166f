package integration

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"unicode/utf8"
)

// flooded is the most that an endpoint can get rid of although nobody reads it: what the
// kernel takes on both sides.
const flooded = 24 << 20

// flood takes the connection over, sends first, and then rest until nobody takes it.
func flood(written *atomic.Int64, first, rest string) reply {
	rest = strings.Repeat(rest, max(1, 16<<10/len(rest)))
	return func(w http.ResponseWriter, _ *arrival) {
		conn, err := hijack(w)
		if err != nil {
			return
		}
		defer conn.Close()
		_, err = io.WriteString(conn, first)
		for err == nil && written.Load() < 1<<30 {
			var n int
			n, err = io.WriteString(conn, rest)
			written.Add(int64(n))
		}
	}
}

// F15: who sends headers without end, as fast as the network takes them, is heard no longer
// than the limit of a header. What counts is the status line, if one has ended.
func TestEndlessHeadersAreNotReadToTheirEnd(t *testing.T) {
	t.Parallel()
	for _, endless := range []struct{ name, state, kind, first, rest string }{
		{"interim answers", stateFailed, "protocol", "", "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"},
		{"interim answers without fields", stateFailed, "protocol", "", "HTTP/1.1 100 Continue\r\n\r\n"},
		{"fields of an interim answer", stateFailed, "protocol", "HTTP/1.1 103 Early Hints\r\n", "Link: </a>\r\n"},
		{"status line", stateFailed, "protocol", "HTTP/1.1 200 ", "O"},
		{"nonsense", stateFailed, "protocol", "", "nonsense"},
		{"fields after a failure", stateFailed, "protocol", "HTTP/1.1 500 Oh\r\n", "X-Endless: a\r\n"},
		{"fields after a success", stateDelivered, "", "HTTP/1.1 200 OK\r\n", "X-Endless: a\r\n"},
		{"one field after a success", stateDelivered, "", "HTTP/1.1 200 OK\r\nX-Endless: ", "a"},
		{"trailers", stateDelivered, "", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n", "X-Endless: a\r\n"},
		{"chunk extensions", stateDelivered, "", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1;a=", "a"},
	} {
		t.Run(endless.name, func(t *testing.T) {
			t.Parallel()
			var written atomic.Int64
			r, well := newReceiver(t), newReceiver(t)
			r.answer(flood(&written, endless.first, endless.rest))
			c := run(t, subscribed("flood", r, "retry off", "max_in_flight 1")+subscribed("well", well))
			id := c.accept("order.paid", `1`).ID
			c.wantDelivery(id, "well", stateDelivered, "")
			d := c.wantDelivery(id, "flood", endless.state, anyReason)
			if d.AttemptCount != 1 || d.Attempts[0].ErrorKind != endless.kind {
				t.Errorf("%+v; want %q", d, endless.kind)
			}
			r.wantExactly(1)
			r.down() // waits for nobody
			if n := written.Load(); n > flooded {
				t.Errorf("%d bytes were taken", n)
			}
		})
	}
}

// F17 over HTTP/2, where many answers share a connection: one that has no end neither is
// read nor holds up the others.
func TestEndlessBodyOfHTTP2HoldsUpNobody(t *testing.T) {
	t.Parallel()
	a := newAuthority(t)
	r := newTLSReceiver(t, a, "h2")
	ended := make(chan int, 2)
	r.answer(func(w http.ResponseWriter, got *arrival) {
		status := map[string]int{"/failed": http.StatusInternalServerError}[got.path]
		if status == 0 && got.path != "/delivered" {
			return
		}
		w.WriteHeader(max(status, http.StatusOK))
		n, chunk := 0, bytes.Repeat([]byte("x"), 32<<10)
		for n < 1<<30 {
			m, err := w.Write(chunk)
			n += m
			if err != nil {
				break
			}
		}
		ended <- n
	})
	c := run(t, subscribed("failed", r, "retry off")+subscribed("delivered", r, "retry off")+subscribed("well", r), a.trusted())
	for i := range 3 {
		last := c.accept("order.paid", `1`, "Relay-Subscriptions", "well").ID
		c.wantDelivery(last, "well", stateDelivered, "")
		if i == 0 {
			id := c.accept("order.paid", `2`, "Relay-Subscriptions", "failed,delivered").ID
			if d := c.wantDelivery(id, "failed", stateFailed, anyReason); len(d.Attempts[0].ResponseExcerpt) != 16<<10 {
				t.Errorf("%d bytes are kept of a failure; want 16 KiB", len(d.Attempts[0].ResponseExcerpt))
			}
			if d := c.wantDelivery(id, "delivered", stateDelivered, ""); len(d.Attempts[0].ResponseExcerpt) != 1<<10 {
				t.Errorf("%d bytes are kept of a success; want 1 KiB", len(d.Attempts[0].ResponseExcerpt))
			}
		}
	}
	for range 2 {
		if n := <-ended; n > flooded {
			t.Errorf("%d bytes were taken", n)
		}
	}
}

// F18: what is kept of a compressed answer are the bytes that were sent.
func TestCompressedAnswerIsKeptAsItWasSent(t *testing.T) {
	t.Parallel()
	var bomb bytes.Buffer
	zip := gzip.NewWriter(&bomb)
	for range 64 {
		_, _ = zip.Write(make([]byte, 1<<20))
	}
	_ = zip.Close()
	// In JSON each byte that is not UTF-8 is shown as U+FFFD.
	var want strings.Builder
	for raw := bomb.Bytes(); len(raw) > 0; {
		char, size := utf8.DecodeRune(raw)
		want.WriteRune(char)
		raw = raw[size:]
	}
	a := newAuthority(t)
	r, modern := newReceiver(t), newTLSReceiver(t, a, "h2")
	bombed := func(w http.ResponseWriter, got *arrival) {
		if accepted := got.header.Get("Accept-Encoding"); accepted != "" {
			t.Errorf("the request asks for %s", accepted)
		}
		w.Header().Set("Content-Encoding", "gzip")
		w.WriteHeader(http.StatusInternalServerError)
		_, _ = w.Write(bomb.Bytes())
	}
	r.answer(bombed)
	modern.answer(bombed)
	c := run(t, subscribed("old", r, "retry off")+subscribed("modern", modern, "retry off"), a.trusted())
	id := c.accept("order.paid", `1`).ID
	for _, name := range []string{"old", "modern"} {
		got := c.wantDelivery(id, name, stateFailed, anyReason).Attempts[0].ResponseExcerpt
		if len(got) < 8<<10 || len(got) > 16<<10 || !strings.HasPrefix(want.String(), got) {
			t.Errorf("%s: %d bytes are kept, and are not the beginning of the answer: %.80q; want %.80q", name, len(got), got, want.String())
		}
	}
}

// F14: endpoints that take connections and then do nothing, each of another kind. Each
// attempt ends with the timeout, what it held is free again, and nobody else waits.
func TestEndpointThatTakesNothingIsGivenUp(t *testing.T) {
	t.Parallel()
	listen := func() net.Listener {
		listener, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", freePort(t)))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = listener.Close() })
		return listener
	}
	unaccepted := listen() // the kernel takes the connections, the program never does
	silent := newWire(t, func(conn net.Conn) { _, _ = io.Copy(io.Discard, conn) })
	done := newGate(t)
	defer done.open() // before the listeners are closed, who wait for it
	unread := newWire(t, func(conn net.Conn) {
		_ = conn.(*wireConn).Conn.(*net.TCPConn).SetReadBuffer(4 << 10)
		<-done.opened
	})
	// It answers before it has read the request, and never reads the rest.
	hasty := newWire(t, func(conn net.Conn) {
		_, _ = io.ReadFull(conn, make([]byte, 1))
		_, _ = io.WriteString(conn, "HTTP/1.1 202 Accepted\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
		<-done.opened
	})
	well := newReceiver(t)
	config := subscribed("well", well)
	endpoints := map[string]net.Listener{"unaccepted": unaccepted, "silent": silent, "unread": unread, "hasty": hasty}
	for name, listener := range endpoints {
		config += fmt.Sprintf("subscription %s http://%s {\nallow_ips 127.0.0.1\ntimeout 1s\nretry off\nbreaker off\nmax_in_flight 4\n}\n", name, listener.Addr())
	}
	c := run(t, config)
	c.wantDelivery(c.accept("order.paid", `1`, "Relay-Subscriptions", "well").ID, "well", stateDelivered, "")
	goroutines, descriptors := c.goroutines(), c.descriptors()
	large := `"` + strings.Repeat("x", 500<<10) + `"`
	var ids []string
	for range 8 {
		ids = append(ids, c.accept("order.paid", large).ID)
	}
	for _, id := range ids {
		c.wantDelivery(id, "well", stateDelivered, "")
	}
	for name := range endpoints {
		want, kind := stateFailed, "timeout"
		if name == "hasty" {
			want, kind = stateDelivered, ""
		}
		for _, id := range ids {
			if d := c.wantDelivery(id, name, want, anyReason); d.AttemptCount != 1 || d.Attempts[0].ErrorKind != kind {
				t.Errorf("%s: %+v; want %s", name, d, kind)
			}
		}
	}
	// Kept connections to well are all that may be left of it.
	const spare = 40
	eventually(t, func() bool {
		return c.goroutines() <= goroutines+spare && c.descriptors() <= descriptors+spare
	}, func() string {
		return fmt.Sprintf("%d goroutines and %d descriptors are left; there were %d and %d", c.goroutines(), c.descriptors(), goroutines, descriptors)
	})
}
