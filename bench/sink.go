//go:build linux

package bench

import (
	"crypto/tls"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"runtime/debug"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/caddyrelay/caddyrelay/relay/signature"
)

// childGC lets load and sink collect less often than Go would: their live heap is
// small, and what they spend is not what is measured.
const childGC = 400

// subscriptionPath begins the path of each subscription's URL; its number follows.
const subscriptionPath = "/s/"

// sink is the receiver: it answers 200 without a body and notes when each delivery
// came. Its exported methods are called by the benchmark.
type sink struct {
	order SinkOrder
	// arrivals holds a time for each delivery, at event*fanout+subscription, in pieces
	// that are made when the first of them comes.
	arrivals [maxPieces]atomic.Pointer[piece]
	bodies   sync.Pool

	delivered, duplicates, foreign, signed, connections atomic.Int64

	mu           sync.Mutex
	samples      []sample
	firstStrange string
}

type piece [pieceSize]atomic.Int64

const (
	pieceSize = 1 << 16
	maxPieces = 1 << 13
)

// sample is a delivery that is kept to be verified later.
type sample struct {
	header http.Header
	body   []byte
	at     time.Time
}

const (
	sampleEach = 251 // prime, so that it keeps in step with nothing
	maxSamples = 64
)

func newSink() *sink {
	debug.SetGCPercent(childGC)
	return new(sink)
}

// SinkOrder says what deliveries look like.
type SinkOrder struct {
	Size, Fanout int
	// TLS is what it speaks; Roots is the file that its certificate is written to.
	TLS   wire
	Roots string
}

// Counts are what the sink has seen.
type Counts struct {
	Delivered  int64 // different ones
	Duplicates int64 // seen before
	Foreign    int64 // no events of this run, or cut short
	Signed     int64 // with a signature, right or wrong
	// Connections were opened to the sink.
	Connections int64
	// FirstForeign says what was wrong with the first of them.
	FirstForeign string
}

// Listen starts the receiver and returns its address.
func (s *sink) Listen(order SinkOrder, address *string) error {
	s.order = order
	s.bodies.New = func() any { b := make([]byte, order.Size); return &b }
	listener, err := listenLow()
	if err != nil {
		return err
	}
	server := &http.Server{
		Handler:           s,
		ReadHeaderTimeout: time.Minute,
		ErrorLog:          log.New(io.Discard, "", 0),
		ConnState: func(_ net.Conn, state http.ConnState) {
			if state == http.StateNew {
				s.connections.Add(1)
			}
		},
	}
	*address = listener.Addr().String()
	if order.TLS != wirePlain {
		certificate, err := newCertificate(order.Roots)
		if err != nil {
			return fmt.Errorf("making a certificate: %w", err)
		}
		server.TLSConfig = &tls.Config{Certificates: []tls.Certificate{*certificate}, NextProtos: order.TLS.protocols()}
		server.Protocols = new(http.Protocols)
		server.Protocols.SetHTTP1(order.TLS == wireHTTP1)
		server.Protocols.SetHTTP2(order.TLS == wireHTTP2)
		go func() { _ = server.ServeTLS(listener, "", "") }()
		return nil
	}
	go func() { _ = server.Serve(listener) }() // it ends with the process
	return nil
}

// ServeHTTP notes a delivery.
func (s *sink) ServeHTTP(_ http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodPost {
		return // a look at whether the way to here is open
	}
	buffer := s.bodies.Get().(*[]byte)
	defer s.bodies.Put(buffer)
	body := *buffer
	if r.ContentLength != int64(len(body)) {
		s.strange("a body of %d bytes instead of %d", r.ContentLength, len(body))
		return
	}
	if _, err := io.ReadFull(r.Body, body); err != nil {
		s.strange("a body that was cut: %v", err)
		return
	}
	at := now()
	event, ok := eventNumber(body)
	subscription := uint64(0)
	if number, has := strings.CutPrefix(r.URL.Path, subscriptionPath); has && ok {
		var err error
		subscription, err = strconv.ParseUint(number, 10, 32)
		ok = err == nil && subscription < uint64(s.order.Fanout)
	}
	if !ok {
		s.strange("%s %s with the body %.40q", r.Method, r.URL.Path, body)
		return
	}
	if len(r.Header[signature.HeaderSignature]) > 0 {
		s.signed.Add(1)
		if event%sampleEach == 0 {
			s.keep(r.Header, body)
		}
	}
	slot := s.slot(event*uint64(s.order.Fanout) + subscription)
	switch {
	case slot == nil:
		s.strange("event %d, which is more than are kept", event)
	case slot.CompareAndSwap(0, at):
		s.delivered.Add(1)
	default:
		s.duplicates.Add(1)
	}
}

func (s *sink) slot(i uint64) *atomic.Int64 {
	if i/pieceSize >= maxPieces {
		return nil
	}
	pointer := &s.arrivals[i/pieceSize]
	if pointer.Load() == nil {
		pointer.CompareAndSwap(nil, new(piece))
	}
	return &pointer.Load()[i%pieceSize]
}

func (s *sink) strange(format string, args ...any) {
	if s.foreign.Add(1) == 1 {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.firstStrange = fmt.Sprintf(format, args...)
	}
}

func (s *sink) keep(header http.Header, body []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.samples) < maxSamples {
		s.samples = append(s.samples, sample{header.Clone(), append([]byte(nil), body...), time.Now()})
	}
}

// Count returns what has come so far.
func (s *sink) Count(_ None, c *Counts) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	*c = Counts{
		Delivered: s.delivered.Load(), Duplicates: s.duplicates.Load(), Foreign: s.foreign.Load(),
		Signed: s.signed.Load(), Connections: s.connections.Load(), FirstForeign: s.firstStrange,
	}
	return nil
}

// Verify checks the signatures of the deliveries that were kept, and returns their
// number.
func (s *sink) Verify(secret string, verified *int) error {
	key, err := signature.ParseStandardSecret(secret)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, kept := range s.samples {
		if err := signature.Verify(key, kept.header, kept.body, kept.at, signature.DefaultTolerance); err != nil {
			return fmt.Errorf("verifying a signature: %w", err)
		}
	}
	*verified = len(s.samples)
	return nil
}

// Arrivals returns the time of the first n deliveries, 0 for those that have not come.
func (s *sink) Arrivals(n int, times *[]int64) error {
	all := make([]int64, n)
	for i := range all {
		if p := s.arrivals[i/pieceSize].Load(); p != nil {
			all[i] = p[i%pieceSize].Load()
		}
	}
	*times = all
	return nil
}
