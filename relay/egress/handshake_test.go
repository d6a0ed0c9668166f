package egress

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddyrelay/caddyrelay/relay/http1"
)

// choosing is a receiver of https that counts connections. What it speaks can be changed.
type choosing struct {
	*receiver
	connections atomic.Int64
	protocols   atomic.Pointer[[]string]
	spoken      chan string                   // of each request
	hold        atomic.Pointer[chan struct{}] // makes an answer wait; nil: none does
}

func newChoosing(t *testing.T, protocols ...string) *choosing {
	t.Helper()
	c := &choosing{spoken: make(chan string, 1000)}
	c.protocols.Store(&protocols)
	c.receiver = newReceiver(t, func(s *httptest.Server) {
		s.EnableHTTP2 = true
		s.StartTLS()
		certificates := s.TLS.Certificates
		s.TLS.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) {
			c.connections.Add(1)
			return &tls.Config{Certificates: certificates, NextProtos: *c.protocols.Load()}, nil
		}
	}, func(w http.ResponseWriter, req *http.Request) {
		io.Copy(io.Discard, req.Body)
		hold := c.hold.Load()
		c.spoken <- req.Proto
		if hold != nil {
			<-*hold
		}
		ok(w, req)
	})
	return c
}

func (c *choosing) client(t *testing.T) *http.Client {
	t.Helper()
	return newClient(t, &Dialer{Guard: guard(t, "127.0.0.9")}, TransportOptions{TLS: trusting(c.receiver)})
}

