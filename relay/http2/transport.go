package http2

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/caddyrelay/caddyrelay/relay/httpcommon"
)

// Defaults of a [Transport].
const (
	DefaultIdleTimeout    = 90 * time.Second
	DefaultPingAfter      = 10 * time.Second
	DefaultPingTimeout    = 5 * time.Second
	DefaultMaxHeaderBytes = 64 << 10
)

// MaxBody is the largest body of a request, in bytes: what fits into one frame of any server
// (RFC 9113, section 4.2).
const MaxBody = 16 << 10

// Transport makes requests, and keeps connections for the next ones. Its fields are not
// changed once it is in use; then any number of goroutines may use it. It follows no
// redirects, inflates nothing, takes no pushes and knows no proxies.
//
// A connection carries as many requests at a time as its server lets it; another one is
// made when all are full.
type Transport struct {
	// Dial connects by TLS to "host:port", to speak HTTP/2. It is required.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
	// IdleTimeout is how long an idle connection is kept. Default: 90s.
	IdleTimeout time.Duration
	// A connection on which nothing was heard for PingAfter is pinged, and given up if
	// PingTimeout later there is no answer. So is, at once, one on which nothing was heard since
	// a request began whose time has ended; it takes no further ones. Defaults: 10s and 5s.
	PingAfter, PingTimeout time.Duration
	// MaxHeaderBytes bounds the header of an answer, as RFC 9113 counts it (section 6.5.2).
	// Default: 64 KiB.
	MaxHeaderBytes uint32

	mu    sync.Mutex
	hosts map[string]*host
}

// host is what there is for one "host:port".
type host struct {
	conns   []*conn
	dialing *dialing // nil: nobody connects
	// freed has something when places have become free on its connections.
	freed chan struct{}
}

// mostFreed is for how many places that became free at a time those who wait are woken.
const mostFreed = 64

// dialing is a connection that is being made. Whoever needs one meanwhile waits for it.
type dialing struct {
	done chan struct{}
	err  error // nil also if it says nothing about the server
}

// RoundTrip implements [http.RoundTripper] for requests whose body has a known length of at
// most [MaxBody]. The request ends with its context, however far it is. The body of the
// answer must be closed. See [Transport.Do].
func (t *Transport) RoundTrip(req *http.Request) (*http.Response, error) {
	deadline, _ := req.Context().Deadline()
	resp, _, err := t.do(req.Context(), deadline, req, httpcommon.Repeatable(req))
	return resp, err
}

// Do is RoundTrip of a request that may be repeated, with the deadline beside the context, which
// saves a timer, and with the connection that was used last; nil if there was none. The request's
// own context is not looked at. A zero deadline is none.
//
// A request is made again, at most twice, if the server has said that it did nothing with it
// (RFC 9113, section 8.7). One that may be repeated (its header has the key Idempotency-Key, be
// it without values, as [http.Transport] has it) is so, too, if a connection that has carried
// answers turns out to be closed, and nothing was heard on it since the request began.
//
// Errors: those of Dial; [context.DeadlineExceeded] or the context's own; [net.Error];
// those of the protocol.
func (t *Transport) Do(ctx context.Context, deadline time.Time, req *http.Request) (*http.Response, net.Conn, error) {
	return t.do(ctx, deadline, req, true)
}

func (t *Transport) do(ctx context.Context, deadline time.Time, req *http.Request, repeatable bool) (*http.Response, net.Conn, error) {
	defer httpcommon.CloseBody(req)
	if req.ContentLength > MaxBody {
		return nil, nil, fmt.Errorf("a body of %d bytes, more than %d", req.ContentLength, MaxBody)
	}
	m := messages.Get().(*message)
	defer messages.Put(m)
	if err := m.compose(req); err != nil {
		return nil, nil, err
	}
	address := httpcommon.Address(req)
	for try := 1; ; try++ {
		if ctx.Err() != nil {
			return nil, nil, context.Cause(ctx)
		}
		var resp *http.Response
		var conn net.Conn
		c, err := t.connection(ctx, deadline, address)
		if c != nil {
			conn = c.Conn
		}
		if err == nil {
			resp, err = c.roundTrip(ctx, deadline, req, m, repeatable)
		}
		if _, ok := errors.AsType[*unprocessedError](err); !ok || try == mostTries {
			return resp, conn, err
		}
	}
}

