package egress

import (
	"context"
	"errors"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/caddyrelay/caddyrelay/relay/http1"
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

// pool makes requests over connections that leave from certain addresses: small ones by
// HTTP/1.1 with package http1, which costs half as much, everything else with net/http.
type pool struct {
	// plain and secure make the small requests of http and https.
	plain, secure *http1.Transport
	other         *http.Transport

	mu sync.RWMutex
	// modern are the hosts, "host" or "host:port", that have chosen HTTP/2 when last asked.
	modern map[string]struct{}
}

func (t *Transport) newPool(from sources) *pool {
	small := func(dial func(context.Context, string, string) (net.Conn, error)) *http1.Transport {
		return &http1.Transport{Dial: dial, MaxIdlePerHost: t.idle, IdleTimeout: idleTimeout, MaxHeaderBytes: maxHeaderBytes}
	}
	return &pool{plain: small(t.dialPlain(from)), secure: small(t.dialSecure(from)), other: &http.Transport{
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

// small returns what makes a small request by HTTP/1.1; nil: net/http makes it.
func (p *pool) small(req *http.Request) *http1.Transport {
	switch {
	case !http1.Takes(req):
		return nil
	case req.URL.Scheme == "http":
		return p.plain
	case p.speaksHTTP2(req.URL.Host) || req.Body != nil && req.GetBody == nil: // it is read before the handshake
		return nil
	}
	return p.secure
}

func (p *pool) speaksHTTP2(host string) bool {
	p.mu.RLock()
	defer p.mu.RUnlock()
	_, ok := p.modern[host]
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
		delete(p.modern, host)
		return
	}
	if p.modern == nil {
		p.modern = make(map[string]struct{})
	}
	p.modern[host] = struct{}{}
}

func (p *pool) roundTrip(req *http.Request) (*http.Response, error) {
	if small := p.small(req); small != nil {
		resp, err := small.RoundTrip(req)
		found, ok := errors.AsType[*http2Error](err)
		if !ok {
			return resp, err
		}
		p.learn(req.URL.Host, true) // now: the answer may take long
		defer found.closeUnused()
		if req, err = rewound(req); err != nil {
			return nil, err
		}
		req = req.WithContext(found.offered(req.Context()))
	}
	resp, err := p.other.RoundTrip(req)
	p.note(req, resp)
	return resp, err
}

// send is roundTrip for [Send].
func (p *pool) send(ctx context.Context, deadline time.Time, req *http.Request) (*http.Response, net.Conn, error) {
	if small := p.small(req); small != nil {
		resp, conn, err := small.Do(ctx, deadline, req)
		found, ok := errors.AsType[*http2Error](err)
		if !ok {
			return resp, conn, err
		}
		p.learn(req.URL.Host, true) // now: the answer may take long
		defer found.closeUnused()
		if req, err = rewound(req); err != nil {
			return nil, nil, err
		}
		ctx = found.offered(ctx)
	}
	resp, conn, err := sendTraced(ctx, p.other, deadline, req)
	p.note(req, resp)
	return resp, conn, err
}

// closeIdle closes the connections that no request uses. Those of requests under way are
// closed when these have ended, unless others have begun by then.
func (p *pool) closeIdle() {
	p.plain.CloseIdleConnections()
	p.secure.CloseIdleConnections()
	p.other.CloseIdleConnections()
}
