package http2

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"os"
	"sync"
	"sync/atomic"
	"time"

	wire "golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"github.com/caddyrelay/caddyrelay/relay/httpcommon"
)

// What a connection begins with (RFC 9113, section 6.5.2), in bytes.
const (
	firstWindow  = 1<<16 - 1
	largestFrame = 1 << 14
	tableSize    = 4 << 10
)

// lastStream is the highest number of a stream of ours: beyond it a connection carries no
// further ones (section 5.1.1).
const lastStream = 1<<31 - 1

// bufferSize holds the header and body of a usual webhook, and many answers.
const bufferSize = 4 << 10

// conn is a connection.
type conn struct {
	net.Conn
	transport *Transport
	address   string

	// What is written is composed in out, and leaves in one piece. Who has put something into
	// writing may do so.
	writing chan struct{}
	out     bytes.Buffer
	framer  *wire.Framer // its reading half is read's
	block   bytes.Buffer // a header, compressed by packer
	packer  *hpack.Encoder
	seen    fields
	until   time.Time // the deadline of writes

	// unread is what came of bodies since the server was told; it is read's.
	unread int
	// heard is when something was last read, since the connection was made.
	made  time.Time
	heard atomic.Int64
	// freed gets something when a place becomes free.
	freed chan<- struct{}

	mu sync.Mutex
	// streams are those that are not over; reserved are places for further ones.
	streams  map[uint32]*stream
	reserved int
	next     uint32 // number of the next stream
	// What the server lets us have: streams at a time, bytes in a frame, bytes on the way of
	// each stream in the beginning, and of all together.
	most        int
	frame       int
	firstWindow int64
	window      int64
	// closing says that no stream begins any more. The connection is closed with the last one.
	closing bool
	// served says that there was an answer on it.
	served bool
	// writer is the stream of which something is being written; nil: there is none.
	writer *stream
	// err is why it is closed; before that, wrote is the error of a write, left what the server
	// has said when it wished to close it.
	err, wrote, left error
	idle             time.Time // since when there is no stream
	pinged           time.Time // since when a ping waits for its answer; zero: none
	// alarm rings at the next deadline, ping, or end of idleness.
	alarm *time.Timer
	rings time.Time
}

var (
	errRetired = errors.New("the connection takes no further requests")
	errSilent  = fmt.Errorf("nothing was heard on the connection, nor an answer to a ping: %w", os.ErrDeadlineExceeded)
	errStuck   = fmt.Errorf("the server does not take what is sent: %w", os.ErrDeadlineExceeded)
)

// connect makes a connection on which requests may begin: the server has said how many. With an
// error it may return one that is closed already.
func (t *Transport) connect(ctx context.Context, address string, freed chan<- struct{}) (*conn, error) {
	raw, err := t.Dial(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	c := &conn{
		Conn: raw, transport: t, address: address, freed: freed,
		writing: make(chan struct{}, 1),
		streams: make(map[uint32]*stream), next: 1,
		most: math.MaxInt, frame: largestFrame, firstWindow: firstWindow, window: firstWindow,
		made: time.Now(), idle: time.Now(),
	}
	c.framer = wire.NewFramer(&c.out, bufio.NewReaderSize(raw, bufferSize))
	c.framer.SetReuseFrames()
	c.framer.SetMaxReadFrameSize(largestFrame)
	c.framer.ReadMetaHeaders = hpack.NewDecoder(tableSize, nil)
	c.framer.MaxHeaderListSize = cmp.Or(t.MaxHeaderBytes, DefaultMaxHeaderBytes)
	c.packer = hpack.NewEncoder(&c.block)

	stop := context.AfterFunc(ctx, func() { _ = raw.Close() })
	err = c.greet()
	if !stop() {
		err = context.Cause(ctx)
	}
	if err != nil {
		_ = raw.Close()
		c.err, c.closing = err, true
		return c, err
	}
	c.mu.Lock()
	c.alarm = time.AfterFunc(time.Hour, c.ring)
	c.schedule(time.Now())
	c.mu.Unlock()
	go c.read()
	return c, nil
}

// greet exchanges the settings with which a connection begins (section 3.4).
func (c *conn) greet() error {
	wrote := c.write(func() error {
		c.out.WriteString(wire.ClientPreface)
		return c.framer.WriteSettings(
			wire.Setting{ID: wire.SettingEnablePush, Val: 0},
			wire.Setting{ID: wire.SettingMaxHeaderListSize, Val: c.framer.MaxHeaderListSize},
		)
	})
	f, err := c.framer.ReadFrame()
	if err != nil {
		switch {
		case wrote != nil && !httpcommon.Alerted(err):
			err = wrote
		case errors.Is(err, io.EOF):
			err = io.ErrUnexpectedEOF
		}
		return fmt.Errorf("the server has not begun to speak HTTP/2: %w", err)
	}
	settings, ok := f.(*wire.SettingsFrame)
	if !ok || settings.IsAck() {
		return fmt.Errorf("the server has not begun to speak HTTP/2: its first frame is %s", f.Header().Type)
	}
	return c.settings(settings)
}

// reserve keeps a place for a stream, if there is one.
func (c *conn) reserve() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closing || c.err != nil || len(c.streams)+c.reserved >= c.most {
		return false
	}
	c.reserved++
	return true
}