// mostTries bounds how often a request is made with which servers say that they did nothing.
const mostTries = 3

// unprocessedError is that a request had no effect: it may be made again.
type unprocessedError struct{ error }

// Unwrap returns what happened.
func (e *unprocessedError) Unwrap() error { return e.error }

// connection returns one on which there is a place for a stream, which it has reserved. With an
// error it may return one that came to nothing.
func (t *Transport) connection(ctx context.Context, deadline time.Time, address string) (*conn, error) {
	var failed error // why there is no further connection
	for {
		t.mu.Lock()
		h := t.host(address)
		for _, c := range h.conns {
			if c.reserve() {
				t.mu.Unlock()
				return c, nil
			}
		}
		d := h.dialing
		if d == nil && failed == nil {
			h.dialing = &dialing{done: make(chan struct{})}
			t.mu.Unlock()
			return t.dial(ctx, deadline, address, h)
		}
		t.drop(address)
		t.mu.Unlock()
		if failed != nil {
			return nil, failed
		}
		if err := h.wait(ctx, deadline, d); err != nil {
			return nil, err
		}
		select {
		case <-d.done:
			failed = d.err
		default: // a place has become free
		}
	}
}

// host returns that of an address. The lock is held.
func (t *Transport) host(address string) *host {
	h := t.hosts[address]
	if h == nil {
		if t.hosts == nil {
			t.hosts = make(map[string]*host)
		}
		h = &host{freed: make(chan struct{}, mostFreed)}
		t.hosts[address] = h
	}
	return h
}

// wait returns when there may be a place: on the connection that is made, or on another one.
func (h *host) wait(ctx context.Context, deadline time.Time, d *dialing) error {
	ctx, cancel := httpcommon.Until(ctx, deadline)
	defer cancel()
	select {
	case <-d.done:
	case <-h.freed:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	return nil
}

// dial connects, for all who wait.
func (t *Transport) dial(ctx context.Context, deadline time.Time, address string, h *host) (c *conn, err error) {
	ctx, cancel := httpcommon.Until(ctx, deadline)
	defer cancel()
	err = errors.New("connecting has ended in a panic") // what is left of it if it does
	defer func() {
		t.mu.Lock()
		d := h.dialing
		h.dialing = nil
		made := c
		if err == nil {
			if err = c.first(); err == nil {
				h.conns = append(h.conns, c)
			}
		}
		// What ended with this request says nothing to the others. A socket's deadline may come
		// before the context notices.
		if ctx.Err() == nil && (deadline.IsZero() || time.Now().Before(deadline)) {
			d.err = err
		}
		t.drop(address)
		t.mu.Unlock()
		close(d.done)
		if made != nil && err != nil {
			made.retire()
		}
	}()
	return t.connect(ctx, address, h.freed)
}

// forget takes a connection out, which is closed.
func (t *Transport) forget(c *conn) {
	t.mu.Lock()
	defer t.mu.Unlock()
	h := t.hosts[c.address]
	if h == nil {
		return
	}
	for i := range h.conns {
		if h.conns[i] == c {
			h.conns = append(h.conns[:i], h.conns[i+1:]...)
			break
		}
	}
	t.drop(c.address)
}

// drop forgets a host for which there is nothing. The lock is held.
func (t *Transport) drop(address string) {
	if h := t.hosts[address]; h != nil && len(h.conns) == 0 && h.dialing == nil {
		delete(t.hosts, address)
	}
}

// CloseIdleConnections closes the connections that no request uses. Those of requests under
// way take no others, and are closed when these have ended.
func (t *Transport) CloseIdleConnections() {
	t.mu.Lock()
	var all []*conn
	for _, h := range t.hosts {
		all = append(all, h.conns...)
	}
	t.mu.Unlock()
	for _, c := range all {
		c.retire()
	}
}

func (t *Transport) idleTimeout() time.Duration { return cmp.Or(t.IdleTimeout, DefaultIdleTimeout) }
func (t *Transport) pingAfter() time.Duration   { return cmp.Or(t.PingAfter, DefaultPingAfter) }
func (t *Transport) pingTimeout() time.Duration { return cmp.Or(t.PingTimeout, DefaultPingTimeout) }
