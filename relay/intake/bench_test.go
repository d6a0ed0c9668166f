package intake

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"runtime"
	"strconv"
	"strings"
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
	unread := io.NopCloser(reader)
	w := &discard{header: http.Header{}}
	b.SetBytes(int64(len(body)))
	b.ReportAllocs()
	for b.Loop() {
		reader.Reset(body)
		r.Body = unread // the handler leaves none
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

// forms are parsers with a body that has the data in it.
var forms = map[string]struct {
	parse format
	sub   submission
	wrap  string // %s is the data
}{
	"data":       {(*Handler).parseData, submission{typ: "order.paid", contentType: "application/json"}, `%s`},
	"envelope":   {(*Handler).parseOpen, submission{contentType: "application/json"}, `{"type":"order.paid","id":"1","data":%s}`},
	"structured": {(*Handler).parseStructured, submission{}, `{"specversion":"1.0","id":"1","source":"/s","type":"order.paid","x":"y","data":%s}`},
	"binary": {(*Handler).parseBinary, submission{contentType: "application/json", header: http.Header{
		"Ce-Specversion": {"1.0"}, "Ce-Id": {"1"}, "Ce-Source": {"/s"}, "Ce-Type": {"order.paid"}, "Ce-X": {"y"},
	}}, `%s`},
}

// The data is a part of the body. What parsing allocates does not depend on its size.
func TestParsingDoesNotCopyTheBody(t *testing.T) {
	h := newSetup(t).Handler
	for name, form := range forms {
		allocated := func(size int) uint64 {
			const runs = 50
			body := []byte(strings.Replace(form.wrap, "%s", string(sample(size)), 1))
			var before, after runtime.MemStats
			for range 5 { // pools and their buffers
				parseOnce(t, h, form.parse, form.sub, body)
			}
			runtime.ReadMemStats(&before)
			for range runs {
				parseOnce(t, h, form.parse, form.sub, body)
			}
			runtime.ReadMemStats(&after)
			return (after.TotalAlloc - before.TotalAlloc) / runs
		}
		small, large := allocated(1<<10), allocated(400<<10)
		if large > small+16<<10 {
			t.Errorf("%s: %d bytes for a body of 1 KiB, %d for one of 400 KiB", name, small, large)
		}
	}
}

func parseOnce(t testing.TB, h *Handler, parse format, s submission, body []byte) {
	t.Helper()
	s.body = body
	events, ref := parse(h, &s)
	if ref != nil {
		t.Fatal(ref.detail)
	}
	if data := events[0].Event.Data; cap(data) != len(data) && &body[0] != &data[0] {
		t.Fatal("an append to the data would write into the body")
	}
}

func BenchmarkParse(b *testing.B) {
	h := newSetup(b).Handler
	for _, name := range []string{"data", "envelope", "structured", "binary"} {
		for _, size := range []int{1 << 10, 64 << 10, 400 << 10} {
			b.Run(name+"/"+strconv.Itoa(size>>10)+"KiB", func(b *testing.B) {
				body := []byte(strings.Replace(forms[name].wrap, "%s", string(sample(size)), 1))
				b.SetBytes(int64(len(body)))
				b.ReportAllocs()
				for b.Loop() {
					parseOnce(b, h, forms[name].parse, forms[name].sub, body)
				}
			})
		}
	}
}

// Of a batch each event gets bytes of its own, once.
func BenchmarkParseLines(b *testing.B) {
	h := newSetup(b).Handler
	body := []byte(strings.Repeat(`{"type":"order.paid","data":`+string(sample(1<<10))+"}\n", 1000))
	b.SetBytes(int64(len(body)))
	b.ReportAllocs()
	for b.Loop() {
		if events, ref := h.parseLines(&submission{body: body, batch: true}); ref != nil || len(events) != 1000 {
			b.Fatal(ref)
		}
	}
}