// first reserves a place on a new connection, or tells why there is none.
func (c *conn) first() error {
	if c.reserve() {
		return nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closing {
		return &unprocessedError{c.reason(errRetired)}
	}
	return errors.New("the server takes no requests on a new connection")
}

// reason is why the connection takes no requests, as far as it is known; otherwise it is
// another one. The lock is held.
func (c *conn) reason(otherwise error) error { return cmp.Or(c.err, c.wrote, c.left, otherwise) }

// silent reports whether nothing was heard since a moment.
func (c *conn) silent(since time.Time) bool { return c.lastHeard().Before(since) }

func (c *conn) lastHeard() time.Time { return c.made.Add(time.Duration(c.heard.Load())) }

// retire closes the connection when it has no streams.
func (c *conn) retire() {
	c.mu.Lock()
	c.closing = true
	c.unlock()
}

// unlock gives the lock back where something may have ended: a connection on which nothing
// begins, and nothing is left, is closed.
func (c *conn) unlock() {
	over := c.closing && c.err == nil && len(c.streams)+c.reserved == 0
	c.mu.Unlock()
	if over {
		c.fail(errRetired)
	}
}

// fail closes the connection. All that is under way ends with the error.
func (c *conn) fail(err error) {
	c.mu.Lock()
	if c.err != nil {
		c.mu.Unlock()
		return
	}
	c.err, c.closing = err, true
	c.alarm.Stop()
	for _, st := range c.streams {
		if st.repeatable && c.silent(st.began) && httpcommon.ClosedByServer(err) {
			st.end(&unprocessedError{err})
		}
		st.end(err)
	}
	clear(c.streams)
	c.mu.Unlock()
	c.transport.forget(c)
	_ = c.Close()
}

// roundTrip makes a request in the place that was reserved.
func (c *conn) roundTrip(ctx context.Context, deadline time.Time, req *http.Request, m *message, repeatable bool) (*http.Response, error) {
	st := &stream{conn: c, request: req, repeatable: repeatable, began: time.Now(), deadline: deadline, ctx: ctx, changed: make(chan struct{}, 1), left: -1, room: firstWindow}
	sent, err := c.start(st, m)
	if err != nil {
		return nil, err
	}
	resp, err := st.answer(m.body[sent:])
	if err != nil {
		_ = st.Close()
		return nil, err
	}
	return resp, nil
}

// start gives the stream its number, and sends the header and as much of the body as the
// server takes now.
func (c *conn) start(st *stream, m *message) (sent int, err error) {
	err = c.enter(st) // for the number, too: streams begin in their order
	if err == nil {
		defer c.written()
	}
	c.mu.Lock()
	c.reserved--
	if err != nil || c.closing {
		if err == nil {
			err = &unprocessedError{c.reason(errRetired)}
		}
		c.released()
		c.unlock()
		return 0, err
	}
	st.id = c.next
	c.next += 2
	c.closing = c.next > lastStream
	st.repeatable = st.repeatable && c.served
	c.writer = st
	st.window = c.firstWindow
	c.streams[st.id] = st
	sent = st.claim(len(m.body))
	if !st.deadline.IsZero() && st.deadline.Before(c.rings) {
		c.schedule(st.began)
	}
	frame := c.frame
	c.mu.Unlock()

	c.out.Reset()
	c.block.Reset()
	// Nothing of this fails: it is written into memory.
	c.seen.pack(c.packer, m.fields)
	block := c.block.Bytes()
	first := block[:min(len(block), frame)]
	_ = c.framer.WriteHeaders(wire.HeadersFrameParam{
		StreamID: st.id, BlockFragment: first, EndStream: len(m.body) == 0, EndHeaders: len(first) == len(block),
	})
	for rest := block[len(first):]; len(rest) > 0; {
		part := rest[:min(len(rest), frame)]
		rest = rest[len(part):]
		_ = c.framer.WriteContinuation(st.id, len(rest) == 0, part)
	}
	if sent > 0 {
		_ = c.framer.WriteData(st.id, sent == len(m.body), m.body[:sent])
	}
	_ = c.flush() // who waits for the answer hears why it failed
	c.mu.Lock()
	c.writer = nil
	c.mu.Unlock()
	return sent, nil
}
