package egress

import (
	"bufio"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
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
