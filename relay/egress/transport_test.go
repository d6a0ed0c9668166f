package egress

import (
	"bytes"
	"compress/gzip"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/caddyrelay/caddyrelay/relay/destination"
	"github.com/caddyrelay/caddyrelay/relay/http1"
)

// receiver is an HTTP server that notes where requests come from.
type receiver struct {
	*httptest.Server
	mu   sync.Mutex
	from []netip.AddrPort
}

func newReceiver(t *testing.T, start func(*httptest.Server), handle http.HandlerFunc) *receiver {
	t.Helper()
	return newReceiverAt(t, "127.0.0.9:0", start, handle)
}

func newReceiverAt(t *testing.T, address string, start func(*httptest.Server), handle http.HandlerFunc) *receiver {
	t.Helper()
	r := &receiver{}
	r.Server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		r.mu.Lock()
		r.from = append(r.from, netip.MustParseAddrPort(req.RemoteAddr))
		r.mu.Unlock()
		handle(w, req)
	}))
	l, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	r.Listener.Close()
	r.Listener = l
	start(r.Server)
	t.Cleanup(r.Close)
	return r
}

// senders returns where requests came from.
func (r *receiver) senders() []netip.AddrPort {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.from)
}

func ok(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "thanks") }

func newClient(t *testing.T, d *Dialer, o TransportOptions) *http.Client {
	t.Helper()
	transport := NewTransport(d, o)
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport, Timeout: time.Minute} // a mistake shall not hang
}

