package egress

import (
	"bytes"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"
)

// BenchmarkSend makes deliveries over each protocol, and beside them the same requests by
// net/http alone. The receiver's part is in the time, and in the allocations.
func BenchmarkSend(b *testing.B) {
	body := bytes.Repeat([]byte("x"), 1024)
	for _, way := range []struct {
		name  string
		start func(*httptest.Server)
	}{
		{"http", (*httptest.Server).Start},
		{"https", (*httptest.Server).StartTLS},
		{"h2", func(s *httptest.Server) { s.EnableHTTP2 = true; s.StartTLS() }},
	} {
		receiver := httptest.NewUnstartedServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(io.Discard, r.Body)
		}))
		way.start(receiver)
		b.Cleanup(receiver.Close)
		ours := NewTransport(&Dialer{Guard: guard(b, "127.0.0.1")}, TransportOptions{})
		std := &http.Transport{MaxIdleConnsPerHost: 256, DisableCompression: true, ForceAttemptHTTP2: way.name == "h2"}
		if receiver.TLS != nil {
			ours.tls.RootCAs = receiver.Client().Transport.(*http.Transport).TLSClientConfig.RootCAs
			std.TLSClientConfig = receiver.Client().Transport.(*http.Transport).TLSClientConfig.Clone()
		}
		ours.Expect(receiver.Listener.Addr().String(), 256)
		for _, by := range []struct {
			name string
			http.RoundTripper
		}{{"", ours}, {" by net/http", std}} {
			b.Run(way.name+by.name, func(b *testing.B) {
				b.ReportAllocs()
				b.SetParallelism(16)
				b.RunParallel(func(pb *testing.PB) {
					for pb.Next() {
						req, err := http.NewRequest(http.MethodPost, receiver.URL, bytes.NewReader(body))
						if err != nil {
							b.Error(err)
							return
						}
						for _, name := range []string{"Content-Type", "User-Agent", "Webhook-Id", "Webhook-Timestamp", "Webhook-Signature", "Relay-Event", "Relay-Subscription", "Relay-Attempt"} {
							req.Header[name] = []string{"a value of some length"}
						}
						resp, _, err := Send(b.Context(), by.RoundTripper, time.Now().Add(time.Minute), req)
						if err != nil {
							b.Error(err)
							return
						}
						_, _ = io.Copy(io.Discard, resp.Body)
						_ = resp.Body.Close()
					}
				})
			})
		}
		b.Cleanup(ours.CloseIdleConnections)
		b.Cleanup(std.CloseIdleConnections)
	}
}
