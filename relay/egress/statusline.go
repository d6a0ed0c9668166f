package egress

import (
	"bytes"
	"errors"
	"net"
	"os"
	"strconv"
	"sync"
)

// Conn is a connection that speaks HTTP/1.1. It notes the status line of the answer that
// is being read: net/http tells of an answer only when it has read its whole header, and
// a status line is enough to know that a receiver has taken a delivery.
type Conn struct {
	net.Conn
	socket net.Conn // below TLS
	below  *watch   // nil where there is no TLS
	// local and remote are the addresses as texts, which each attempt records.
	local, remote string

	mu      sync.Mutex
	line    []byte
	done    bool // the line is complete
	waiting bool // something was written, and nothing complete was read since
}

// lineLimit is more than "HTTP/1.1 200 " and a reason phrase need.
const lineLimit = 256

// forget forgets the status line of the answer before.
func (c *Conn) forget() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.line, c.done = c.line[:0], false
}

// Write implements [net.Conn]. What is read after it answers another request.
func (c *Conn) Write(b []byte) (int, error) {
	c.mu.Lock()
	c.line, c.done, c.waiting = c.line[:0], false, true
	c.mu.Unlock()
	return c.Conn.Write(b)
}

// Read implements [net.Conn].
func (c *Conn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if n > 0 {
		c.note(b[:n])
	}
	return n, err
}

func (c *Conn) note(b []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.done {
		return
	}
	end := bytes.IndexByte(b, '\n')
	if end >= 0 {
		b = b[:end]
	}
	// What goes beyond the limit is not kept, but the line is none before it has ended.
	c.line = append(c.line, b[:min(len(b), lineLimit-len(c.line))]...)
	c.done = end >= 0
	c.waiting = !c.done
}

// Close implements [net.Conn]. A request that has no answer is taken back as far as that
// is possible: otherwise the kernel would go on sending it, and could deliver it long after
// the attempt was given up, when an address or a route is back.
func (c *Conn) Close() error {
	c.mu.Lock()
	waiting := c.waiting
	c.mu.Unlock()
	if tcp, ok := c.socket.(*net.TCPConn); ok && waiting {
		_ = tcp.SetLinger(0) // if it cannot be set there is nothing left to take back
	}
	return c.Conn.Close()
}

func newConn(conn, socket net.Conn) *Conn {
	return &Conn{Conn: conn, socket: socket, local: conn.LocalAddr().String(), remote: conn.RemoteAddr().String()}
}

// Addresses returns those that the kernel reported of a connection, "host:port".
func Addresses(conn net.Conn) (local, remote string) {
	switch c := conn.(type) {
	case *Conn:
		return c.local, c.remote
	case *framed:
		return c.local, c.remote
	}
	return conn.LocalAddr().String(), conn.RemoteAddr().String()
}

// Pending reports whether more was read from the socket than was handed on, or the other
// side has ended TLS. It does not wait. Nobody may use the connection meanwhile.
func (c *Conn) Pending() bool {
	if c.below == nil {
		return false // nothing lies between
	}
	c.below.shut = true
	n, err := c.Conn.Read(make([]byte, 1))
	c.below.shut = false
	return n > 0 || !errors.Is(err, os.ErrDeadlineExceeded)
}

// Socket returns the connection that the kernel knows.
func (c *Conn) Socket() net.Conn { return c.socket }

// Status returns the status of the last answer's status line (RFC 9112, section 4), or 0
// if there was no whole line yet.
func (c *Conn) Status() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	rest, ok := bytes.CutPrefix(c.line, []byte("HTTP/1."))
	if !c.done || !ok || len(rest) < 5 || rest[1] != ' ' || (len(rest) > 5 && rest[5] != ' ' && rest[5] != '\r') {
		return 0
	}
	status, err := strconv.Atoi(string(rest[2:5]))
	if err != nil {
		return 0
	}
	return status
}
