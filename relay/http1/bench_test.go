package http1

import (
	"bytes"
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"
)

// BenchmarkRoundTrip compares with net/http, each against the same receiver, as deliveries
// are made: with a deadline, 1 KiB and a handful of header fields.
func BenchmarkRoundTrip(b *testing.B) {
	body := bytes.Repeat([]byte("x"), 1024)
	receiver := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
	}))
	b.Cleanup(receiver.Close)
	for name, transport := range map[string]http.RoundTripper{
		"http1":   &Transport{Dial: new(net.Dialer).DialContext},
		"nethttp": &http.Transport{MaxIdleConnsPerHost: 256, DisableCompression: true},
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			b.SetParallelism(16)
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					ctx, cancel := context.WithTimeout(b.Context(), time.Minute)
					req, err := http.NewRequestWithContext(ctx, http.MethodPost, receiver.URL, bytes.NewReader(body))
					if err != nil {
						b.Error(err)
						cancel()
						return
					}
					for _, name := range []string{"Content-Type", "User-Agent", "Webhook-Id", "Webhook-Timestamp", "Webhook-Signature", "Relay-Event", "Relay-Subscription", "Relay-Attempt"} {
						req.Header[name] = []string{"a value of some length"}
					}
					resp, err := transport.RoundTrip(req)
					if err != nil {
						b.Error(err)
						cancel()
						return
					}
					_, _ = io.Copy(io.Discard, resp.Body)
					_ = resp.Body.Close()
					cancel()
				}
			})
		})
	}
}
