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

// echo is a connection to a receiver that costs nothing.
type echo struct{ net.Conn }

func (echo) Write(b []byte) (int, error)      { return len(b), nil }
func (echo) Read(b []byte) (int, error)       { return copy(b, plainest), nil }
func (echo) SetDeadline(time.Time) error      { return nil }
func (echo) SetReadDeadline(time.Time) error  { return nil }
func (echo) SetWriteDeadline(time.Time) error { return nil }
func (echo) Close() error                     { return nil }

const plainest = "HTTP/1.1 200 OK\r\nDate: Sun, 22 Nov 2026 08:00:00 GMT\r\nContent-Length: 0\r\n\r\n"

// BenchmarkDo is what a request costs beside the system calls.
func BenchmarkDo(b *testing.B) {
	tr := &Transport{Dial: func(context.Context, string, string) (net.Conn, error) { return echo{}, nil }}
	data := bytes.Repeat([]byte("x"), 1024)
	body := bytes.NewReader(data)
	req, err := http.NewRequest(http.MethodPost, "http://hooks.example.com/relay?x=1", io.NopCloser(body))
	if err != nil {
		b.Fatal(err)
	}
	req.ContentLength = body.Size()
	for _, name := range []string{"Content-Type", "User-Agent", "Webhook-Id", "Webhook-Timestamp", "Webhook-Signature", "Relay-Event", "Relay-Subscription", "Relay-Attempt"} {
		req.Header[name] = []string{"a value of some length"}
	}
	b.ReportAllocs()
	for b.Loop() {
		body.Reset(data)
		resp, _, err := tr.Do(b.Context(), time.Now().Add(time.Minute), req)
		if err != nil {
			b.Fatal(err)
		}
		_ = resp.Body.Close()
	}
}
