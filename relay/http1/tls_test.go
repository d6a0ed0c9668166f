package http1

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"math/big"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/caddyrelay/caddyrelay/relay/httpcommon"
)

// way is what requests and answers go over; as text, the scheme of their URLs.
type way string

const (
	plainly   way = "http"
	encrypted way = "https"
)

func overBoth(t *testing.T, test func(*testing.T, way)) {
	t.Helper()
	for _, way := range []way{plainly, encrypted} {
		t.Run(string(way), func(t *testing.T) { test(t, way) })
	}
}

// certificate is that of all receivers.
var certificate = sync.OnceValue(func() *tls.Certificate {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		panic(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		panic(err)
	}
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}
})

// trusting is the configuration of clients that know the certificate.
func trusting() *tls.Config {
	roots := x509.NewCertPool()
	roots.AddCert(certificate().Leaf)
	return &tls.Config{RootCAs: roots}
}

// alerting is a connection whose other side ends TLS with an alert before its second answer.
type alerting struct {
	net.Conn
	requests int
}

func (a *alerting) Write(b []byte) (int, error) {
	a.requests++
	return a.Conn.Write(b)
}

func (a *alerting) Read(b []byte) (int, error) {
	if a.requests > 1 {
		return 0, &net.OpError{Op: "remote error", Err: errors.New("tls: internal error")} // as crypto/tls has it
	}
	return a.Conn.Read(b)
}

// A receiver that ends TLS while nobody asks anything closes its connection, and no more.
func TestTheEndOfTLSOnAKeptConnectionIsNoFailure(t *testing.T) {
	for name, end := range map[string]func(c *tls.Conn){
		"close_notify":              func(c *tls.Conn) { c.CloseWrite() },
		"close_notify, and closed":  func(c *tls.Conn) { c.Close() },
		"closed without a word":     func(c *tls.Conn) { c.NetConn().Close() },
		"half-closed without one":   func(c *tls.Conn) { c.NetConn().(*net.TCPConn).CloseWrite() },
		"cut in the next record":    func(c *tls.Conn) { c.NetConn().Write([]byte("\x17\x03\x03\x00")); c.NetConn().Close() },
		"an alert that is not sent": nil,
	} {
		t.Run(name, func(t *testing.T) {
			ended := make(chan struct{}, 3)
			r := newReceiverOver(t, encrypted, func(c net.Conn, n int) bool {
				io.WriteString(c, fine)
				if n == 1 && end != nil {
					end(c.(*tls.Conn))
				}
				ended <- struct{}{}
				return true
			})
			tr := newTransportOver(t, encrypted)
			if end == nil {
				dial := tr.Dial
				tr.Dial = func(ctx context.Context, network, address string) (net.Conn, error) {
					c, err := dial(ctx, network, address)
					return &alerting{Conn: c}, err
				}
			}
			r.want(tr, 200, "thanks")
			<-ended
			status, body, err := exchange(tr, r.request("data"))
			if status != 200 || body != "thanks" || err != nil {
				t.Errorf("%d %q (%v)", status, body, err)
			}
			if _, connections := r.counts(); connections != 2 {
				t.Errorf("%d connections", connections)
			}
		})
	}
}

// In TLS 1.3 the request is on its way before the certificate was judged. The alert is told,
// whatever else is found to be broken, and there is no second attempt.
func TestARefusedCertificateIsTold(t *testing.T) {
	for range 20 { // now and then the request is written before the alert came, or after
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			c, err := l.Accept()
			if err != nil {
				return
			}
			server := tls.Server(c, &tls.Config{Certificates: []tls.Certificate{*certificate()}, ClientAuth: tls.RequireAnyClientCert})
			_ = server.Handshake()
			_ = c.Close()
		}()
		r := &receiver{Listener: l, t: t, way: encrypted}
		err = r.wantError(newTransportOver(t, encrypted), "certificate required")
		if !httpcommon.Alerted(err) {
			t.Errorf("%v", err)
		}
		<-ended
		l.Close()
	}
}

// full is a connection that has read more than it handed on.
type full struct{ net.Conn }

func (full) Pending() bool { return true }

func TestAConnectionThatHasReadMoreIsNotKept(t *testing.T) {
	r := newReceiver(t, replying(fine))
	tr := newTransport(t)
	dial := tr.Dial
	tr.Dial = func(ctx context.Context, network, address string) (net.Conn, error) {
		c, err := dial(ctx, network, address)
		return full{c}, err
	}
	r.want(tr, 200, "thanks")
	r.want(tr, 200, "thanks")
	r.wantCounts(2, 2)
}

// The answers of FuzzAnswer, in records of TLS that a server cuts as it likes.
func FuzzAnswerOverTLS(f *testing.F) {
	for _, seed := range []string{fine, fine + fine, "HTTP/1.1 100 \r\n\r\n" + fine, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz", "", "\r\n\r\n"} {
		f.Add([]byte(seed), uint16(7), true)
		f.Add([]byte(seed), uint16(1000), false)
	}
	f.Fuzz(func(t *testing.T, answer []byte, cut uint16, polite bool) {
		client, server := net.Pipe()
		served := make(chan struct{})
		go func() {
			defer close(served)
			defer server.Close()
			over := tls.Server(server, &tls.Config{Certificates: []tls.Certificate{*certificate()}})
			buf := make([]byte, 4096)
			for {
				n, err := over.Read(buf)
				if err != nil {
					return
				}
				if bytes.Contains(buf[:n], []byte("data")) {
					break
				}
			}
			go io.Copy(io.Discard, server) // a pipe holds nothing, not even an alert
			at := min(int(cut), len(answer))
			over.Write(answer[:at])
			over.Write(answer[at:])
			if polite {
				over.Close()
			}
		}()
		config := trusting()
		config.ServerName = "127.0.0.1"
		tr := &Transport{Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
			c := tls.Client(client, config)
			return c, c.HandshakeContext(ctx)
		}}
		defer func() {
			tr.CloseIdleConnections()
			client.Close()
			<-served
		}()
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, "https://x.example/", strings.NewReader("data"))
		if err != nil {
			t.Fatal(err)
		}
		status, _, err := exchange(tr, req)
		if err == nil && (status < 200 || status > 999) {
			t.Errorf("%q is an answer of %d", answer, status)
		}
		if ctx.Err() != nil {
			t.Errorf("%q hangs", answer)
		}
	})
}
