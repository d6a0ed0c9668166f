package integration

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"
)

// authority issues certificates.
type authority struct {
	t           testing.TB
	certificate *x509.Certificate
	key         *ecdsa.PrivateKey
}

func newAuthority(t testing.TB) *authority {
	t.Helper()
	a := &authority{t: t}
	made := a.issue(func(c *x509.Certificate) {
		c.Subject = pkix.Name{CommonName: "authority of the tests"}
		c.IsCA, c.BasicConstraintsValid, c.KeyUsage = true, true, x509.KeyUsageCertSign
		c.ExtKeyUsage = nil // it issues certificates of servers and of clients
	})
	a.certificate, a.key = made.Leaf, made.PrivateKey.(*ecdsa.PrivateKey)
	return a
}

// issue makes a certificate for 127.0.0.1 that is valid now, unless change says otherwise.
func (a *authority) issue(change func(c *x509.Certificate)) tls.Certificate {
	a.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		a.t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()),
		NotBefore:    time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	if change != nil {
		change(template)
	}
	parent, signer := a.certificate, a.key
	if parent == nil {
		parent, signer = template, key // its own
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), signer)
	if err != nil {
		a.t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		a.t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}
}

// trusted makes an instance believe the authority.
func (a *authority) trusted() option {
	return func(c *instance) {
		block := &pem.Block{Type: "CERTIFICATE", Bytes: a.certificate.Raw}
		c.env = append(c.env, "SSL_CERT_FILE="+c.write("authority.pem", string(pem.EncodeToMemory(block))))
	}
}

// newTLSReceiver listens with a certificate of the authority.
func newTLSReceiver(t testing.TB, a *authority, protocols ...string) *receiver {
	t.Helper()
	r := &receiver{t: t, address: fmt.Sprintf("127.0.0.1:%d", freePort(t)), reply: with(http.StatusOK)}
	r.tls = &tls.Config{Certificates: []tls.Certificate{a.issue(nil)}, NextProtos: protocols}
	r.up()
	t.Cleanup(r.down)
	return r
}

// F19, and the control of the next test: with the right certificate all arrives, in the
// newest version of HTTP that the endpoint offers.
func TestHTTPSIsSpokenOverHTTP1AndHTTP2(t *testing.T) {
	t.Parallel()
	a := newAuthority(t)
	old, modern := newTLSReceiver(t, a, "http/1.1"), newTLSReceiver(t, a, "h2", "http/1.1")
	secret := newSecret()
	c := run(t, subscribed("old", old, signed, "max_in_flight 1")+subscribed("modern", modern, signed, "max_in_flight 1"),
		withEnv("SECRET="+secret), a.trusted())
	const n = 10
	for i := range n {
		c.accept("order.paid", fmt.Sprintf(`{"order":%d}`, i))
	}
	c.drained()
	for proto, r := range map[string]*receiver{"HTTP/1.1": old, "HTTP/2.0": modern} {
		for _, got := range r.wantExactly(n) {
			if err := verify(secret, &got); err != nil || got.proto != proto {
				t.Errorf("it came over %s; want %s: %v", got.proto, proto, err)
			}
		}
		if got := r.connections.Load(); got != 1 {
			t.Errorf("%s: %d deliveries, one after the other, took %d connections; want one", proto, n, got)
		}
	}
}

// wire keeps what clients send, as it comes over the network.
type wire struct {
	net.Listener
	mu   sync.Mutex
	sent []*bytes.Buffer
}

type wireConn struct {
	net.Conn
	wire *wire
	sent *bytes.Buffer
}