func post(t *testing.T, client *http.Client, url string) (*http.Response, string, error) {
	t.Helper()
	res, err := client.Post(url, "application/json", strings.NewReader(`{"paid":true}`))
	if err != nil {
		return nil, "", err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	return res, string(body), err
}

func TestDeliveriesLeaveFromTheRegionAndKeepTheirConnection(t *testing.T) {
	r := newReceiver(t, (*httptest.Server).Start, ok)
	client := newClient(t, &Dialer{Region: region(t, "127.0.0.2", "127.0.0.3"), Guard: guard(t, "127.0.0.9")}, TransportOptions{})
	for range 3 {
		if _, body, err := post(t, client, r.URL); err != nil || body != "thanks" {
			t.Fatal(body, err)
		}
	}
	from := r.senders()
	if len(slices.Compact(slices.Clone(from))) != 1 {
		t.Errorf("three deliveries came over several connections: %v", from)
	}
	if source := from[0].Addr(); !slices.Contains(addrs("127.0.0.2", "127.0.0.3"), source) {
		t.Errorf("deliveries came from %v", source)
	}
}

func TestErrorsAreFoundThroughTheClient(t *testing.T) {
	c := newCanary(t, "127.0.0.1")
	client := newClient(t, &Dialer{Region: region(t, "127.0.0.2"), Guard: guard(t)}, TransportOptions{})
	_, _, err := post(t, client, "http://"+c.addr.String())
	if blocked, ok := errors.AsType[*destination.BlockedError](err); !ok || blocked.Host != "127.0.0.1" {
		t.Errorf("blocked: %v", err)
	}
	c.expectSilence(t)

	rec := &recorder{fail: map[string]error{goneA: syscall.EADDRNOTAVAIL}}
	client = newClient(t, &Dialer{Region: region(t, goneA), Guard: guard(t), connect: rec.connect}, TransportOptions{})
	_, _, err = post(t, client, "http://"+pub)
	if unavailable, ok := errors.AsType[*UnavailableError](err); !ok || unavailable.Region != "eu" {
		t.Errorf("unavailable: %v", err)
	}
}

func TestTransportIgnoresTheEnvironment(t *testing.T) {
	// http.ProxyFromEnvironment reads the environment once in a process, so that
	// setting it here would prove nothing; the network namespace tests do.
	if NewTransport(&Dialer{}, TransportOptions{}).pool(sources{}).other.Proxy != nil {
		t.Error("the transport asks for a proxy")
	}
}

func TestTransportOptions(t *testing.T) {
	given := &tls.Config{ServerName: "hooks.example.com", MinVersion: tls.VersionTLS10}
	transport := NewTransport(&Dialer{}, TransportOptions{TLS: given}).pool(sources{}).other
	if transport.MaxIdleConns != 0 {
		t.Error("the idle connections of all hosts together are bounded")
	}
	if c := transport.TLSClientConfig; c == given || c.ServerName != given.ServerName || c.MinVersion != tls.VersionTLS12 {
		t.Errorf("TLS: %+v", c)
	}
	if given.MinVersion != tls.VersionTLS10 {
		t.Error("the caller's TLS configuration was changed")
	}
	transport = NewTransport(&Dialer{}, TransportOptions{TLS: &tls.Config{MinVersion: tls.VersionTLS13}}).pool(sources{}).other
	if transport.TLSClientConfig.MinVersion != tls.VersionTLS13 || transport.MaxIdleConnsPerHost != leastIdlePerHost {
		t.Error("a stricter version was loosened, or a default is missing")
	}
}

// Several subscriptions of one host have their requests on the same transport. Were fewer
// connections kept than those take together, each burst would connect anew.
func TestAsManyIdleConnectionsAreKeptAsAreExpected(t *testing.T) {
	type expected struct {
		host string
		n    int
	}
	for name, test := range map[string]struct {
		expected []expected
		want     int
	}{
		"few":             {[]expected{{"a:80", 4}}, leastIdlePerHost},
		"many":            {[]expected{{"a:80", 40}}, 40},
		"of one host":     {[]expected{{"a:80", 40}, {"a:80", 20}}, 60},
		"of several":      {[]expected{{"a:80", 40}, {"b:80", 50}, {"a:80", 20}}, 60},
		"of thousands":    {[]expected{{"a:80", 3000}, {"a:80", 3000}}, mostIdlePerHost},
		"of no one known": {nil, leastIdlePerHost},
	} {
		t.Run(name, func(t *testing.T) {
			transport := NewTransport(&Dialer{}, TransportOptions{})
			for _, e := range test.expected {
				transport.Expect(e.host, e.n)
			}
			made := transport.pool(sources{})
			if got := made.plain.MaxIdlePerHost; got != test.want {
				t.Errorf("small requests: %d are kept, want %d", got, test.want)
			}
			if got := made.secure.MaxIdlePerHost; got != test.want {
				t.Errorf("small requests of https: %d are kept, want %d", got, test.want)
			}
			if got := made.other.MaxIdleConnsPerHost; got != test.want {
				t.Errorf("others: %d are kept, want %d", got, test.want)
			}
		})
	}
}

func trusting(r *receiver) *tls.Config {
	pool := x509.NewCertPool()
	pool.AddCert(r.Certificate())
	return &tls.Config{RootCAs: pool, ServerName: "example.com"}
}

func TestTransportSpeaksHTTP2(t *testing.T) {
	r := newReceiver(t, func(s *httptest.Server) { s.EnableHTTP2 = true; s.StartTLS() }, ok)
	client := newClient(t, &Dialer{Region: region(t, "127.0.0.2"), Guard: guard(t, "127.0.0.9")}, TransportOptions{TLS: trusting(r)})
	res, _, err := post(t, client, r.URL)
	if err != nil || res.ProtoMajor != 2 || r.senders()[0].Addr().String() != "127.0.0.2" {
		t.Errorf("%v from %v: %v", res, r.senders(), err)
	}
}

func TestTransportRefusesOldTLSAndUnknownAuthorities(t *testing.T) {
	quiet := func(s *httptest.Server) {
		s.TLS = &tls.Config{MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11} //nolint:gosec // it is to be refused
		s.StartTLS()
	}
	r := newReceiver(t, quiet, ok)
	d := &Dialer{Region: region(t, "127.0.0.2"), Guard: guard(t, "127.0.0.9")}
	if _, _, err := post(t, newClient(t, d, TransportOptions{TLS: trusting(r)}), r.URL); err == nil || !strings.Contains(err.Error(), "protocol version") {
		t.Errorf("TLS 1.1: %v", err)
	}
	r = newReceiver(t, (*httptest.Server).StartTLS, ok)
	_, _, err := post(t, newClient(t, d, TransportOptions{}), r.URL)
	if _, ok := errors.AsType[*tls.CertificateVerificationError](err); !ok {
		t.Errorf("an unknown authority: %v", err)
	}
	if len(r.senders()) != 0 {
		t.Error("a request was sent to who could not prove its name")
	}
}

func TestTransportDoesNotInflate(t *testing.T) {
	var packed bytes.Buffer
	w := gzip.NewWriter(&packed)
	w.Write(make([]byte, 1<<20))
	w.Close()
	r := newReceiver(t, (*httptest.Server).Start, func(w http.ResponseWriter, req *http.Request) {
		if accept := req.Header.Get("Accept-Encoding"); accept != "" {
			t.Errorf("the request accepts %q", accept)
		}
		w.Header().Set("Content-Encoding", "gzip")
		w.Write(packed.Bytes())
	})
	client := newClient(t, &Dialer{Guard: guard(t, "127.0.0.9")}, TransportOptions{})
	if _, body, err := post(t, client, r.URL); err != nil || body != packed.String() {
		t.Errorf("%d bytes, want the %d that were sent: %v", len(body), packed.Len(), err)
	}
}

func TestTransportLimitsHeaders(t *testing.T) {
	r := newReceiver(t, (*httptest.Server).Start, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("X-Endless", strings.Repeat("x", 70<<10))
	})
	client := newClient(t, &Dialer{Guard: guard(t, "127.0.0.9")}, TransportOptions{})
	if _, _, err := post(t, client, r.URL); err == nil || !strings.Contains(err.Error(), "more than 65536 bytes") {
		t.Errorf("%v", err)
	}
	large := strings.NewReader(strings.Repeat("x", http1.MaxBody+1))
	if _, err := client.Post(r.URL, "text/plain", large); err == nil || !strings.Contains(err.Error(), "exceeded 65536 bytes") {
		t.Errorf("by net/http: %v", err)
	}
}
