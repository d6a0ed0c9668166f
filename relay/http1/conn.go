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
	"syscall"
	"time"
)

// bufferSize holds the header and body of a usual webhook, which then leave in one write.
const bufferSize = 4 << 10

// conn is a connection with at most one request under way.
type conn struct {
	net.Conn
	transport *Transport
	address   string
	raw       syscall.RawConn // nil where there is none

	r    *bufio.Reader
	w    *bufio.Writer
	left int64 // bytes that may be read before it is too much
	// heard says that something was read since the request began.
	heard bool
	// stop ends the watch over the request's context.
	stop func() bool
	// since is when it became idle.
	since time.Time
}

func newConn(t *Transport, raw net.Conn, address string) *conn {
	c := &conn{Conn: raw, transport: t, address: address}
	c.r, c.w = bufio.NewReaderSize(reader{c}, bufferSize), bufio.NewWriterSize(raw, bufferSize)
	c.raw = rawOf(raw)
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
	return n, err
}

// Deadlines of a connection that is to be given up, and of one that may be used.
var past, never = time.Unix(1, 0), time.Time{}

// begin puts the connection under a request's context and deadline.
func (c *conn) begin(ctx context.Context, deadline time.Time) error {
	if err := c.SetDeadline(deadline); err != nil {
		return err
	}
	c.heard = false
	c.stop = context.AfterFunc(ctx, func() { _ = c.SetDeadline(past) })
	return nil
}

// readHeader reads up to the body of the final answer. Interim answers (1xx) are passed
// over; the limit is on all of them together.
func (c *conn) readHeader(req *http.Request) (*http.Response, error) {
	limit := cmp.Or(c.transport.MaxHeaderBytes, DefaultMaxHeaderBytes)
	c.left = limit
	for {
		resp, err := http.ReadResponse(c.r, req)
		if err != nil {
			switch {
			case c.left <= 0:
				err = fmt.Errorf("%w: more than %d bytes", errTooLarge, limit)
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
	if !c.stop() || !reusable || c.r.Buffered() > 0 {
		_ = c.Conn.Close()
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
	if c.stop != nil {
		c.stop()
	}
	return c.Conn.Close()
}
