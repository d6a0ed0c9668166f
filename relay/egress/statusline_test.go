package egress

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// script is a connection that answers with parts of a text, one a read.
type script struct {
	net.Conn
	parts []string
}

func (s *script) Write(b []byte) (int, error) { return len(b), nil }
func (s *script) Close() error                { return nil }

func (s *script) Read(b []byte) (int, error) {
	if len(s.parts) == 0 {
		return 0, io.EOF
	}
	n := copy(b, s.parts[0])
	s.parts[0] = s.parts[0][n:]
	if s.parts[0] == "" {
		s.parts = s.parts[1:]
	}
	return n, nil
}

func TestConnNotesTheStatusLine(t *testing.T) {
	for text, want := range map[string]int{
		"HTTP/1.1 200 OK\r\n": 200, "HTTP/1.0 204\r\n": 204, "HTTP/1.1| |202| Accepted\r\nX: y\r\n": 202,
		"HTTP/1.1 200 OK": 0, "HTTP/1.1 2000 OK\r\n": 0, "HTTP/1.1 2x0 OK\r\n": 0, "HTTP/2 200\r\n": 0, "": 0,
		"\n": 0, "HTTP/1.1 200\n": 200, "HTTP/1.1 301 Moved\r\n": 301, strings.Repeat("x", 1000) + "\n": 0,
		"HTTP/1.1 200 " + strings.Repeat("O", 1000): 0, "HTTP/1.1 200 " + strings.Repeat("O|", 1000) + "\n": 200,
	} {
		c := &Conn{Conn: &script{parts: strings.Split(text, "|")}}
		_, _ = c.Write([]byte("POST / HTTP/1.1\r\n\r\n"))
		_, _ = io.Copy(io.Discard, struct{ io.Reader }{c})
		if got := c.Status(); got != want {
			t.Errorf("%q: %d, want %d", text, got, want)
		}
		_, _ = c.Write([]byte("POST / HTTP/1.1\r\n\r\n"))
		if got := c.Status(); got != 0 {
			t.Errorf("%q: the next request has the status %d before its answer", text, got)
		}
	}
}

// A request that was given up must not arrive later.
func TestCloseTakesBackWhatHasNoAnswer(t *testing.T) {
	for _, answered := range []bool{false, true} {
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		ended := make(chan error, 1)
		go func() {
			conn, err := listener.Accept()
			if err != nil {
				ended <- err
				return
			}
			defer conn.Close()
			r := bufio.NewReader(conn)
			if _, err := http.ReadRequest(r); err != nil {
				ended <- err
				return
			}
			if answered {
				_, _ = io.WriteString(conn, "HTTP/1.1 204 No Content\r\n\r\n")
			}
			_ = conn.SetReadDeadline(time.Now().Add(5 * time.Second))
			_, err = r.ReadByte()
			ended <- err
		}()
		conn, err := NewTransport(&Dialer{Guard: guard(t, "127.0.0.0/8")}, TransportOptions{}).dialPlain(sources{unbound, unbound})(t.Context(), "tcp", listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(conn, "GET / HTTP/1.1\r\nHost: a\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
		if answered {
			if _, err := conn.Read(make([]byte, 100)); err != nil {
				t.Fatal(err)
			}
		} else {
			time.Sleep(20 * time.Millisecond) // the receiver may read the request first
		}
		_ = conn.Close()
		err = <-ended
		if reset := !errors.Is(err, io.EOF); reset == answered {
			t.Errorf("answered: %v, and the connection ended with %v", answered, err)
		}
		_ = listener.Close()
	}
}

// TestStatusOfTheRequestBeforeIsForgotten: a request of which nothing was written on a kept
// connection has no answer there, whatever the one before has got.
func TestStatusOfTheRequestBeforeIsForgotten(t *testing.T) {
	t.Run("net/http", func(t *testing.T) { // the receiver ends just when the connection is taken
		kept := &Conn{line: []byte("HTTP/1.1 200 OK\r"), done: true}
		if kept.Status() != http.StatusOK {
			t.Fatal("the connection has no status to forget")
		}
		refused := errors.New("connection refused")
		rt := roundTripper(func(r *http.Request) (*http.Response, error) {
			httptrace.ContextClientTrace(r.Context()).GotConn(httptrace.GotConnInfo{Conn: kept, Reused: true})
			return nil, refused
		})
		_, conn, err := Send(t.Context(), rt, time.Now().Add(time.Minute), request(t, "http://example.com/"))
		if !errors.Is(err, refused) || conn != kept || kept.Status() != 0 {
			t.Errorf("%v; the status is %d", err, kept.Status())
		}
	})
	t.Run("of its own", func(t *testing.T) { // the context ends just then
		requests := 0
		server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { requests++ }))
		defer server.Close()
		tr := NewTransport(&Dialer{Guard: guard(t, "127.0.0.1")}, TransportOptions{})
		defer tr.CloseIdleConnections()
		ctx := &flipping{Context: t.Context(), done: make(chan struct{})}
		send := func() (net.Conn, error) {
			resp, conn, err := Send(ctx, tr, time.Now().Add(time.Minute), request(t, server.URL))
			if err == nil {
				resp.Body.Close()
			}
			return conn, err
		}
		if _, err := send(); err != nil {
			t.Fatal(err)
		}
		ctx.looks.Store(1)
		conn, err := send()
		if c, ok := conn.(*Conn); !errors.Is(err, context.Canceled) || requests != 1 || ok && c.Status() != 0 {
			t.Errorf("%v on %v; %d requests came", err, conn, requests)
		}
	})
}

func request(t *testing.T, url string) *http.Request {
	t.Helper()
	r, err := http.NewRequest(http.MethodPost, url, strings.NewReader("x"))
	if err != nil {
		t.Fatal(err)
	}
	return r
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// flipping is a context that ends after it was looked at once more, if looks is 1.
type flipping struct {
	context.Context
	looks atomic.Int64
	done  chan struct{}
}

func (f *flipping) Done() <-chan struct{} { return f.done }

func (f *flipping) Err() error {
	switch f.looks.Load() {
	case 0:
		return nil
	case 1: // the last one
		f.looks.Store(-1)
		return nil
	}
	return context.Canceled
}
