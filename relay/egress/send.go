package egress

import (
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"time"
)

// Send makes a request, which ends with its context and at its deadline, and whose own
// context is not looked at. It also returns the connection that was used last, nil if there
// was none. The body of the answer must be closed.
//
// The request may be made again on a new connection when a kept one turns out to be dead:
// that is no attempt, since the endpoint has answered nothing on it.
//
// It is what deliveries are made with: a [Transport] needs neither timer nor trace for a
// small request. Of another [http.RoundTripper] the same is had in the usual way.
func Send(ctx context.Context, rt http.RoundTripper, deadline time.Time, req *http.Request) (resp *http.Response, conn net.Conn, err error) {
	t, ok := rt.(*Transport)
	if !ok {
		return sendTraced(ctx, rt, deadline, req)
	}
	err = t.try(req, func(p *pool, req *http.Request) error {
		resp, conn, err = p.send(ctx, deadline, req) //nolint:bodyclose // that is for the caller
		return err
	})
	return resp, conn, err
}

func sendTraced(ctx context.Context, rt http.RoundTripper, deadline time.Time, req *http.Request) (*http.Response, net.Conn, error) {
	if _, ok := req.Header[idempotencyKey]; !ok {
		req.Header[idempotencyKey] = nil
	}
	var conn net.Conn
	ctx, cancel := context.WithDeadline(ctx, deadline)
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		GotConn: func(c httptrace.GotConnInfo) {
			if kept, ok := c.Conn.(*Conn); ok {
				kept.forget() // it may end before anything of this request is written
			}
			conn = c.Conn
		},
	})
	resp, err := rt.RoundTrip(req.WithContext(ctx))
	if err != nil {
		cancel()
		return nil, conn, alertOr(err, conn)
	}
	resp.Body = &cancelled{resp.Body, cancel}
	return resp, conn, nil
}

// An empty list under this key is not sent. It tells net/http that the request may be made
// again.
const idempotencyKey = "Idempotency-Key"

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
