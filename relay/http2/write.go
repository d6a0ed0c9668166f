package http2

import (
	"cmp"
	"context"
	"time"

	"github.com/caddyrelay/caddyrelay/relay/httpcommon"
)

// A write that takes longer than writePatience ends the connection. The deadline is set anew
// only when less than that is left: to set it costs as much as to read from the socket.
const writePatience = 5 * time.Second

// afterBrokenWrite is how long after a write that failed the other side's reason is waited
// for. In TLS 1.3 a certificate of the client may be refused as late as that (RFC 8446,
// section 4.4.2.4), and the first write may find the connection closed.
const afterBrokenWrite = time.Second

// write lets compose put frames into out, and writes them. Those who wait for answers hear of
// an error when the reason is known.
func (c *conn) write(compose func() error) error {
	c.writing <- struct{}{}
	defer c.written()
	return c.compose(compose)
}

// writeSoon is write for who must not wait: while something else is being written, another
// goroutine does.
func (c *conn) writeSoon(compose func() error, then func()) {
	select {
	case c.writing <- struct{}{}:
		_ = c.compose(compose)
		c.written()
		then()
	default:
		go func() {
			_ = c.write(compose)
			then()
		}()
	}
}

// enter is the beginning of a write of a stream, which waits no longer than that.
func (c *conn) enter(st *stream) error {
	select {
	case c.writing <- struct{}{}:
		return nil
	default:
	}
	ctx, cancel := httpcommon.Until(st.ctx, st.deadline)
	defer cancel()
	select {
	case c.writing <- struct{}{}:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// written lets the next one write.
func (c *conn) written() { <-c.writing }

func (c *conn) compose(compose func() error) error {
	c.out.Reset()
	if err := compose(); err != nil {
		return err
	}
	return c.flush()
}

// flush writes what was composed.
func (c *conn) flush() error {
	now := time.Now()
	if c.until.Sub(now) < writePatience {
		c.until = now.Add(2 * writePatience)
		_ = c.SetWriteDeadline(c.until) // a write fails if it cannot be set
	}
	_, err := c.Conn.Write(c.out.Bytes())
	if err != nil {
		c.mu.Lock()
		c.wrote, c.closing = cmp.Or(c.wrote, err), true
		c.mu.Unlock()
		_ = c.SetReadDeadline(time.Now().Add(afterBrokenWrite))
	}
	return err
}