// send makes a request as deliveries are made.
func send(t *testing.T, client *http.Client, url, body string) (proto string, conn net.Conn, err error) {
	t.Helper()
	req, err := http.NewRequest(http.MethodPost, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	resp, conn, err := Send(t.Context(), client.Transport, time.Now().Add(time.Minute), req)
	if err != nil {
		return "", conn, err
	}
	defer resp.Body.Close()
	_, err = io.Copy(io.Discard, resp.Body)
	return resp.Proto, conn, err
}

// What a server speaks turns out in the handshake. Whatever it is, that connection is used.
func TestTheFirstConnectionIsUsedWhateverIsChosen(t *testing.T) {
	for name, test := range map[string]struct {
		offered []string
		spoken  string
	}{
		"h1":      {[]string{"http/1.1"}, "HTTP/1.1"},
		"nothing": {nil, "HTTP/1.1"},
		"h2":      {[]string{"h2", "http/1.1"}, "HTTP/2.0"},
		"h2 only": {[]string{"h2"}, "HTTP/2.0"},
	} {
		t.Run(name, func(t *testing.T) {
			for _, sent := range []bool{true, false} {
				c := newChoosing(t, test.offered...)
				client := c.client(t)
				for range 5 {
					if !sent {
						if _, _, err := post(t, client, c.URL); err != nil {
							t.Fatal(err)
						}
						continue
					}
					proto, conn, err := send(t, client, c.URL, "data")
					if err != nil || proto != test.spoken {
						t.Fatalf("%s, %v; want %s", proto, err, test.spoken)
					}
					if local, remote := Addresses(conn); !strings.HasPrefix(local, "127.0.0.1:") || remote != c.Listener.Addr().String() {
						t.Errorf("from %s to %s", local, remote)
					}
				}
				for range 5 {
					if spoken := <-c.spoken; spoken != test.spoken {
						t.Errorf("spoken is %s, want %s", spoken, test.spoken)
					}
				}
				if n := c.connections.Load(); n != 1 {
					t.Errorf("%d connections for requests one after the other", n)
				}
			}
		})
	}
}

// Who comes while the first request waits for its answer needs no connection of its own.
func TestASlowAnswerByHTTP2HoldsNobodyUp(t *testing.T) {
	c := newChoosing(t, "h2")
	client := c.client(t)
	hold := make(chan struct{})
	c.hold.Store(&hold)
	first := make(chan error)
	go func() {
		_, _, err := send(t, client, c.URL, "data")
		first <- err
	}()
	<-c.spoken // it has come
	c.hold.Store(nil)
	for range 3 {
		if proto, _, err := send(t, client, c.URL, "data"); err != nil || proto != "HTTP/2.0" {
			t.Errorf("%s, %v", proto, err)
		}
	}
	close(hold)
	if err := <-first; err != nil {
		t.Error(err)
	}
	if n := c.connections.Load(); n != 1 {
		t.Errorf("%d connections", n)
	}
}

// A server may change its mind: the next connection tells.
func TestAServerThatChangesWhatItSpeaks(t *testing.T) {
	c := newChoosing(t, "h2")
	client := c.client(t)
	want := func(proto string, connections int64) {
		t.Helper()
		got, _, err := send(t, client, c.URL, "data")
		if n := c.connections.Load(); err != nil || got != proto || n != connections {
			t.Errorf("%s over %d connections, %v; want %s over %d", got, n, err, proto, connections)
		}
	}
	change := func(protocols ...string) {
		c.protocols.Store(&protocols)
		client.CloseIdleConnections()
	}
	want("HTTP/2.0", 1)
	change("http/1.1")
	want("HTTP/1.1", 2) // the connection that was made for HTTP/2
	change("http/1.1")
	want("HTTP/1.1", 3)
	want("HTTP/1.1", 3)
	change("h2")
	want("HTTP/2.0", 4)
	want("HTTP/2.0", 4)
}

// A burst to a server of which nothing is known opens connections for all of it, as net/http
// does too. Once HTTP/2 is known, one is left.
func TestABurstToAServerOfHTTP2(t *testing.T) {
	c := newChoosing(t, "h2")
	client := c.client(t)
	var all sync.WaitGroup
	for range 20 {
		all.Go(func() {
			if proto, _, err := send(t, client, c.URL, "data"); err != nil || proto != "HTTP/2.0" {
				t.Errorf("%s, %v", proto, err)
			}
		})
	}
	all.Wait()
	before := c.connections.Load()
	for range 20 {
		all.Go(func() {
			if proto, _, err := send(t, client, c.URL, "data"); err != nil || proto != "HTTP/2.0" {
				t.Errorf("%s, %v", proto, err)
			}
		})
	}
	all.Wait()
	if n := c.connections.Load(); n != before {
		t.Errorf("%d connections, then %d", before, n)
	}
}

// Large requests and small ones of one host each have their connections.
func TestLargeRequestsOverTLSAreNetHTTPs(t *testing.T) {
	c := newChoosing(t, "http/1.1")
	client := c.client(t)
	for range 3 {
		for _, size := range []int{10, http1.MaxBody + 1} {
			if proto, _, err := send(t, client, c.URL, strings.Repeat("x", size)); err != nil || proto != "HTTP/1.1" {
				t.Errorf("%d bytes: %s, %v", size, proto, err)
			}
		}
	}
	if n := c.connections.Load(); n != 2 {
		t.Errorf("%d connections", n)
	}
}

// An answer that nobody asked for is not the next request's, though it came in a record of
// its own, which TLS has read and not handed on yet.
func TestASecondAnswerInARecordOfItsOwn(t *testing.T) {
	r := newReceiver(t, (*httptest.Server).StartTLS, ok)
	l, err := net.Listen("tcp", "127.0.0.9:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	var connections atomic.Int64
	go func() {
		for {
			raw, err := l.Accept()
			if err != nil {
				return
			}
			connections.Add(1)
			go func() {
				defer raw.Close()
				held := &holding{Conn: raw}
				c := tls.Server(held, &tls.Config{Certificates: r.TLS.Certificates})
				in := bufio.NewReader(c)
				for {
					req, err := http.ReadRequest(in)
					if err != nil {
						return
					}
					io.Copy(io.Discard, req.Body)
					held.hold = true // both records come at once
					io.WriteString(c, "HTTP/1.1 500 Oh\r\nContent-Length: 0\r\n\r\n")
					io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nforged")
					held.release()
				}
			}()
		}
	}()
	client := newClient(t, &Dialer{Guard: guard(t, "127.0.0.9")}, TransportOptions{TLS: trusting(r)})
	for n := range 3 {
		res, body, err := post(t, client, "https://"+l.Addr().String())
		if err != nil || res.StatusCode != http.StatusInternalServerError || body != "" {
			t.Errorf("request %d: %v %q, %v", n, res, body, err)
		}
	}
	if n := connections.Load(); n != 3 {
		t.Errorf("%d connections", n)
	}
}

// holding gathers what is written while it holds.
type holding struct {
	net.Conn
	hold bool
	held []byte
}

func (h *holding) Write(b []byte) (int, error) {
	if h.hold {
		h.held = append(h.held, b...)
		return len(b), nil
	}
	return h.Conn.Write(b)
}

func (h *holding) release() {
	h.hold = false
	_, _ = h.Conn.Write(h.held)
	h.held = nil
}

// TLS may only be what the configuration makes of it: no renegotiation, and the version.
func TestWhatTLSIsNotAsked(t *testing.T) {
	given := &tls.Config{RootCAs: x509.NewCertPool()}
	for _, o := range []TransportOptions{{}, {TLS: given}} {
		c := NewTransport(&Dialer{}, o).tls
		if c.Renegotiation != tls.RenegotiateNever || c.InsecureSkipVerify || c.MinVersion != tls.VersionTLS12 {
			t.Errorf("%+v", c)
		}
	}
}

// A server of TLS 1.2 may ask to negotiate anew, under which the answers of one who was never
// asked for could come as its own. OpenSSL does so when it is told to.
func TestRenegotiationIsRefused(t *testing.T) {
	openssl, err := exec.LookPath("openssl")
	if err != nil {
		t.Skip("it needs the program openssl")
	}
	r := newReceiver(t, (*httptest.Server).StartTLS, ok)
	key, err := x509.MarshalPKCS8PrivateKey(r.TLS.Certificates[0].PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "server.pem")
	var both bytes.Buffer
	for _, block := range []*pem.Block{{Type: "CERTIFICATE", Bytes: r.Certificate().Raw}, {Type: "PRIVATE KEY", Bytes: key}} {
		if err := pem.Encode(&both, block); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(file, both.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	server := exec.Command(openssl, "s_server", "-accept", "127.0.0.9:0", "-cert", file, "-key", file, "-tls1_2")
	in, err := server.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := server.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = server.Process.Kill(); _ = server.Wait() })
	lines := bufio.NewScanner(out)
	until := func(prefix string) string {
		for lines.Scan() {
			if rest, ok := strings.CutPrefix(lines.Text(), prefix); ok {
				return rest
			}
		}
		t.Fatalf("openssl has not said %q", prefix)
		return ""
	}
	address := until("ACCEPT ")
	client := newClient(t, &Dialer{Guard: guard(t, "127.0.0.9")}, TransportOptions{TLS: trusting(r)})
	failed := make(chan error)
	go func() {
		_, _, err := send(t, client, "https://"+address, "a line\n")
		failed <- err
	}()
	until("a line") // the request has come
	go func() { _, _ = io.Copy(io.Discard, out) }()
	if _, err := io.WriteString(in, "R\n"); err != nil {
		t.Fatal(err)
	}
	if err := <-failed; err == nil || !strings.Contains(err.Error(), "tls: no renegotiation") {
		t.Errorf("%v", err)
	}
}
