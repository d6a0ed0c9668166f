package http2

import (
	"context"
	"io"
	"net/http"
	"time"

	wire "golang.org/x/net/http2"
)

// stream is a request and its answer (RFC 9113, section 5). It is the body of the answer,
// too.
type stream struct {
	conn     *conn
	id       uint32
	request  *http.Request
	ctx      context.Context
	began    time.Time
	deadline time.Time // zero: none
	// repeatable says that the request may be made again if the connection turns out to be
	// closed: it has carried others before.
	repeatable bool
	// changed has something when what stands below has changed.
	changed chan struct{}

	// Guarded by the connection's lock: what the server lets us send, whether we wait for more
	// of it, and whether all of the body is sent or about to be.
	window  int64
	starved bool
	sent    bool
	// The answer: its header, nil before it is there; how many interim ones came; what came of
	// the body and was not read; how many bytes of it may still come, -1 if nobody said; whether
	// that was all.
	response *http.Response
	interim  int
	data     []byte
	left     int64
	ended    bool
	// room is what the server may still send, read what was read since it was last told.
	room, read int
	// err is why there is no more; closed says that nobody wants more, cancelled that the server
	// is told so.
	err               error
	closed, cancelled bool
}

// giveBack is after how many bytes a server is told that it may send as many again: half of
// what it may send at first.
const giveBack = firstWindow / 2

// claim returns how many of n bytes of the body may be sent now. The lock is held.
func (st *stream) claim(n int) int {
	most := max(0, min(int64(n), int64(st.conn.frame), st.window, st.conn.window))
	st.window -= most
	st.conn.window -= most
	st.sent = int(most) == n
	st.starved = !st.sent
	return int(most)
}

// grow lets more be sent on all streams together. The lock is held.
func (c *conn) grow(more int64) {
	c.window += more
	for _, st := range c.streams {
		if st.starved {
			st.tell()
		}
	}
}

// tell wakes who waits for the stream.
func (st *stream) tell() {
	select {
	case st.changed <- struct{}{}:
	default:
	}
}

// end ends the stream, unless its answer was complete or it has ended before. The lock is
// held.
func (st *stream) end(err error) {
	if st.err == nil && !st.ended {
		st.err = err
		st.tell()
	}
}

// complete notes that the answer is. A stream whose request is not complete is ended by who
// makes that. The lock is held.
func (st *stream) complete() {
	if st.ended = true; st.sent {
		st.conn.remove(st)
	}
}

// waits reports whether the stream has a deadline, and something left to do until then. The
// lock is held.
func (st *stream) waits() bool { return !st.deadline.IsZero() && !st.over() }

// over reports whether nothing that comes is of interest any more. The lock is held.
func (st *stream) over() bool { return st.ended || st.closed || st.err != nil }

// wait returns when something has changed, or with the reason of the context.
func (st *stream) wait() error {
	select {
	case <-st.changed:
		return nil
	case <-st.ctx.Done():
		return context.Cause(st.ctx)
	}
}

// answer sends the rest of the body as the server takes it, and waits for the header of the
// answer. If that comes before and is a success, the server has the rest to come, unless it has
// said all.
func (st *stream) answer(rest []byte) (*http.Response, error) {
	c := st.conn
	for {
		c.mu.Lock()
		response, err := st.response, st.err
		enough := response != nil && (len(rest) == 0 || st.ended || response.StatusCode > 299)
		n := 0
		if !enough && err == nil && len(rest) > 0 {
			n = st.claim(len(rest))
		}
		c.mu.Unlock()
		switch {
		case enough:
			if response.Body != st {
				_ = st.Close() // the server may not have wanted all of the request
			}
			return response, nil
		case err != nil:
			return nil, err
		case n > 0:
			if err := st.send(rest, n); err != nil {
				return nil, err
			}
			rest = rest[n:]
		default:
			if err := st.wait(); err != nil {
				return nil, err
			}
		}
	}
}

// send sends the first n bytes of what is left of the body.
func (st *stream) send(rest []byte, n int) error {
	c := st.conn
	if err := c.enter(st); err != nil {
		c.mu.Lock()
		c.grow(int64(n)) // nothing was sent of what was claimed
		c.mu.Unlock()
		return err
	}
	defer c.written()
	c.mu.Lock()
	c.writer = st
	c.mu.Unlock()
	_ = c.compose(func() error { return c.framer.WriteData(st.id, n == len(rest), rest[:n]) })
	c.mu.Lock()
	c.writer = nil
	c.mu.Unlock()
	return nil
}

// Read implements [io.Reader] for the body of the answer.
func (st *stream) Read(p []byte) (int, error) {
	c := st.conn
	for {
		c.mu.Lock()
		if st.closed {
			c.mu.Unlock()
			return 0, http.ErrBodyReadAfterClose
		}
		n := copy(p, st.data)
		st.data = st.data[n:]
		st.read += n
		more := 0
		if st.read >= giveBack && !st.ended && st.err == nil {
			more = st.read
			st.read, st.room = 0, st.room+more
		}
		err := st.err
		if st.ended && err == nil {
			err = io.EOF
		}
		c.mu.Unlock()
		if more > 0 {
			c.writeSoon(func() error { return c.framer.WriteWindowUpdate(st.id, uint32(more)) }, func() {})
		}
		if n > 0 || len(p) == 0 {
			return n, nil
		}
		if err != nil {
			return 0, err
		}
		if err := st.wait(); err != nil {
			return 0, err
		}
	}
}

// Close implements [io.Closer]. The server is told if it has more to say, or to hear.
func (st *stream) Close() error {
	c := st.conn
	c.mu.Lock()
	st.closed, st.data = true, nil
	open := c.streams[st.id] == st
	c.mu.Unlock()
	if open {
		c.cancel(st, wire.ErrCodeCancel)
	}
	return nil
}

// cancel tells the server, once, that a stream is over. Its place is free when that is said:
// another stream before would be one too many.
func (c *conn) cancel(st *stream, code wire.ErrCode) {
	c.mu.Lock()
	before := st.cancelled
	st.cancelled = true
	c.mu.Unlock()
	if before {
		return
	}
	c.writeSoon(func() error { return c.framer.WriteRSTStream(st.id, code) }, func() {
		c.mu.Lock()
		c.remove(st)
		c.unlock()
	})
}

// remove takes a stream out. The lock is held, and given back by unlock.
func (c *conn) remove(st *stream) {
	if c.streams[st.id] == st {
		delete(c.streams, st.id)
		c.released()
	}
}

// released notes that a place is free. If the server lets the connection have no other, nothing
// begins on it any more. The lock is held, and given back by unlock.
func (c *conn) released() {
	if len(c.streams)+c.reserved == 0 {
		c.idle = time.Now()
		c.closing = c.closing || c.most == 0
	}
	select {
	case c.freed <- struct{}{}:
	default: // more are told already than wait
	}
}
