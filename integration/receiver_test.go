package integration

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"encoding/base64"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
)

// arrival is one request that a receiver got, whole.
type arrival struct {
	at           time.Time
	peer         string // the source address, without port
	proto        string
	method, path string
	header       http.Header
	body         []byte
	// number counts the receiver's requests, from 1.
	number int
	// status is what was answered, 0 while nothing was or when the answer was made by
	// hand; answered is when.
	status   int
	answered time.Time
}

func (a *arrival) id() string           { return a.header.Get("webhook-id") }
func (a *arrival) subscription() string { return a.header.Get("Relay-Subscription") }

// reply answers a request.
type reply func(w http.ResponseWriter, a *arrival)

// receiver is an endpoint of subscriptions on 127.0.0.1. Unless told otherwise it
// answers 200.
type receiver struct {
	t       testing.TB
	address string
	server  *http.Server
	// tls is set where https is spoken.
	tls *tls.Config
	// connections counts those that were ever opened.
	connections atomic.Int64

	mu       sync.Mutex
	arrivals []*arrival
	reply    reply
}

func newReceiver(t testing.TB) *receiver {
	t.Helper()
	return newReceiverOn(t, fmt.Sprintf("127.0.0.1:%d", freePort(t)))
}

func newReceiverOn(t testing.TB, address string) *receiver {
	t.Helper()
	r := &receiver{t: t, address: address, reply: with(http.StatusOK)}
	r.up()
	t.Cleanup(r.down)
	return r
}

// with answers this status; header are names and values in turn.
func with(status int, header ...string) reply {
	return func(w http.ResponseWriter, _ *arrival) {
		for i := 0; i < len(header); i += 2 {
			w.Header().Set(header[i], header[i+1])
		}
		w.WriteHeader(status)
	}
}

func (r *receiver) url() string {
	if r.tls != nil {
		return "https://" + r.address
	}
	return "http://" + r.address
}

// up begins to listen.
func (r *receiver) up() {
	r.t.Helper()
	var listener net.Listener
	eventually(r.t, func() (ok bool) {
		var err error
		listener, err = net.Listen("tcp", r.address)
		return err == nil
	}, func() string { return "cannot listen on " + r.address })
	r.server = &http.Server{
		Handler: http.HandlerFunc(r.serve),
		ConnState: func(_ net.Conn, s http.ConnState) {
			if s == http.StateNew {
				r.connections.Add(1)
			}
		},
	}
	if r.tls != nil {
		r.server.TLSConfig = r.tls.Clone()
		r.server.ErrorLog = log.New(io.Discard, "", 0) // handshakes are to fail
		go func(server *http.Server) { _ = server.ServeTLS(listener, "", "") }(r.server)
		return
	}
	go func(server *http.Server) { _ = server.Serve(listener) }(r.server)
}

// down stops listening and cuts all connections.
func (r *receiver) down() { _ = r.server.Close() }

// answer changes how requests are answered from now on.
func (r *receiver) answer(reply reply) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.reply = reply
}

func (r *receiver) serve(w http.ResponseWriter, req *http.Request) {
	body, err := io.ReadAll(req.Body)
	if err != nil {
		return // the sender was killed; nothing arrived
	}
	peer, _, _ := net.SplitHostPort(req.RemoteAddr)
	a := &arrival{at: time.Now(), peer: peer, proto: req.Proto, method: req.Method, path: req.URL.Path, header: req.Header.Clone(), body: body}
	r.mu.Lock()
	r.arrivals = append(r.arrivals, a)
	a.number = len(r.arrivals)
	reply := r.reply
	r.mu.Unlock()
	tracked := &statusWriter{ResponseWriter: w}
	reply(tracked, a)
	r.mu.Lock()
	defer r.mu.Unlock()
	a.status, a.answered = tracked.status, time.Now()
}

// statusWriter notes what was answered.
type statusWriter struct {
	http.ResponseWriter
	status int
}

func (w *statusWriter) WriteHeader(status int) {
	w.status = status
	w.ResponseWriter.WriteHeader(status)
}

func (w *statusWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// hijack takes the connection over, to answer in ways that no server should.
func hijack(w http.ResponseWriter) (*net.TCPConn, error) {
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return nil, err
	}
	return conn.(*net.TCPConn), nil
}

// got returns what came so far, in order.
func (r *receiver) got() []arrival {
	r.mu.Lock()
	defer r.mu.Unlock()
	all := make([]arrival, len(r.arrivals))
	for i, a := range r.arrivals {
		all[i] = *a
	}
	return all
}

// count returns how many came so far.
func (r *receiver) count() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.arrivals)
}

// want waits for n requests and returns all that came.
func (r *receiver) want(n int) []arrival {
	r.t.Helper()
	eventually(r.t, func() bool { return r.count() >= n }, func() string {
		return fmt.Sprintf("%s got %d requests; want %d", r.address, r.count(), n)
	})
	return r.got()
}

// wantExactly is want, and fails if there are more.
func (r *receiver) wantExactly(n int) []arrival {
	r.t.Helper()
	got := r.want(n)
	if len(got) != n {
		r.t.Fatalf("%s got %d requests; want %d: %+v", r.address, len(got), n, got)
	}
	return got
}

// wantSilence fails if anybody ever connected.
func (r *receiver) wantSilence(who string) {
	r.t.Helper()
	if n := r.connections.Load(); n != 0 {
		r.t.Errorf("%s got %d connections; want none: %+v", who, n, r.got())
	}
}

// newSecret returns a fresh secret of Standard Webhooks.
func newSecret() string {
	key := make([]byte, 32)
	_, _ = rand.Read(key)
	return "whsec_" + base64.StdEncoding.EncodeToString(key)
}

// tolerance is how old a message may be for receivers: what libraries take for it.
const tolerance = 5 * time.Minute

// verify checks an arrival with the library that receivers use, as of the moment when it came:
// a test may take longer than the tolerance.
func verify(secret string, a *arrival) error {
	webhook, err := standardwebhooks.NewWebhook(secret)
	if err != nil {
		return err
	}
	if n := len(strings.Fields(a.header.Get("webhook-signature"))); n == 0 {
		return fmt.Errorf("there is no webhook-signature")
	}
	if err := webhook.VerifyIgnoringTimestamp(a.body, a.header); err != nil {
		return err
	}
	seconds, err := strconv.ParseInt(a.header.Get("webhook-timestamp"), 10, 64)
	if err != nil {
		return err
	}
	if off := a.at.Sub(time.Unix(seconds, 0)).Abs(); off > tolerance {
		return fmt.Errorf("its webhook-timestamp is %s from when it came", off)
	}
	return nil
}

// gate holds requests until it is opened.
type gate struct {
	opened chan struct{}
	once   sync.Once
}

func newGate(t testing.TB) *gate {
	g := &gate{opened: make(chan struct{})}
	t.Cleanup(g.open)
	return g
}

func (g *gate) open() { g.once.Do(func() { close(g.opened) }) }

// then answers with next once the gate is open.
func (g *gate) then(next reply) reply {
	return func(w http.ResponseWriter, a *arrival) {
		ctx, cancel := context.WithTimeout(context.Background(), 2*patience)
		defer cancel()
		select {
		case <-g.opened:
		case <-ctx.Done():
		}
		next(w, a)
	}
}
