package http2

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	wire "golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// patience is how long a test waits for what comes at once.
const patience = 20 * time.Second

// receiver is net/http's server of HTTP/2, without TLS, and a transport to it.
type receiver struct {
	*httptest.Server
	transport *Transport
	dials     atomic.Int64
}

func newReceiver(t testing.TB, config *http.HTTP2Config, handler http.HandlerFunc) *receiver {
	t.Helper()
	r := &receiver{Server: httptest.NewUnstartedServer(handler)}
	r.Config.Protocols = new(http.Protocols)
	r.Config.Protocols.SetUnencryptedHTTP2(true)
	r.Config.HTTP2 = config
	r.Start()
	r.transport = &Transport{Dial: func(ctx context.Context, network, address string) (net.Conn, error) {
		r.dials.Add(1)
		return new(net.Dialer).DialContext(ctx, network, address)
	}}
	t.Cleanup(func() {
		r.transport.CloseIdleConnections()
		r.CloseClientConnections()
		r.Close()
	})
	return r
}

// request returns one to url.
func request(t testing.TB, method, url, body string) *http.Request {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	return req
}

// do makes a request, and returns its answer with the body.
func do(tr *Transport, req *http.Request, timeout time.Duration) (*http.Response, string, error) {
	resp, _, err := tr.Do(req.Context(), time.Now().Add(timeout), req)
	if err != nil {
		return nil, "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	return resp, string(body), err
}

// peer is the server's side of connections, which the test plays.
type peer struct {
	t         *testing.T
	transport *Transport
	accepted  chan *side
	dials     atomic.Int64
}

// side is one connection.
type side struct {
	*peer
	conn   net.Conn
	framer *wire.Framer
	block  bytes.Buffer
	packer *hpack.Encoder
}

// newPeer makes a transport whose connections the test accepts. They need no network, so that
// time may be a test's own.
func newPeer(t *testing.T) *peer {
	t.Helper()
	p := &peer{t: t, accepted: make(chan *side, 10)}
	p.transport = &Transport{Dial: func(context.Context, string, string) (net.Conn, error) {
		p.dials.Add(1)
		ours, theirs := net.Pipe()
		s := &side{peer: p, conn: theirs}
		// What the test writes does not wait until it is read.
		s.framer = wire.NewFramer(&writer{conn: theirs}, theirs)
		s.framer.AllowIllegalWrites = true
		s.framer.ReadMetaHeaders = hpack.NewDecoder(tableSize, nil)
		s.packer = hpack.NewEncoder(&s.block)
		p.accepted <- s
		return ours, nil
	}}
	t.Cleanup(p.transport.CloseIdleConnections)
	return p
}

// writer writes in the background, in order.
type writer struct {
	conn net.Conn
	last chan struct{}
}

func (w *writer) Write(b []byte) (int, error) {
	before, done := w.last, make(chan struct{})
	w.last = done
	b = slices.Clone(b)
	go func() {
		defer close(done)
		if before != nil {
			<-before
		}
		_, _ = w.conn.Write(b)
	}()
	return len(b), nil
}

// accept returns the next connection, with settings exchanged.
func (p *peer) accept(settings ...wire.Setting) *side {
	p.t.Helper()
	s := <-p.accepted
	s.greeted()
	s.must(s.framer.WriteSettings(settings...))
	f := frame[*wire.SettingsFrame](s)
	if !f.IsAck() {
		p.t.Fatalf("not acknowledged: %v", f)
	}
	return s
}

// greeted reads what the client begins with.
func (s *side) greeted() {
	s.t.Helper()
	preface := make([]byte, len(wire.ClientPreface))
	if _, err := io.ReadFull(s.conn, preface); err != nil || string(preface) != wire.ClientPreface {
		s.t.Fatalf("%q, %v", preface, err)
	}
	if f := frame[*wire.SettingsFrame](s); f.IsAck() {
		s.t.Fatal("an acknowledgement comes first")
	}
}

// newSide is newPeer with a connection, on which a request was answered.
func newSide(t *testing.T) (*peer, *side) {
	t.Helper()
	p := newPeer(t)
	done := p.send("data", patience)
	s := p.accept()
	s.serve(done)
	return p, s
}

func (s *side) must(err error) {
	s.t.Helper()
	if err != nil {
		s.t.Fatal(err)
	}
}

// frame reads the next frame, which is of that kind. Pings of the client are passed over.
func frame[F wire.Frame](s *side) F {
	s.t.Helper()
	f, err := s.framer.ReadFrame()
	if err != nil {
		s.t.Fatal(err)
	}
	got, ok := f.(F)
	if !ok {
		s.t.Fatalf("%v has come", f)
	}
	return got
}

// request reads a request with its body, and returns the number of its stream.
func (s *side) request() (uint32, *wire.MetaHeadersFrame, string) {
	s.t.Helper()
	h := frame[*wire.MetaHeadersFrame](s)
	var body strings.Builder
	for ended := h.StreamEnded(); !ended; {
		d := frame[*wire.DataFrame](s)
		body.Write(d.Data())
		ended = d.StreamEnded()
	}
	return h.StreamID, h, body.String()
}

// requests reads n requests, and returns the numbers of their streams by their bodies.
func (s *side) requests(n int) map[string]uint32 {
	s.t.Helper()
	byBody := make(map[string]uint32)
	for range n {
		id, _, body := s.request()
		byBody[body] = id
	}
	return byBody
}

// header returns fields, by name and value, compressed.
func (s *side) header(fields ...string) []byte {
	s.block.Reset()
	for i := 0; i < len(fields); i += 2 {
		_ = s.packer.WriteField(hpack.HeaderField{Name: fields[i], Value: fields[i+1]})
	}
	return s.block.Bytes()
}

// answer writes the header of an answer.
func (s *side) answer(id uint32, end bool, fields ...string) {
	s.t.Helper()
	s.must(s.framer.WriteHeaders(wire.HeadersFrameParam{StreamID: id, BlockFragment: s.header(fields...), EndHeaders: true, EndStream: end}))
}

// ended is how a request went.
type ended struct {
	resp *http.Response
	body string
	err  error
}

// String tells what a failed test has got.
func (e ended) String() string {
	if e.resp == nil {
		return fmt.Sprintf("error %v", e.err)
	}
	return fmt.Sprintf("%s %.40q, error %v", e.resp.Status, e.body, e.err)
}

// send makes a request in the background.
func (p *peer) send(body string, timeout time.Duration) <-chan ended {
	p.t.Helper()
	return p.start(request(p.t, http.MethodPost, "https://hooks.example.com/in", body), timeout)
}

// start makes any request in the background.
func (p *peer) start(req *http.Request, timeout time.Duration) <-chan ended {
	done := make(chan ended, 1)
	go func() {
		resp, text, err := do(p.transport, req, timeout)
		done <- ended{resp, text, err}
	}()
	return done
}

// delivered fails the test unless the request was answered 200.
func (p *peer) delivered(done <-chan ended) {
	p.t.Helper()
	if e := <-done; e.err != nil || e.resp.StatusCode != http.StatusOK {
		p.t.Fatalf("%v", e)
	}
}

// serve answers the next request, and fails the test unless it was this one and is delivered.
func (s *side) serve(done <-chan ended) {
	s.t.Helper()
	id, _, _ := s.request()
	s.answer(id, true, ":status", "200")
	s.delivered(done)
}

// gone waits until the client has closed the connection, and returns the last frames.
func (s *side) gone() (last []wire.Frame) {
	for {
		f, err := s.framer.ReadFrame()
		if err != nil {
			if !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrClosedPipe) {
				s.t.Errorf("the connection ended with %v", err)
			}
			return last
		}
		last = append(last, f)
	}
}
