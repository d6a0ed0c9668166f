package egress

import (
	"context"
	"crypto/tls"
	"net"
	"sync/atomic"
	"time"
)

// handshakeTimeout bounds the TLS handshake.
const handshakeTimeout = 10 * time.Second

// protocolHTTP2 is the name of HTTP/2 in ALPN (RFC 9113, section 3.2).
const protocolHTTP2 = "h2"

// dialPlain connects for http.
func (t *Transport) dialPlain(from sources) func(context.Context, string, string) (net.Conn, error) {
	return func(ctx context.Context, _, address string) (net.Conn, error) {
		conn, _, err := t.dial(ctx, from, "http", address)
		if err != nil {
			return nil, err
		}
		return newConn(conn, conn), nil
	}
}

// dialSecure connects for https and HTTP/1.1. Whether the server speaks that turns out in the
// handshake: it is an [*http2Error] if it has chosen HTTP/2.
func (t *Transport) dialSecure(from sources) func(context.Context, string, string) (net.Conn, error) {
	return func(ctx context.Context, _, address string) (net.Conn, error) {
		conn, below, err := t.handshake(ctx, from, address)
		if err != nil {
			return nil, err
		}
		if conn.ConnectionState().NegotiatedProtocol == protocolHTTP2 {
			below.begin(conn)
			return nil, &http2Error{conn: conn}
		}
		secure := newConn(conn, below.Conn)
		secure.below = below
		return secure, nil
	}
}

// dialTLS connects for https, for net/http, which speaks what the server has chosen. The
// answers of HTTP/2 come in frames of their own: there is no status line to note.
func (t *Transport) dialTLS(from sources) func(context.Context, string, string) (net.Conn, error) {
	return func(ctx context.Context, _, address string) (net.Conn, error) {
		if found, ok := ctx.Value(foundKey{}).(*http2Error); ok {
			if conn := found.take(); conn != nil {
				return conn, nil
			}
		}
		conn, below, err := t.handshake(ctx, from, address)
		if err != nil {
			return nil, err
		}
		below.begin(conn)
		if conn.ConnectionState().NegotiatedProtocol == protocolHTTP2 {
			return conn, nil
		}
		return newConn(conn, below.Conn), nil
	}
}

// handshake connects by TLS.
func (t *Transport) handshake(ctx context.Context, from sources, address string) (*tls.Conn, *watch, error) {
	raw, host, err := t.dial(ctx, from, "https", address)
	if err != nil {
		return nil, nil, err
	}
	below := &watch{Conn: raw}
	config := t.tls.Clone()
	if config.ServerName == "" {
		config.ServerName = host
	}
	below.noteAsking(config)
	conn := tls.Client(below, config)
	ctx, cancel := context.WithTimeout(ctx, handshakeTimeout)
	defer cancel()
	if err := conn.HandshakeContext(ctx); err != nil {
		_ = raw.Close()
		return nil, nil, &HandshakeError{raw.LocalAddr().String(), raw.RemoteAddr().String(), err}
	}
	return conn, below, nil
}

// dial connects to address, "host:port", and returns the host, too.
func (t *Transport) dial(ctx context.Context, from sources, scheme, address string) (net.Conn, string, error) {
	host, port, err := splitHostPort(address)
	if err != nil {
		return nil, "", err
	}
	conn, err := t.dialer.dialFrom(ctx, from, scheme, host, port)
	return conn, host, err
}

// HandshakeError says that there was a connection, and that TLS did not come about on it.
type HandshakeError struct {
	// Local and Remote are its addresses as the kernel reported them, "host:port".
	Local, Remote string
	Err           error
}

// Error is that of the handshake.
func (e *HandshakeError) Error() string { return e.Err.Error() }

// Unwrap returns what crypto/tls said.
func (e *HandshakeError) Unwrap() error { return e.Err }

// http2Error is that a server has chosen HTTP/2 on a connection that was made for HTTP/1.1.
// Nothing was sent. It has the connection, for who speaks that.
type http2Error struct {
	conn  net.Conn
	taken atomic.Bool
}

func (*http2Error) Error() string { return "the server has chosen HTTP/2" }

// foundKey is where the context of a dial has an *http2Error.
type foundKey struct{}

// offered is a context of dials that take the connection rather than make one.
func (e *http2Error) offered(ctx context.Context) context.Context {
	return context.WithValue(ctx, foundKey{}, e)
}

// take returns the connection, once.
func (e *http2Error) take() net.Conn {
	if e.taken.Swap(true) {
		return nil
	}
	return e.conn
}

// closeUnused closes the connection if nobody has taken it.
func (e *http2Error) closeUnused() {
	if conn := e.take(); conn != nil {
		_ = conn.Close()
	}
}
