package egress

import (
	"crypto/tls"
	"errors"
	"net/http"
	"sync"
	"time"

	"github.com/caddyrelay/caddyrelay/relay/httpcommon"
)

// TransportOptions are what differs between transports. The zero value is good.
type TransportOptions struct {
	// TLS is copied. Versions below 1.2 are not spoken whatever it says.
	TLS *tls.Config
}

// How many idle connections to one destination are kept: as many as there may be requests
// at a time, or else each burst of them connects anew. With 1,024 at most a fan-out to ten
// subscriptions of one receiver did, under full load.
const (
	leastIdlePerHost = 16
	mostIdlePerHost  = 4096
)

// Transport makes HTTP requests whose connections are all made by one [Dialer]. Kept
// connections belong to the addresses that they leave from: what waits in the pool of an
// address is used for no new request once that address is out of use, whatever the
// connection itself would still do.
//
// Proxies of the environment are ignored: one would make the connections in our place,
// from its own address, and the guard would judge the proxy. Redirects are not followed,
// since a transport never does; a client on top of it has to be told.
//
// Close idle connections when it is no longer used.
type Transport struct {
	dialer *Dialer
	tls    *tls.Config
	// expected requests at a time to each host, and the idle connections to be kept.
	expected map[string]int
	idle     int

	mu    sync.RWMutex
	pools map[sources]*pool
}

// NewTransport makes a transport over d.
func NewTransport(d *Dialer, o TransportOptions) *Transport {
	t := &Transport{
		dialer: d, tls: &tls.Config{}, expected: make(map[string]int), idle: leastIdlePerHost, pools: make(map[sources]*pool),
	}
	if o.TLS != nil {
		t.tls = o.TLS.Clone()
	}
	t.tls.MinVersion = max(t.tls.MinVersion, tls.VersionTLS12)
	if t.tls.NextProtos == nil {
		t.tls.NextProtos = []string{"h2", "http/1.1"}
	}
	return t
}

// Expect says that up to n requests more may be made at a time to host, "host:port". The
// idle connections of all who use the transport are kept accordingly. It must not be called
// once the transport is in use.
func (t *Transport) Expect(host string, n int) {
	t.expected[host] += n
	t.idle = min(max(t.idle, t.expected[host]), mostIdlePerHost)
}

// RoundTrip implements [http.RoundTripper]. Its errors are those of
// [Dialer.DialContext], and those of [http.Transport].
func (t *Transport) RoundTrip(req *http.Request) (resp *http.Response, err error) {
	err = t.try(req, func(p *pool, req *http.Request) error {
		resp, err = p.roundTrip(req) //nolint:bodyclose // that is for the caller
		return err
	})
	return resp, err
}

// try makes a request by the pool of the sources that the region picks for its host.
func (t *Transport) try(req *http.Request, send func(*pool, *http.Request) error) error {
	trial := trial{dialer: t.dialer, host: req.URL.Hostname()}
	for {
		from, err := trial.next()
		if err != nil {
			httpcommon.CloseBody(req) // nothing was read
			return err
		}
		err = send(t.pool(from), req)
		if err == nil || !trial.again(err) {
			return err
		}
		if req, err = rewound(req); err != nil {
			return err
		}
	}
}

// rewound returns the request as it was before a round trip that sent nothing.
func rewound(req *http.Request) (*http.Request, error) {
	if req.Body == nil || req.Body == http.NoBody {
		return req, nil
	}
	if req.GetBody == nil {
		return nil, errors.New("the address that the request was to leave from is gone, and its body cannot be read again")
	}
	body, err := req.GetBody()
	if err != nil {
		return nil, err
	}
	again := *req
	again.Body = body
	return &again, nil
}

// pool returns the pool of the connections that leave from certain addresses.
func (t *Transport) pool(from sources) *pool {
	t.mu.RLock()
	p := t.pools[from]
	t.mu.RUnlock()
	if p != nil {
		return p
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.pools[from] == nil {
		t.pools[from] = t.newPool(from)
	}
	return t.pools[from]
}

// CloseIdleConnections closes what is kept. Requests under way go on.
func (t *Transport) CloseIdleConnections() {
	t.mu.RLock()
	defer t.mu.RUnlock()
	for _, p := range t.pools {
		p.closeIdle()
	}
}

// CloseUnusable closes what is kept of addresses that are out of use, by the clock or
// because a [Watch] has seen them go. It would not be used any more in any case.
func (t *Transport) CloseUnusable() {
	now := time.Now()
	t.mu.Lock()
	defer t.mu.Unlock()
	for from, p := range t.pools {
		if r := t.dialer.Region; r != nil && !r.usable(from, now) {
			p.closeIdle()
			delete(t.pools, from) // what is under way is closed when it has ended
		}
	}
}

var _ http.RoundTripper = (*Transport)(nil)
