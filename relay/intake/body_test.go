package intake

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"testing"
	"testing/iotest"
)

// panicReader must not be read.
type panicReader struct{}

func (panicReader) Read([]byte) (int, error) { panic("the body was read") }
func (panicReader) Close() error             { return nil }

func TestBodySizes(t *testing.T) {
	const limit = 200 << 10
	text := func(n int) string { return `"` + strings.Repeat("x", n-2) + `"` }
	for _, n := range []int{2, 511, 512, 513, firstRead - 1, firstRead, firstRead + 1, firstRead + 2, limit - 1, limit} {
		for _, announced := range []int64{int64(n), -1, 0, 5} {
			s := newSetup(t, func(o *Options) { o.MaxEventSize = limit })
			r := ask{path: "/v1/events/a"}.request()
			r.Body = io.NopCloser(iotest.HalfReader(strings.NewReader(text(n))))
			r.ContentLength = announced
			w := httptest.NewRecorder()
			s.ServeHTTP(w, r)
			if w.Code != http.StatusAccepted || string(s.engine.last(t).Event.Data) != text(n) {
				t.Errorf("%d bytes, announced %d: %d %s", n, announced, w.Code, w.Body)
			}
		}
	}
	s := newSetup(t, func(o *Options) { o.MaxEventSize = limit })
	p := s.refused(t, ask{path: "/v1/events/a", body: text(limit + 1)}, 413, "body-too-large")
	if !strings.Contains(p.Detail, fmt.Sprint(limit+1)) || !strings.Contains(p.Detail, "max_event_size") {
		t.Error(p.Detail)
	}
	r := ask{path: "/v1/events/a", body: text(limit + 1)}.request()
	r.ContentLength = -1 // chunked
	w := httptest.NewRecorder()
	s.ServeHTTP(w, r)
	equal(t, "slug", problemOf(t, w).slug(), "body-too-large")

	announced := ask{path: "/v1/events/a"}.request()
	announced.ContentLength, announced.Body = limit+1, panicReader{}
	w = httptest.NewRecorder()
	s.ServeHTTP(w, announced)
	equal(t, "slug", problemOf(t, w).slug(), "body-too-large")
}

func TestAnnouncedSizeIsNotSetAside(t *testing.T) {
	s := newSetup(t)
	r := ask{path: "/v1/events/a"}.request()
	r.ContentLength, r.Body = DefaultMaxEventSize, io.NopCloser(strings.NewReader("1"))
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	body, ref := s.readBody(httptest.NewRecorder(), r, &submission{}, &hold{budget: s.budget})
	runtime.ReadMemStats(&after)
	if ref != nil || string(body) != "1" {
		t.Fatal(ref)
	}
	if got := after.TotalAlloc - before.TotalAlloc; got > 2*firstRead {
		t.Errorf("%d bytes for a body of one", got)
	}
	if cap(body) != 1 {
		t.Errorf("an append to the data would write behind it: capacity %d", cap(body))
	}
}

func TestBodyThatBreaksOff(t *testing.T) {
	s := newSetup(t)
	r := ask{path: "/v1/events/a"}.request()
	r.Body = io.NopCloser(io.MultiReader(strings.NewReader("[1"), iotest.ErrReader(errors.New("reset"))))
	w := httptest.NewRecorder()
	s.ServeHTTP(w, r)
	equal(t, "slug", problemOf(t, w).slug(), "body-unreadable")
}

// A limit of a handler before this one is told as what it is.
func TestForeignLimit(t *testing.T) {
	s := newSetup(t)
	r := ask{path: "/v1/events/a", body: `"longer than ten"`}.request()
	w := httptest.NewRecorder()
	r.Body = http.MaxBytesReader(w, r.Body, 10)
	s.ServeHTTP(w, r)
	if p := problemOf(t, w); p.Status != 413 || !strings.Contains(p.Detail, "10 bytes") || !strings.Contains(p.Detail, "request_body") {
		t.Error(p)
	}
}

// Over a real connection, a body that is too large is not even asked for.
func TestExpectContinueIsNotAnsweredForTooMuch(t *testing.T) {
	s := newSetup(t)
	server := httptest.NewServer(s)
	defer server.Close()
	conn, err := net.Dial("tcp", server.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprintf(conn, "POST /v1/events/a HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: %d\r\nExpect: 100-continue\r\n\r\n", DefaultMaxEventSize+1)
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	equal(t, "status", resp.StatusCode, http.StatusRequestEntityTooLarge)
	var body bytes.Buffer
	if _, err := body.ReadFrom(resp.Body); err != nil {
		t.Fatal(err)
	}
}
