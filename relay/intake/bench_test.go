package intake

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"strconv"
	"testing"

	"github.com/caddyrelay/caddyrelay/relay"
)

// sample is an order of about n bytes, with names, numbers and text in usual measure.
func sample(n int) []byte {
	var b bytes.Buffer
	b.WriteString(`{"id":"ord_7f3a","customer":{"id":812,"name":"Zoë Quay","email":"zoe@quay.example"},"items":[`)
	for i := 0; b.Len() < n-70; i++ {
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteString(`{"sku":"PIER-` + strconv.Itoa(1000+i) + `","quantity":2,"price":"19.90","gift":false,"note":null}`)
	}
	b.WriteString(`],"total":3581.20}`)
	return b.Bytes()
}

// instant is an engine that costs nothing.
type instant struct{ receipts []relay.Receipt }

func (e *instant) Publish(context.Context, []relay.Publication, *relay.Key) ([]relay.Receipt, error) {
	return e.receipts, nil
}

func (e *instant) Inspect(context.Context, string) (*relay.Event, []relay.Delivery, error) {
	return nil, nil, relay.ErrNotFound
}
func (e *instant) Err() error { return nil }

// discard is a response that nobody reads.
type discard struct {
	header http.Header
	status int
}

func (d *discard) Header() http.Header         { return d.header }
func (d *discard) Write(p []byte) (int, error) { return len(p), nil }
func (d *discard) WriteHeader(status int)      { d.status = status }

func benchmarkHandler(b *testing.B, path, header string, body []byte, change ...func(*Options)) {
	engine := &instant{[]relay.Receipt{{ID: relay.FormatID(1, 7), Type: "order.paid", Matched: []string{"crm", "billing"}}}}
	change = append(change, func(o *Options) {
		o.Engine = func(context.Context) (Engine, error) { return engine, nil }
	})
	h := newSetup(b, change...).Handler
	h.observer = nopObserver{}
	r := ask{path: path, header: header + "\nUser-Agent: bench\nAccept: */*"}.request()
	r.ContentLength = int64(len(body))
	reader := bytes.NewReader(body)
	r.Body = io.NopCloser(reader)
	w := &discard{header: http.Header{}}
	b.SetBytes(int64(len(body)))
	b.ReportAllocs()
	for b.Loop() {
		reader.Reset(body)
		w.status = 0
		clear(w.header)
		h.ServeHTTP(w, r)
		if w.status != http.StatusAccepted {
			b.Fatal(w.status)
		}
	}
}

func BenchmarkData(b *testing.B) {
	benchmarkHandler(b, "/v1/events/order.paid", "", sample(1<<10))
}

func BenchmarkDataWithKey(b *testing.B) {
	benchmarkHandler(b, "/v1/events/order.paid", "Idempotency-Key: 0199f3c2-7d0e-7c31-9a4e-3f1f0b0f7a11", sample(1<<10))
}

func BenchmarkDataWithToken(b *testing.B) {
	benchmarkHandler(b, "/v1/events/order.paid", "Authorization: Bearer s3cret", sample(1<<10), func(o *Options) { o.Tokens = []string{"s3cret"} })
}

func BenchmarkEnvelope(b *testing.B) {
	body := []byte(`{"type":"order.paid","id":"ord_7f3a-paid","data":` + string(sample(1<<10)) + `}`)
	benchmarkHandler(b, "/v1/events", "", body)
}

func BenchmarkPhraseanet(b *testing.B) {
	body := []byte(`{"event":"new_feed_entry","webhookId":1,"rest":` + string(sample(1<<10)) + `}`)
	benchmarkHandler(b, "/v1/events", "", body, func(o *Options) { o.TypeFrom, o.KeyFrom = AcceptPhraseanet() })
}

func BenchmarkStructured(b *testing.B) {
	body := []byte(`{"specversion":"1.0","id":"ord_7f3a-paid","source":"/shop","type":"order.paid","time":"2026-11-21T20:23:59Z","partitionkey":"812","data":` + string(sample(1<<10)) + `}`)
	benchmarkHandler(b, "/v1/events", structured, body)
}

func BenchmarkBinary(b *testing.B) {
	benchmarkHandler(b, "/v1/events", binaryHeader+"\nce-time: 2026-11-21T20:23:59Z\nce-partitionkey: 812", sample(1<<10))
}
