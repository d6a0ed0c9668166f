package egress

import (
	"net/http"
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
// http with package http1, which costs half as much, everything else with net/http.
type pool struct {
	small *http1.Transport
	other *http.Transport
}

func (t *Transport) newPool(from sources) *pool {
	small := &http1.Transport{Dial: t.dialPlain(from), MaxIdlePerHost: t.idle, IdleTimeout: idleTimeout, MaxHeaderBytes: maxHeaderBytes}
	return &pool{small: small, other: &http.Transport{
		Proxy:           nil,
		DialContext:     t.dialPlain(from),
		DialTLSContext:  t.dialTLS(from),
		TLSClientConfig: t.tls,
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

func (p *pool) roundTrip(req *http.Request) (*http.Response, error) {
	if http1.Takes(req) {
		return p.small.RoundTrip(req)
	}
	return p.other.RoundTrip(req)
}

// closeIdle closes the connections that no request uses. Those of requests under way are
// closed when these have ended, unless others have begun by then.
func (p *pool) closeIdle() {
	p.small.CloseIdleConnections()
	p.other.CloseIdleConnections()
}
