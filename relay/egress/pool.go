package egress

import (
	"context"
	"errors"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/caddyrelay/caddyrelay/relay/http1"
	"github.com/caddyrelay/caddyrelay/relay/http2"
)

// What all connections have in common.
const (
	idleTimeout    = 90 * time.Second
	maxHeaderBytes = 64 << 10
)

// A connection of HTTP/2 on which nothing was heard for so long is pinged, and given up if
// there is no answer. Both together are the default timeout of an attempt.
const (
	pingAfter   = 10 * time.Second
	pingTimeout = 5 * time.Second
)

// pool makes requests over connections that leave from certain addresses: small ones with
// packages http1 and http2, which costs half as much, everything else with net/http.
type pool struct {
	// plain and secure make the small requests of http and https, modern those to servers that
	// choose HTTP/2.
	plain, secure *http1.Transport
	modern        *http2.Transport
	other         *http.Transport

	mu sync.RWMutex
	// choosing are the hosts, "host" or "host:port", that have chosen HTTP/2 when last asked.
	choosing map[string]struct{}
}

// client makes small requests.
type client interface {
	http.RoundTripper
	Do(ctx context.Context, deadline time.Time, req *http.Request) (*http.Response, net.Conn, error)
}

func (t *Transport) newPool(from sources) *pool {
	small := func(dial func(context.Context, string, string) (net.Conn, error)) *http1.Transport {
		return &http1.Transport{Dial: dial, MaxIdlePerHost: t.idle, IdleTimeout: idleTimeout, MaxHeaderBytes: maxHeaderBytes}
	}
	modern := &http2.Transport{
		Dial: t.dialHTTP2(from), IdleTimeout: idleTimeout, PingAfter: pingAfter, PingTimeout: pingTimeout, MaxHeaderBytes: maxHeaderBytes,
	}
	return &pool{plain: small(t.dialPlain(from)), secure: small(t.dialSecure(from)), modern: modern, other: &http.Transport{
		Proxy:          nil,
		DialContext:    t.dialPlain(from),
		DialTLSContext: t.dialTLS(from),
		// Its own, since net/http writes to it with the first request.
		TLSClientConfig: t.tls.Clone(),
		// A response is read for its beginning only; inflating it is work for
		// nothing, and a bomb is work without end.
		DisableCompression: true,
		// Without it a transport with a dialer of its own speaks HTTP/1 alone.
		ForceAttemptHTTP2: true,
		// A connection that the other side dropped silently is found by a ping,
		// rather than by the next delivery's deadline.
		HTTP2:                  &http.HTTP2Config{SendPingTimeout: pingAfter, PingTimeout: pingTimeout},
		MaxIdleConns:           0, // no limit over all: MaxIdleConnsPerHost is enough
		MaxIdleConnsPerHost:    t.idle,
		IdleConnTimeout:        idleTimeout,
		MaxResponseHeaderBytes: maxHeaderBytes,
		// The headers and body of a webhook of 1 KiB leave in one write.
		WriteBufferSize: 4 << 10,
		ReadBufferSize:  4 << 10,
	}}
}

// small returns what makes a small request; nil: net/http makes it.
func (p *pool) small(req *http.Request) client {
	switch {
	case !http1.Takes(req):
		return nil
	case req.URL.Scheme == "http":
		return p.plain
	case req.Body != nil && req.GetBody == nil: // it is read before the handshake
		return nil
	case p.speaksHTTP2(req.URL.Host):
		return p.modern
	}
	return p.secure
}

func (p *pool) speaksHTTP2(host string) bool {
	p.mu.RLock()
	defer p.mu.RUnlock()
	_, ok := p.choosing[host]
	return ok
}

// note learns from the answer to a request that net/http made. resp may be nil.
func (p *pool) note(req *http.Request, resp *http.Response) {
	if resp == nil || req.URL.Scheme != "https" {
		return
	}
	p.learn(req.URL.Host, resp.ProtoMajor == 2)
}

// learn keeps in mind what a host speaks.
func (p *pool) learn(host string, http2 bool) {
	if p.speaksHTTP2(host) == http2 {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if !http2 {
		delete(p.choosing, host)
		return
	}
	if p.choosing == nil {
		p.choosing = make(map[string]struct{})
	}
	p.choosing[host] = struct{}{}
}

// roundTrip makes a request that ends with its context.
func (p *pool) roundTrip(req *http.Request) (*http.Response, error) {
	resp, _, err := p.choose(req.Context(), req, func(ctx context.Context, c client, req *http.Request) (*http.Response, net.Conn, error) {
		if ctx != req.Context() {
			req = req.WithContext(ctx)
		}
		if c != nil {
			resp, err := c.RoundTrip(req)
			return resp, nil, err
		}
		resp, err := p.other.RoundTrip(req)
		p.note(req, resp)
		return resp, nil, err
	})
	return resp, err
}

// send is roundTrip for [Send].
func (p *pool) send(ctx context.Context, deadline time.Time, req *http.Request) (*http.Response, net.Conn, error) {
	return p.choose(ctx, req, func(ctx context.Context, c client, req *http.Request) (*http.Response, net.Conn, error) {
		if c != nil {
			return c.Do(ctx, deadline, req)
		}
		resp, conn, err := sendTraced(ctx, p.other, deadline, req)
		p.note(req, resp)
		return resp, conn, err
	})
}

// choose makes a request by the client that speaks what its server has chosen before. If it
// chooses another protocol now, the connection is offered to who speaks that, and at last to
// net/http, which is nil and speaks both.
func (p *pool) choose(
	ctx context.Context, req *http.Request, send func(context.Context, client, *http.Request) (*http.Response, net.Conn, error),
) (*http.Response, net.Conn, error) {
	for range 2 {
		small := p.small(req)
		resp, conn, err := send(ctx, small, req)
		found, ok := errors.AsType[*chosenError](err)
		if !ok {
			return resp, conn, err
		}
		p.learn(req.URL.Host, found.http2()) // now: the answer may take long
		defer found.closeUnused()
		if req, err = rewound(req); err != nil {
			return nil, nil, err
		}
		ctx = found.offered(ctx)
	}
	return send(ctx, nil, req)
}

// closeIdle closes the connections that no request uses. Those of requests under way are
// closed when these have ended, unless others have begun by then.
func (p *pool) closeIdle() {
	p.plain.CloseIdleConnections()
	p.secure.CloseIdleConnections()
	p.modern.CloseIdleConnections()
	p.other.CloseIdleConnections()
}
