package http1

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"time"

	"github.com/caddyrelay/caddyrelay/relay/httpcommon"
)

// Defaults of a [Transport].
const (
	DefaultMaxIdlePerHost = 16
	DefaultIdleTimeout    = 90 * time.Second
	DefaultMaxHeaderBytes = 64 << 10
)

// MaxBody is the largest body that [Transport.Takes] lets pass, in bytes. It is written
// before the answer is read: one that does not fit into the kernel's buffers could wait
// for a receiver that has answered already and reads no more.
const MaxBody = 16 << 10

// Transport makes requests, and keeps connections for the next ones. Its fields are not
// changed once it is in use; then any number of goroutines may use it. It follows no
// redirects, inflates nothing and knows no proxies.
//
// What it speaks over is for Dial: requests of https need one that connects by TLS, and a
// Transport of their own.
type Transport struct {
	// Dial connects to "host:port". It is required.
	//
	// A connection may have more than the methods of [net.Conn]: Socket() net.Conn is the one
	// that the kernel knows; Pending() bool tells, without waiting, whether the connection has
	// read more than it handed on, or has ended: then it is not kept.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
	// MaxIdlePerHost is how many idle connections to one destination are kept.
	// Default: 16.
	MaxIdlePerHost int
	// IdleTimeout is how long an idle connection is kept. Default: 90s.
	IdleTimeout time.Duration
	// MaxHeaderBytes bounds the header of an answer. Default: 64 KiB.
	MaxHeaderBytes int64

	idle pool
}

// Takes reports whether a request may be given to [Transport.RoundTrip]: its body has a
// known length of at most [MaxBody], and it neither changes the protocol nor closes its
// connection.
func Takes(req *http.Request) bool {
	body := req.Body != nil && req.Body != http.NoBody
	return (req.URL.Scheme == "http" || req.URL.Scheme == "https") && body == (req.ContentLength > 0) && req.ContentLength <= MaxBody &&
		!req.Close && req.TransferEncoding == nil && req.Trailer == nil && req.Header["Upgrade"] == nil
}

// RoundTrip implements [http.RoundTripper] for requests that [Takes] lets pass. The
// request ends with its context, however far it is. The body of the answer must be closed;
// if it was read to its end the connection is kept.
//
// A request that may be repeated (its header has the key Idempotency-Key, be it without
// values, as [http.Transport] has it) is made again on a new connection when a kept one
// turns out to be closed: the receiver has answered nothing on it.
//
// Errors: those of Dial; [context.DeadlineExceeded] or the context's own; [net.Error].
func (t *Transport) RoundTrip(req *http.Request) (*http.Response, error) {
	ctx := req.Context()
	deadline, _ := ctx.Deadline()
	resp, _, err := t.do(ctx, deadline, req, manner{repeatable: httpcommon.Repeatable(req)})
	return resp, err
}

// Do is RoundTrip of a request that may be repeated, with the deadline beside the context,
// which saves a timer, and with the connection that was used last; nil if there was none.
// The request's own context is not looked at; ctx should be one that many requests share,
// since an idle connection keeps it for the next. A zero deadline is none. The header of the
// answer must not be changed: the next answer on the connection may have the same.
func (t *Transport) Do(ctx context.Context, deadline time.Time, req *http.Request) (*http.Response, net.Conn, error) {
	return t.do(ctx, deadline, req, manner{repeatable: true, shared: true})
}

// manner is how a request is made.
type manner struct {
	// repeatable says that it may be made again, on a new connection.
	repeatable bool
	// shared says that others have the same context.
	shared bool
}

func (t *Transport) do(ctx context.Context, deadline time.Time, req *http.Request, how manner) (*http.Response, net.Conn, error) {
	defer httpcommon.CloseBody(req)
	message := messages.Get().(*[]byte)
	defer messages.Put(message)
	var err error
	if *message, err = compose((*message)[:0], req); err != nil {
		return nil, nil, err
	}
	address := httpcommon.Address(req)
	c, reused := t.idle.take(address, how.repeatable), true
	for {
		if c == nil {
			if c, err = t.connect(ctx, deadline, address); err != nil {
				return nil, nil, err
			}
			reused = false
		}
		var resp *http.Response
		var asked net.Conn // one on which nothing was written tells of the request before
		if err = c.begin(ctx, deadline, how.shared); err == nil {
			asked = c.Conn
			resp, err = c.roundTrip(req, *message)
		}
		if err == nil {
			return resp, asked, nil
		}
		_ = c.Close() // it is of no use, whatever is wrong with it
		if !reused || c.heard || !how.repeatable || !closedBefore(err) {
			return nil, asked, ended(ctx, deadline, err)
		}
		c = nil
	}
}

// CloseIdleConnections closes the connections that no request uses.
func (t *Transport) CloseIdleConnections() { t.idle.clear() }

func (t *Transport) connect(ctx context.Context, deadline time.Time, address string) (*conn, error) {
	ctx, cancel := httpcommon.Until(ctx, deadline)
	defer cancel()
	raw, err := t.Dial(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	return newConn(t, raw, address), nil
}

// roundTrip writes the request that has begun, which is message, and reads the header of its
// answer.
func (c *conn) roundTrip(req *http.Request, message []byte) (*http.Response, error) {
	_, wrote := c.Write(message)
	// A receiver may have answered before it closed its side: that counts.
	resp, err := c.readHeader(req)
	if err != nil {
		if wrote != nil && !httpcommon.Alerted(err) {
			err = wrote
		}
		return nil, err
	}
	if wrote != nil {
		resp.Close = true
	}
	c.release(resp)
	return resp, nil
}

// ended returns the error with what is known of the context: its end comes as an error of
// the connection.
func ended(ctx context.Context, deadline time.Time, err error) error {
	if cause := context.Cause(ctx); cause != nil {
		return fmt.Errorf("%w (%w)", cause, err)
	}
	if !deadline.IsZero() && errors.Is(err, os.ErrDeadlineExceeded) {
		return fmt.Errorf("%w (%w)", context.DeadlineExceeded, err)
	}
	return err
}

// closedBefore reports an error of a connection that was closed before the request, by the
// other side or by the end of the last request's context.
func closedBefore(err error) bool {
	return errors.Is(err, errSpent) || httpcommon.ClosedByServer(err)
}
