package egress

import (
	"context"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"time"

	"github.com/caddyrelay/caddyrelay/relay/http1"
)

// TransportOptions are what differs between transports. The zero value is good.
type TransportOptions struct {
	// MaxIdlePerHost is how many idle connections to one destination are kept.
	// With fewer than there are deliveries at a time, each burst connects anew.
	// Default: 16.
	MaxIdlePerHost int
	// TLS is copied. Versions below 1.2 are not spoken whatever it says.
	TLS *tls.Config
}

// A connection of HTTP/2 on which nothing was heard for so long is pinged, and given up if
// there is no answer. Both together are the default timeout of an attempt.
const (
	pingAfter   = 10 * time.Second
	pingTimeout = 5 * time.Second
)

// DefaultMaxIdlePerHost is how many deliveries of a subscription are in flight by
// default.
const DefaultMaxIdlePerHost = 16

// Transport makes requests over connections of a [Dialer]: small ones by http with package
// http1, which costs half as much, everything else with net/http.
type Transport struct {
	*http.Transport
	small *http1.Transport
}

// Send makes a request, which ends with its context and at its deadline, and whose own
// context is not looked at. It also returns the connection that was used last, nil if there
// was none. The body of the answer must be closed.
//
// It is what deliveries are made with: a [Transport] needs neither timer nor trace for a
// small request. Of another [http.RoundTripper] the same is had in the usual way.
func Send(ctx context.Context, rt http.RoundTripper, deadline time.Time, req *http.Request) (*http.Response, net.Conn, error) {
	if t, ok := rt.(*Transport); ok {
		if http1.Takes(req) {
			return t.small.Do(ctx, deadline, req)
		}
		rt = t.Transport
	}
	var conn net.Conn
	ctx, cancel := context.WithDeadline(ctx, deadline)
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		GotConn: func(c httptrace.GotConnInfo) { conn = c.Conn },
	})
	resp, err := rt.RoundTrip(req.WithContext(ctx))
	if err != nil {
		cancel()
		return nil, conn, err
	}
	resp.Body = &cancelled{resp.Body, cancel}
	return resp, conn, nil
}

// cancelled is a body whose context ends when it is closed.
type cancelled struct {
	io.ReadCloser
	cancel context.CancelFunc
}

// Close implements [io.Closer].
func (c *cancelled) Close() error {
	defer c.cancel()
	return c.ReadCloser.Close()
}

// RoundTrip implements [http.RoundTripper].
func (t *Transport) RoundTrip(req *http.Request) (*http.Response, error) {
	if http1.Takes(req) {
		return t.small.RoundTrip(req)
	}
	return t.Transport.RoundTrip(req)
}

// CloseIdleConnections closes the connections that no request uses.
func (t *Transport) CloseIdleConnections() {
	t.small.CloseIdleConnections()
	t.Transport.CloseIdleConnections()
}

// What all connections have in common.
const (
	idleTimeout    = 90 * time.Second
	maxHeaderBytes = 64 << 10
)

// NewTransport makes a transport whose connections are all made by d. Proxies
// of the environment are ignored: one would make the connections in our place,
// from its own address, and the guard would judge the proxy.
//
// The transport follows no redirects, since a transport never does; a client on
// top of it has to be told. Close idle connections when it is no longer used.
func NewTransport(d *Dialer, o TransportOptions) *Transport {
	idle := o.MaxIdlePerHost
	if idle <= 0 {
		idle = DefaultMaxIdlePerHost
	}
	config := &tls.Config{}
	if o.TLS != nil {
		config = o.TLS.Clone()
	}
	config.MinVersion = max(config.MinVersion, tls.VersionTLS12)
	if config.NextProtos == nil {
		config.NextProtos = []string{"h2", "http/1.1"}
	}
	small := &http1.Transport{Dial: d.dialPlain, MaxIdlePerHost: idle, IdleTimeout: idleTimeout, MaxHeaderBytes: maxHeaderBytes}
	return &Transport{small: small, Transport: &http.Transport{
		Proxy:           nil,
		DialContext:     d.dialPlain,
		DialTLSContext:  d.dialTLS(config),
		TLSClientConfig: config,
		// A response is read for its beginning only; inflating it is work for
		// nothing, and a bomb is work without end.
		DisableCompression: true,
		// Without it a transport with a dialer of its own speaks HTTP/1 alone.
		ForceAttemptHTTP2: true,
		// A connection that the other side dropped silently is found by a ping,
		// rather than by the next delivery's deadline.
		HTTP2:                  &http.HTTP2Config{SendPingTimeout: pingAfter, PingTimeout: pingTimeout},
		MaxIdleConns:           0, // no limit over all: MaxIdlePerHost is enough
		MaxIdleConnsPerHost:    idle,
		IdleConnTimeout:        idleTimeout,
		MaxResponseHeaderBytes: maxHeaderBytes,
		// The headers and body of a webhook of 1 KiB leave in one write.
		WriteBufferSize: 4 << 10,
		ReadBufferSize:  4 << 10,
	}}
}
