package relay

import (
	"bufio"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/caddyrelay/caddyrelay/relay/destination"
	"github.com/caddyrelay/caddyrelay/relay/egress"
	"github.com/caddyrelay/caddyrelay/relay/http1"
)

// issued makes a certificate for 127.0.0.1 that signs itself.
func issued(t *testing.T, change func(*x509.Certificate)) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
	}
	if change != nil {
		change(template)
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}
}

// serving gives each connection to serve.
func serving(t *testing.T, serve func(net.Conn)) (address string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	t.Cleanup(func() { _ = l.Close(); all.Wait() })
	all.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			all.Go(func() {
				defer c.Close()
				_ = c.SetDeadline(time.Now().Add(time.Minute)) // a mistake shall not hang
				serve(c)
			})
		}
	})
	return l.Addr().String()
}

// What fails over TLS is of the same kind, and as clear, whether package http1 makes the
// request or net/http does, which it is too large for.
func TestFailuresOverTLSAreOfTheSameKindEitherWay(t *testing.T) {
	roots := x509.NewCertPool()
	trusted := func(change func(*x509.Certificate)) tls.Certificate {
		made := issued(t, change)
		roots.AddCert(made.Leaf)
		return made
	}
	good := trusted(nil)
	serve := func(change func(*tls.Config), then func(c *tls.Conn)) func(net.Conn) {
		config := &tls.Config{Certificates: []tls.Certificate{good}}
		if change != nil {
			change(config)
		}
		return func(raw net.Conn) {
			if c := tls.Server(raw, config); c.Handshake() == nil {
				then(c)
			}
		}
	}
	asked := func(then func(c *tls.Conn)) func(c *tls.Conn) { // reads a request first
		return func(c *tls.Conn) {
			req, err := http.ReadRequest(bufio.NewReader(c))
			if err == nil {
				_, err = io.Copy(io.Discard, req.Body)
			}
			if err == nil {
				then(c)
			}
		}
	}
	answering := func(text string) func(c *tls.Conn) {
		return asked(func(c *tls.Conn) {
			_, _ = io.WriteString(c, text)
			_ = c.Close()
		})
	}
	fine := answering("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
	as := func(certificate tls.Certificate) func(*tls.Config) {
		return func(c *tls.Config) { c.Certificates = []tls.Certificate{certificate} }
	}
	hello := func(c net.Conn) bool {
		_, err := io.ReadFull(c, make([]byte, 5))
		return err == nil
	}
	wait := func(c net.Conn) { _, _ = io.Copy(io.Discard, c) }
	for _, c := range []struct {
		name  string
		serve func(net.Conn)
		kind  ErrorKind
		says  string
	}{
		{"the control", serve(nil, fine), KindNone, ""},
		{"its protocol is named", serve(func(c *tls.Config) { c.NextProtos = []string{"http/1.1"} }, fine), KindNone, ""},
		{"TLS 1.2", serve(func(c *tls.Config) { c.MaxVersion = tls.VersionTLS12 }, fine), KindNone, ""},

		{"unknown authority", serve(as(issued(t, nil)), fine), KindTLS, "unknown authority"},
		{"expired", serve(as(trusted(func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Minute) })), fine), KindTLS, "expired"},
		{"not yet valid", serve(as(trusted(func(c *x509.Certificate) { c.NotBefore = time.Now().Add(time.Minute) })), fine), KindTLS, "not yet valid"},
		{"another name", serve(as(trusted(func(c *x509.Certificate) {
			c.IPAddresses, c.DNSNames = nil, []string{"crm.example.com"}
		})), fine), KindTLS, "127.0.0.1"},
		{"an old version", serve(func(c *tls.Config) { c.MinVersion, c.MaxVersion = tls.VersionTLS10, tls.VersionTLS11 }, fine), KindTLS, "protocol version"},
		{"no protocol in common", serve(func(c *tls.Config) { c.NextProtos = []string{"acme-tls/1"} }, fine), KindTLS, "no application protocol"},
		{"a certificate is wanted", serve(func(c *tls.Config) { c.ClientAuth = tls.RequireAnyClientCert }, fine), KindTLS, "certificate required"},
		{"a certificate is wanted, TLS 1.2", serve(func(c *tls.Config) {
			c.ClientAuth, c.MaxVersion = tls.RequireAnyClientCert, tls.VersionTLS12
		}, fine), KindTLS, "handshake failure"},
		{"no TLS at all", func(c net.Conn) {
			if hello(c) {
				_, _ = io.WriteString(c, "HTTP/1.1 400 Bad Request\r\n\r\n")
				wait(c)
			}
		}, KindTLS, "does not look like a TLS handshake"},
		{"nonsense after the handshake", serve(nil, asked(func(c *tls.Conn) {
			_, _ = io.WriteString(c.NetConn(), "HTTP/1.1 200 OK\r\n\r\n")
			wait(c.NetConn())
		})), KindTLS, "tls: "},
		{"a forged record", serve(nil, asked(func(c *tls.Conn) {
			_, _ = io.WriteString(c.NetConn(), "\x17\x03\x03\x00\x20"+strings.Repeat("x", 32))
			wait(c.NetConn())
		})), KindTLS, "bad record MAC"},

		{"silent in the handshake", wait, KindTimeout, "deadline exceeded"},
		{"silent after it", serve(nil, func(c *tls.Conn) { wait(c) }), KindTimeout, "deadline exceeded"},
		{"silent in the answer", serve(nil, asked(func(c *tls.Conn) {
			_, _ = io.WriteString(c, "HTTP/1.1 500 ")
			wait(c)
		})), KindTimeout, "deadline exceeded"},
		{"closed in the handshake", func(c net.Conn) { hello(c); _, _ = io.Copy(io.Discard, io.LimitReader(c, 100)) }, KindReset, ""},
		{"reset in the handshake", func(c net.Conn) {
			if hello(c) {
				_ = c.(*net.TCPConn).SetLinger(0)
			}
		}, KindReset, "reset"},
		{"closed without an answer", serve(nil, asked(func(c *tls.Conn) { _ = c.Close() })), KindReset, "EOF"},
		{"half-closed without an answer", serve(nil, asked(func(c *tls.Conn) {
			_ = c.CloseWrite()
			wait(c)
		})), KindReset, "EOF"},
		{"cut in a record", serve(nil, asked(func(c *tls.Conn) { _, _ = io.WriteString(c.NetConn(), "\x17\x03\x03\x00\x20x") })), KindReset, "EOF"},

		{"no HTTP", serve(nil, answering("220 smtp ready\r\n\r\n")), KindProtocol, "malformed HTTP"},
		{"an endless header", serve(nil, answering("HTTP/1.1 200\r\nX: "+strings.Repeat("x", 70<<10))), KindNone, ""}, // the status line has decided
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			address := serving(t, c.serve)
			guard, err := destination.New(destination.Rules{AllowIPs: []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")}})
			if err != nil {
				t.Fatal(err)
			}
			for way, size := range map[string]int{"small": 10, "large": http1.MaxBody + 1} {
				transport := egress.NewTransport(&egress.Dialer{Guard: guard}, egress.TransportOptions{TLS: &tls.Config{RootCAs: roots}})
				t.Cleanup(transport.CloseIdleConnections)
				s := &Subscription{
					Name: "crm", Method: http.MethodPost, URL: &url.URL{Scheme: "https", Host: address, Path: "/"},
					Timeout: 20 * time.Second, Transport: transport,
				}
				if c.kind == KindTimeout {
					s.Timeout = 300 * time.Millisecond
				}
				j := &job{sub: s, plan: new(Plan), parcel: parcel{event: &Event{ID: "evt_1", Type: "a", Data: make([]byte, size)}}}
				a, v := j.attempt(t.Context())
				if v.kind != c.kind || !strings.Contains(v.message, c.says) || c.kind != KindNone && a.Status != 0 {
					t.Errorf("%s: %s, status %d, %q; want %s, and %q", way, v.kind, a.Status, v.message, c.kind, c.says)
				}
			}
		})
	}
}
