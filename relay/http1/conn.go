package http1

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"sync"
	"syscall"
	"time"
)

// bufferSize holds the header and body of a usual webhook, and the header of its answer.
const bufferSize = 4 << 10

// readers read answers. A connection has one for as long as somebody reads: those of
// thousands of idle connections would be cold memory each time.
var readers = sync.Pool{New: func() any { return bufio.NewReaderSize(nil, bufferSize) }}

// conn is a connection with at most one request under way.
type conn struct {
	net.Conn
	transport *Transport
	address   string
	raw       syscall.RawConn // nil where there is none
	between   pending         // nil where nothing lies between it and the socket

	r    *bufio.Reader // nil while it is idle
	left int64         // bytes that may be read before it is too much
	// heard says that something was read since the request began, over that there is no more.
	heard, over bool
	// failed is what ended the reading of the answer's header, if not its end.
	failed error
	// watched is the context whose end ends the request, and stop ends the watch over it.
	watched context.Context
	stop    func() bool
	// shared says that the next request may have the same context.
	shared bool
	// last is the header of the last answer, if it is kept.
	last head
	// since is when it became idle.
	since time.Time
	// until is the deadline that the connection has; zero: none, or not known.
	until time.Time
}

// pending is a connection that may have read more than it handed on.
type pending interface{ Pending() bool }

func newConn(t *Transport, raw net.Conn, address string) *conn {
	c := &conn{Conn: raw, transport: t, address: address, raw: rawOf(raw)}
	c.between, _ = raw.(pending)
	return c
}

// reader reads from a connection as much as may be read.
type reader struct{ *conn }

var errTooLarge = errors.New("the answer's header is too large")

func (r reader) Read(b []byte) (int, error) {
	if r.left <= 0 {
		return 0, errTooLarge
	}
	n, err := r.Conn.Read(b[:min(int64(len(b)), r.left)])
	r.left -= int64(n)
	r.heard = r.heard || n > 0
	switch {
	case err == nil:
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF): // TLS cut short is the latter
		r.over = true // even if something was read: TLS can tell both at once
	default:
		r.failed = err
	}
	return n, err
}

// Deadlines of a connection that is to be given up, and of one that may be used.
var past, never = time.Unix(1, 0), time.Time{}

// errSpent means that the context of the last request ended, and with it the connection.
var errSpent = errors.New("the connection ended with the last request's context")

// spent reports whether that is so.
func (c *conn) spent() bool { return c.watched != nil && c.watched.Err() != nil }

// begin puts the connection under a request's context and deadline.
func (c *conn) begin(ctx context.Context, deadline time.Time, shared bool) error {
	if err := c.extend(deadline); err != nil {
		return err
	}
	c.heard, c.over, c.failed, c.shared = false, false, nil, shared
	if c.watched == nil || c.watched != ctx {
		if !c.unwatch() {
			return errSpent
		}
		c.watched, c.stop = ctx, context.AfterFunc(ctx, func() { _ = c.SetDeadline(past) })
	}
	// If it ended before, the deadline that it set may be lost.
	return ctx.Err()
}

// unwatch ends the watch over the last request's context. It reports false if that has
// ended: then the connection is of no use.
func (c *conn) unwatch() bool {
	if c.watched == nil {
		return true
	}
	c.watched = nil
	return c.stop()
}

// leeway is by how much, at most, a request may end after its deadline: the 64th part of
// the time that it has, within reason.
const leeway = 250 * time.Millisecond

// extend gives the connection a deadline, or leaves it the one that it has if that is near
// enough: to set one costs as much as to read from the socket.
func (c *conn) extend(deadline time.Time) error {
	if deadline.IsZero() {
		c.until = never
		return c.SetDeadline(never)
	}
	spare := min(time.Until(deadline)/64, leeway)
	if over := c.until.Sub(deadline); over >= 0 && over <= spare {
		return nil
	}
	c.until = deadline.Add(max(spare, 0))
	return c.SetDeadline(c.until)
}

// readHeader reads up to the body of the final answer. Interim answers (1xx) are passed
// over; the limit is on all of them together.
func (c *conn) readHeader(req *http.Request) (*http.Response, error) {
	limit := cmp.Or(c.transport.MaxHeaderBytes, DefaultMaxHeaderBytes)
	c.left = limit
	c.r = readers.Get().(*bufio.Reader)
	c.r.Reset(reader{c})
	resp, err := c.readPlain(req)
	for {
		if resp == nil && err == nil {
			resp, err = http.ReadResponse(c.r, req)
		}
		if err != nil {
			switch {
			case c.left <= 0:
				err = fmt.Errorf("%w: more than %d bytes", errTooLarge, limit)
			case c.failed != nil:
				// A line that it cut off was taken for a whole one, which is malformed.
				err = c.failed
			case !c.heard && errors.Is(err, io.ErrUnexpectedEOF):
				err = fmt.Errorf("the connection was closed before an answer came: %w", err)
			}
			return nil, err
		}
		if resp.StatusCode == http.StatusSwitchingProtocols {
			return nil, errors.New("the answer changes the protocol, which nobody asked for")
		}
		if resp.StatusCode >= 200 {
			c.left = math.MaxInt64 // of the body the caller reads as much as it likes
			return resp, nil
		}
		resp = nil
	}
}

// release lets go of the connection when the body of the answer is closed, which is now if
// there is none.
func (c *conn) release(resp *http.Response) {
	if resp.Body == http.NoBody {
		c.done(!resp.Close)
		return
	}
	resp.Body = &body{ReadCloser: resp.Body, conn: c, reusable: !resp.Close}
}

// done ends a request. The connection is kept if it can be used again.
func (c *conn) done(reusable bool) {
	alone, more := c.shared || c.unwatch(), c.over || c.r.Buffered() > 0
	c.r.Reset(nil)
	readers.Put(c.r)
	c.r = nil
	if !alone || !reusable || more || c.between != nil && c.between.Pending() {
		_ = c.Close()
		return
	}
	c.transport.idle.put(c)
}

// body is the body of an answer.
type body struct {
	io.ReadCloser
	conn     *conn // nil once it was let go
	reusable bool
	ended    bool
}

// Read implements [io.Reader].
func (b *body) Read(p []byte) (int, error) {
	if b.conn == nil {
		return 0, io.EOF
	}
	n, err := b.ReadCloser.Read(p)
	if err == io.EOF {
		b.ended = true
	}
	return n, err
}

// Close lets the connection go, or closes it if something was left on it: net/http's
// own Close would read that, for as long as a receiver likes.
func (b *body) Close() error {
	c := b.conn
	if c == nil {
		return nil
	}
	b.conn = nil
	c.done(b.reusable && b.ended)
	return nil
}

// Close closes the connection.
func (c *conn) Close() error {
	c.unwatch()
	return c.Conn.Close()
}
