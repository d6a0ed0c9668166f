package relay

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/caddyrelay/caddyrelay/relay/destination"
	"github.com/caddyrelay/caddyrelay/relay/egress"
)

// Whoever reads why an attempt failed is told which word mends it, and between which addresses
// it was.
func TestHandshakesThatFailSayWhatMendsThem(t *testing.T) {
	guard, err := destination.New(destination.Rules{AllowIPs: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}})
	if err != nil {
		t.Fatal(err)
	}
	plain := httptest.NewServer(nil)
	t.Cleanup(plain.Close)
	for _, tt := range []struct {
		name   string
		server *tls.Config
		trusts bool // whether the relay trusts the server's authority
		client *tls.Config
		plain  bool
		want   string
	}{
		{name: "an unknown authority", want: "tls_trust_pool file <pem>"},
		{name: "another name", trusts: true, client: &tls.Config{ServerName: "hooks.test"}, want: "not hooks.test; if that is the receiver all the same, write: tls_server_name example.com"},
		{name: "a certificate is wanted", trusts: true, server: &tls.Config{ClientAuth: tls.RequireAnyClientCert}, want: "certificate required; the receiver asks for a certificate of the relay: tls_client_auth <certificate file> <key file>"},
		{name: "the same in TLS 1.2", trusts: true, server: &tls.Config{ClientAuth: tls.RequireAnyClientCert, MaxVersion: tls.VersionTLS12}, want: "tls_client_auth"},
		{name: "another certificate is wanted", trusts: true, server: &tls.Config{ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: x509.NewCertPool()}, client: &tls.Config{ServerName: "example.com"}, want: refusedCertificate},
		{name: "old versions only", trusts: true, server: &tls.Config{MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11}, want: "the receiver has to speak TLS 1.2 or 1.3"}, //nolint:gosec // it is refused
		{name: "no TLS at all", plain: true, want: "write http:// if that is meant"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			server := httptest.NewUnstartedServer(nil)
			server.Config.ErrorLog = log.New(io.Discard, "", 0)
			if server.TLS = tt.server; server.TLS == nil {
				server.TLS = new(tls.Config)
			}
			if tt.client == nil {
				tt.client = new(tls.Config)
			}
			server.StartTLS()
			defer server.Close()
			address := server.Listener.Addr().String()
			if tt.plain {
				address = plain.Listener.Addr().String()
			}
			if tt.trusts {
				tt.client.RootCAs = x509.NewCertPool()
				tt.client.RootCAs.AddCert(server.Certificate())
			}
			if tt.want == refusedCertificate {
				tt.client.Certificates = server.TLS.Certificates
				tt.client.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
					return &server.TLS.Certificates[0], nil // of an authority that the server did not name
				}
			}
			transport := egress.NewTransport(&egress.Dialer{Guard: guard}, egress.TransportOptions{TLS: tt.client})
			defer transport.CloseIdleConnections()
			req := &http.Request{
				Method: http.MethodPost, URL: &url.URL{Scheme: "https", Host: address, Path: "/"}, Host: address,
				Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Header: http.Header{},
			}
			resp, conn, err := egress.Send(context.Background(), transport, time.Now().Add(time.Minute), req)
			if err == nil {
				resp.Body.Close()
				t.Fatal("it was answered")
			}
			if got := err.Error() + tlsAdvice(err); !strings.Contains(got, tt.want) {
				t.Errorf("%s; want %s", got, tt.want)
			}
			if kind := errorKind(context.Background(), err); kind != KindTLS {
				t.Errorf("%v is of the kind %q", err, kind)
			}
			broken, ok := errors.AsType[*egress.HandshakeError](err)
			switch {
			case !ok && conn == nil:
				t.Errorf("%v: nobody knows between which addresses", err)
			case ok && (broken.Remote != address || !isAddress(broken.Local)):
				t.Errorf("from %s to %s; want %s", broken.Local, broken.Remote, address)
			}
		})
	}
}

func isAddress(text string) bool {
	_, _, err := net.SplitHostPort(text)
	return err == nil
}

// What a certificate says is its owner's word, and is not repeated unless it is a name.
func TestAdviceShowsNamesAlone(t *testing.T) {
	for names, want := range map[string]string{
		"hooks.example.com":       "; if that is the receiver all the same, write: tls_server_name hooks.example.com",
		"*.example.com":           "",
		"a\nb.example.com":        "",
		"* \x1b[2J,b.example.com": "; if that is the receiver all the same, write: tls_server_name b.example.com",
		"":                        "",
	} {
		certificate := &x509.Certificate{DNSNames: strings.Split(names, ",")}
		if got := tlsAdvice(x509.HostnameError{Certificate: certificate, Host: "x"}); got != want {
			t.Errorf("%q: %q, want %q", names, got, want)
		}
	}
	if got := tlsAdvice(errors.New("remote error: tls: internal error")); got != "" {
		t.Error(got)
	}
}
