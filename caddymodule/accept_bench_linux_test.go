package caddymodule

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"

	"github.com/caddyrelay/caddyrelay/relay"
	"github.com/caddyrelay/caddyrelay/storage/storagetest"
)

// registerFreeStorage happens for benchmarks only: errors list the engines that there are.
var registerFreeStorage = sync.OnceFunc(func() { caddy.RegisterModule(new(freeStorage)) })

// freeStorage is a store that costs nothing: it says that it has events, and forgets them.
type freeStorage struct{ *storagetest.Memory }

func (*freeStorage) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "relay.storage.free", New: func() caddy.Module { return new(freeStorage) }}
}
func (*freeStorage) String() string            { return "nowhere" }
func (*freeStorage) StoreKey() (string, error) { return "nowhere", nil }
func (*freeStorage) OpenStore(*zap.Logger) (relay.Store, error) {
	return &freeStorage{storagetest.NewMemory(time.Now)}, nil
}

var freeID = relay.FormatID(relay.SeqAt(time.Now()), 7)

// Append implements [relay.Store].
func (*freeStorage) Append(_ context.Context, b relay.Batch, _ func([]*relay.Event)) ([]relay.Receipt, error) {
	receipts := make([]relay.Receipt, len(b.Items))
	for i := range receipts {
		receipts[i] = relay.Receipt{ID: freeID, Type: b.Items[i].Event.Type}
	}
	return receipts, nil
}

// BenchmarkAcceptPathAgainstRespond compares what Caddy's own respond takes to answer a
// POST with 202 to what intake takes, with a store that costs nothing: CPU of the servers,
// over a connection that is kept, with 1 KiB of JSON. What a synced store adds is
// measured with the storage engine.
func BenchmarkAcceptPathAgainstRespond(b *testing.B) {
	servers := benchmarkServers(b)
	body := `{"id":"ord_7f3a","customer":{"id":812,"name":"Zoë Quay"},"items":[` + strings.Repeat(`{"sku":"PIER-1000","quantity":2,"price":"19.90","gift":false,"note":null},`, 13) + `{}]}`
	respond := newPoster(b, servers["respond"], "Content-Type: application/json", body)
	posters := map[string]*poster{
		"data":      newPoster(b, servers["intake"], "Content-Type: application/json", body),
		"keyed":     newPoster(b, servers["intake"], "Content-Type: application/json\r\nIdempotency-Key: 0199f3c2-7d0e-7c31-9a4e-3f1f0b0f7a11", body),
		"ce-binary": newPoster(b, servers["intake"], "Content-Type: application/json\r\nce-specversion: 1.0\r\nce-id: 1\r\nce-source: /shop\r\nce-type: order.paid", body),
		"ce-structured": newPoster(b, servers["intake"], "Content-Type: application/cloudevents+json",
			`{"specversion":"1.0","id":"1","source":"/shop","type":"order.paid","data":`+body+`}`),
	}
	for name, path := range map[string]string{"data": "/v1/events/order.paid", "keyed": "/v1/events/order.paid", "ce-binary": "/v1/events", "ce-structured": "/v1/events"} {
		posters[name].path(path)
	}
	for _, name := range []string{"data", "keyed", "ce-binary", "ce-structured"} {
		b.Run(name, func(b *testing.B) {
			const round = 200
			var own, intake time.Duration
			rounds := 0
			for b.Loop() {
				own += respond.cost(b, round)
				intake += posters[name].cost(b, round)
				rounds++
			}
			b.ReportMetric(float64(own.Nanoseconds())/float64(rounds*round), "respond-ns")
			b.ReportMetric(float64(intake.Nanoseconds())/float64(rounds*round), "intake-ns")
			b.ReportMetric(float64(intake)/float64(own), "ratio")
		})
	}
}

// benchmarkServers runs a Caddy with two sites and returns their addresses.
func benchmarkServers(b *testing.B) map[string]string {
	b.Helper()
	registerFreeStorage()
	addresses := map[string]string{}
	var sites []string
	for name, handler := range map[string]string{"respond": `{"handler": "static_response", "status_code": 202}`, "intake": `{"handler": "relay_intake"}`} {
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			b.Fatal(err)
		}
		addresses[name] = listener.Addr().String()
		_ = listener.Close()
		sites = append(sites, fmt.Sprintf(`%q: {"listen": [%q], "routes": [{"handle": [%s]}]}`, name, addresses[name], handler))
	}
	config := `{"admin": {"disabled": true}, "logging": {"logs": {"default": {"level": "ERROR"}}},
		"apps": {"relay": {"storage": {"engine": "free"}}, "http": {"servers": {` + strings.Join(sites, ",") + `}}}}`
	if err := caddy.Load([]byte(config), true); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		if err := caddy.Stop(); err != nil {
			b.Error(err)
		}
	})
	return addresses
}

// poster sends one request again and again over one connection.
type poster struct {
	conn    net.Conn
	reader  *bufio.Reader
	request []byte
}

func newPoster(b *testing.B, address, header, body string) *poster {
	b.Helper()
	conn, err := net.Dial("tcp", address)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = conn.Close() })
	request := fmt.Sprintf("POST / HTTP/1.1\r\nHost: localhost\r\nUser-Agent: bench\r\n%s\r\nContent-Length: %d\r\n\r\n%s", header, len(body), body)
	return &poster{conn, bufio.NewReader(conn), []byte(request)}
}

func (p *poster) path(path string) {
	p.request = bytes.Replace(p.request, []byte("POST / "), []byte("POST "+path+" "), 1)
}

// cost makes n requests and returns the CPU time that the process took for them, without
// that of the poster.
func (p *poster) cost(b *testing.B, n int) time.Duration {
	b.Helper()
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	before := cpu(b)
	for range n {
		if _, err := p.conn.Write(p.request); err != nil {
			b.Fatal(err)
		}
		resp, err := http.ReadResponse(p.reader, nil)
		if err != nil {
			b.Fatal(err)
		}
		text, _ := io.ReadAll(resp.Body)
		if resp.StatusCode != http.StatusAccepted {
			b.Fatalf("%s: %s", resp.Status, text)
		}
	}
	return cpu(b) - before
}

// cpu is the CPU time of the process without that of the calling thread.
func cpu(b *testing.B) time.Duration {
	b.Helper()
	const thread = 1 // RUSAGE_THREAD
	sum := func(who int) time.Duration {
		var usage syscall.Rusage
		if err := syscall.Getrusage(who, &usage); err != nil {
			b.Fatal(err)
		}
		return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
	}
	return sum(syscall.RUSAGE_SELF) - sum(thread)
}
