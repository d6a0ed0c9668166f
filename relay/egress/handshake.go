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
// handshake: it is a [*chosenError] if it has chosen HTTP/2.
func (t *Transport) dialSecure(from sources) func(context.Context, string, string) (net.Conn, error) {
	return func(ctx context.Context, _, address string) (net.Conn, error) {
		s, err := t.secure(ctx, from, address)
		if err != nil {
			return nil, err
		}
		if s.http2() {
			return nil, &chosenError{secured: s}
		}
		conn := newConn(s.over, s.below.Conn)
		conn.below = s.below
		return conn, nil
	}
}

// dialHTTP2 connects for https and HTTP/2. It is a [*chosenError] if the server has chosen
// HTTP/1.1.
func (t *Transport) dialHTTP2(from sources) func(context.Context, string, string) (net.Conn, error) {
	return func(ctx context.Context, _, address string) (net.Conn, error) {
		s, err := t.secure(ctx, from, address)
		if err != nil {
			return nil, err
		}
		if !s.http2() {
			return nil, &chosenError{secured: s}
		}
		return &framed{s.over, s.over.LocalAddr().String(), s.over.RemoteAddr().String()}, nil
	}
}

// dialTLS connects for https, for net/http, which speaks what the server has chosen. The
// answers of HTTP/2 come in frames of their own: there is no status line to note.
func (t *Transport) dialTLS(from sources) func(context.Context, string, string) (net.Conn, error) {
	return func(ctx context.Context, _, address string) (net.Conn, error) {
		s, err := t.secure(ctx, from, address)
		if err != nil {
			return nil, err
		}
		s.below.begin(s.over)
		if s.http2() {
			return s.over, nil
		}
		return newConn(s.over, s.below.Conn), nil
	}
}

// secured is a connection by TLS.
type secured struct {
	over  *tls.Conn
	below *watch
}

// http2 reports whether the server has chosen HTTP/2.
func (s secured) http2() bool { return s.over.ConnectionState().NegotiatedProtocol == protocolHTTP2 }

// framed is a connection that speaks HTTP/2.
type framed struct {
	*tls.Conn
	// local and remote are the addresses as texts, which each attempt records.
	local, remote string
}

// secure returns the connection that the context offers, or makes one.
func (t *Transport) secure(ctx context.Context, from sources, address string) (secured, error) {
	if found, ok := ctx.Value(foundKey{}).(*chosenError); ok && found.take() {
		return found.secured, nil
	}
	return t.handshake(ctx, from, address)
}

// handshake connects by TLS.
func (t *Transport) handshake(ctx context.Context, from sources, address string) (secured, error) {
	raw, host, err := t.dial(ctx, from, "https", address)
	if err != nil {
		return secured{}, err
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
		return secured{}, &HandshakeError{raw.LocalAddr().String(), raw.RemoteAddr().String(), err}
	}
	return secured{conn, below}, nil
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

// chosenError is that a server has chosen another protocol than that for which a connection
// was made. Nothing was sent. It has the connection, for who speaks that.
type chosenError struct {
	secured
	taken atomic.Bool
}

func (e *chosenError) Error() string {
	if e.http2() {
		return "the server has chosen HTTP/2"
	}
	return "the server has chosen HTTP/1.1"
}

// foundKey is where the context of a dial has a *chosenError.
type foundKey struct{}

// offered is a context of dials that take the connection rather than make one.
func (e *chosenError) offered(ctx context.Context) context.Context {
	return context.WithValue(ctx, foundKey{}, e)
}

// take reports whether the connection is the caller's, which it is once.
func (e *chosenError) take() bool { return !e.taken.Swap(true) }

// closeUnused closes the connection if nobody has taken it.
func (e *chosenError) closeUnused() {
	if e.take() {
		_ = e.over.Close()
	}
}
