package http1

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"
)

// receiver is a server that answers by the byte.
type receiver struct {
	net.Listener
	t   *testing.T
	way way
	mu  sync.Mutex
	// requests and connections are counted.
	requests, connections int
	heads                 []*http.Request
	bodies                []string
}

// newReceiver answers every request, in turn, with what is written to the connection by
// answer; if that returns false the connection is closed.
func newReceiver(t *testing.T, answer func(c net.Conn, n int) bool) *receiver {
	t.Helper()
	return newReceiverOver(t, plainly, answer)
}

func newReceiverOver(t *testing.T, way way, answer func(c net.Conn, n int) bool) *receiver {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if way == encrypted {
		l = tls.NewListener(l, &tls.Config{Certificates: []tls.Certificate{*certificate()}})
	}
	r := &receiver{Listener: l, t: t, way: way}
	var all sync.WaitGroup
	t.Cleanup(func() { l.Close(); all.Wait() })
	all.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			r.mu.Lock()
			r.connections++
			r.mu.Unlock()
			stop := context.AfterFunc(t.Context(), func() { c.Close() })
			all.Go(func() {
				defer stop()
				defer c.Close()
				r.serve(c, answer)
			})
		}
	})
	return r
}

func (r *receiver) serve(c net.Conn, answer func(net.Conn, int) bool) {
	in := bufio.NewReader(c)
	for {
		req, err := http.ReadRequest(in)
		if err != nil {
			return
		}
		body, err := io.ReadAll(req.Body)
		if err != nil {
			return
		}
		r.mu.Lock()
		r.requests++
		n := r.requests
		r.heads, r.bodies = append(r.heads, req), append(r.bodies, string(body))
		r.mu.Unlock()
		if !answer(c, n) {
			return
		}
	}
}

func (r *receiver) counts() (requests, connections int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.requests, r.connections
}

func (r *receiver) wantCounts(requests, connections int) {
	r.t.Helper()
	if a, b := r.counts(); a != requests || b != connections {
		r.t.Errorf("%d requests over %d connections; want %d over %d", a, b, requests, connections)
	}
}

// replying returns an answer that is always the same.
func replying(text string) func(net.Conn, int) bool {
	return func(c net.Conn, _ int) bool {
		_, err := io.WriteString(c, text)
		return err == nil
	}
}

const fine = "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nthanks"

// patience ends tests in which something waits for ever.
const patience = 30 * time.Second

func newTransport(t *testing.T) *Transport { return newTransportOver(t, plainly) }

func newTransportOver(t *testing.T, way way) *Transport {
	tr := &Transport{Dial: new(net.Dialer).DialContext}
	if way == encrypted {
		tr.Dial = (&tls.Dialer{Config: trusting()}).DialContext
	}
	t.Cleanup(tr.CloseIdleConnections)
	return tr
}

// request is a delivery to the receiver.
func (r *receiver) request(body string) *http.Request {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(r.t.Context(), patience)
	r.t.Cleanup(cancel)
	var data io.Reader
	if body != "" {
		data = bytes.NewReader([]byte(body))
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, string(r.way)+"://"+r.Addr().String()+"/hook?x=1", data)
	if err != nil {
		r.t.Fatal(err)
	}
	req.Header["Idempotency-Key"] = nil
	return req
}

// exchange makes a request and reads the whole answer.
func exchange(rt http.RoundTripper, req *http.Request) (int, string, error) {
	resp, err := rt.RoundTrip(req)
	if err != nil {
		return 0, "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	return resp.StatusCode, string(body), err
}

func (r *receiver) want(tr *Transport, status int, body string) {
	r.t.Helper()
	got, text, err := exchange(tr, r.request("data"))
	if got != status || text != body || err != nil {
		r.t.Errorf("answered %d %q (%v); want %d %q", got, text, err, status, body)
	}
}

func (r *receiver) wantError(tr *Transport, part string) error {
	r.t.Helper()
	status, body, err := exchange(tr, r.request("data"))
	if err == nil || !strings.Contains(err.Error(), part) {
		r.t.Errorf("answered %d %q (%v); want an error with %q", status, body, err, part)
	}
	return err
}