func (w *wire) Accept() (net.Conn, error) {
	conn, err := w.Listener.Accept()
	if err != nil {
		return nil, err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	sent := new(bytes.Buffer)
	w.sent = append(w.sent, sent)
	return &wireConn{conn, w, sent}, nil
}

func (c *wireConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	c.wire.mu.Lock()
	defer c.wire.mu.Unlock()
	c.sent.Write(b[:n])
	return n, err
}

// connections returns what was sent on each.
func (w *wire) connections() (all []string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, sent := range w.sent {
		all = append(all, sent.String())
	}
	return all
}

// newWire listens, and gives each connection to serve.
func newWire(t *testing.T, serve func(conn net.Conn)) *wire {
	t.Helper()
	listener, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", freePort(t)))
	if err != nil {
		t.Fatal(err)
	}
	w := &wire{Listener: listener}
	var open sync.WaitGroup
	t.Cleanup(func() { _ = listener.Close(); open.Wait() })
	open.Go(func() {
		for {
			conn, err := w.Accept()
			if err != nil {
				return
			}
			open.Go(func() {
				defer conn.Close()
				_ = conn.SetDeadline(time.Now().Add(patience))
				serve(conn)
			})
		}
	})
	return w
}

// reset ends a connection with RST.
func (c *wireConn) reset() {
	_ = c.Conn.(*net.TCPConn).SetLinger(0)
	_ = c.Close()
}

// F19: the failure has a name, and nothing is ever said in the clear.
func TestEndpointThatCannotProveItsNameGetsNothing(t *testing.T) {
	t.Parallel()
	a, stranger := newAuthority(t), newAuthority(t)
	// handshake answers as a server with this configuration, and then like one that is well.
	handshake := func(config *tls.Config) func(net.Conn) {
		return func(conn net.Conn) {
			server := tls.Server(conn, config)
			if server.Handshake() != nil {
				return
			}
			if _, err := server.Read(make([]byte, 1)); err != nil {
				return
			}
			_, _ = io.WriteString(server, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
		}
	}
	certified := func(by *authority, change func(c *x509.Certificate)) func(net.Conn) {
		return handshake(&tls.Config{Certificates: []tls.Certificate{by.issue(change)}})
	}
	hello := func(conn net.Conn) bool { // reads the first bytes of what the client says
		_, err := io.ReadFull(conn, make([]byte, 5))
		return err == nil
	}
	for _, bad := range []struct {
		name, kind, says string
		serve            func(conn net.Conn)
	}{
		{"expired", "tls", "expired", certified(a, func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Minute) })},
		{"not yet valid", "tls", "not yet valid", certified(a, func(c *x509.Certificate) {
			c.NotBefore, c.NotAfter = time.Now().Add(time.Hour), time.Now().Add(2*time.Hour)
		})},
		{"another name", "tls", "127.0.0.1", certified(a, func(c *x509.Certificate) {
			c.IPAddresses, c.DNSNames = nil, []string{"crm.example.com"}
		})},
		{"another address", "tls", "127.0.0.1", certified(a, func(c *x509.Certificate) {
			c.IPAddresses = []net.IP{net.IPv4(127, 0, 0, 9)}
		})},
		{"unknown authority", "tls", "unknown authority", certified(stranger, nil)},
		{"its own authority", "tls", "unknown authority", certified(&authority{t: t}, nil)},
		{"for clients only", "tls", "key usage", certified(a, func(c *x509.Certificate) {
			c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
		})},
		{"TLS 1.1", "tls", "protocol version", handshake(&tls.Config{
			Certificates: []tls.Certificate{a.issue(nil)}, MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11,
		})},
		{"no protocol in common", "tls", "protocol", handshake(&tls.Config{
			Certificates: []tls.Certificate{a.issue(nil)}, NextProtos: []string{"acme-tls/1"},
		})},
		{"no TLS at all", "tls", "TLS", func(conn net.Conn) {
			if hello(conn) {
				_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
				_, _ = io.Copy(io.Discard, conn)
			}
		}},
		{"silent in the handshake", "timeout", "", func(conn net.Conn) { _, _ = io.Copy(io.Discard, conn) }},
		{"reset in the handshake", "reset", "", func(conn net.Conn) {
			if hello(conn) {
				conn.(*wireConn).reset()
			}
		}},
		{"closed in the handshake", "reset", "", func(conn net.Conn) {
			hello(conn)
			_, _ = io.CopyN(io.Discard, conn, 100) // so that it is closed, not reset
		}},
	} {
		t.Run(bad.name, func(t *testing.T) {
			t.Parallel()
			w := newWire(t, bad.serve)
			c := run(t, fmt.Sprintf("subscription crm https://%s {\nallow_ips 127.0.0.1\ntimeout 2s\nretry 1ms\n}", w.Addr()), a.trusted())
			id := c.accept("order.paid", `{"secret":"sesame"}`).ID
			d := c.wantDelivery(id, "crm", stateFailed, "schedule")
			if len(d.Attempts) != 2 {
				t.Fatalf("%+v; want two attempts", d)
			}
			for _, got := range d.Attempts {
				if got.ErrorKind != bad.kind || got.Status != 0 || !strings.Contains(got.Error, bad.says) || got.Error == "" {
					t.Errorf("%+v; want %s, and %q", got, bad.kind, bad.says)
				}
			}
			sent := w.connections()
			if len(sent) != 2 {
				t.Errorf("there were %d connections; want one for each attempt", len(sent))
			}
			for _, text := range sent {
				const handshakeRecord = "\x16\x03"
				if !strings.HasPrefix(text, handshakeRecord) || strings.Contains(text, "POST") || strings.Contains(text, "sesame") {
					t.Errorf("this was sent: %q", text)
				}
			}
		})
	}
}
