package http1

import (
	"bytes"
	"context"
	"errors"
	"io"
	"maps"
	"net"
	"net/http"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// The receiver must not be able to tell the difference from net/http.
func TestReceiversSeeWhatNetHTTPSends(t *testing.T) {
	r := newReceiver(t, replying(fine))
	std := &http.Transport{DisableCompression: true}
	t.Cleanup(std.CloseIdleConnections)
	for name, change := range map[string]func(*http.Request){
		"plain": func(*http.Request) {},
		"header": func(req *http.Request) {
			req.Header = http.Header{
				"Content-Type": {"application/json"}, "X-Two": {"a", "b"}, "X-None": nil, "X-Empty": {""}, "X-Utf8": {"größe"},
				"User-Agent": {"caddy-relay/1"}, "Idempotency-Key": {"k"}, "lower-Case": {"kept"},
			}
		},
		"no agent": func(req *http.Request) { req.Header["User-Agent"] = []string{""} },
		"own fields": func(req *http.Request) {
			req.Header["Host"], req.Header["Content-Length"] = []string{"x"}, []string{"99"}
		},
		"host":          func(req *http.Request) { req.Host = "hooks.example.com" },
		"no body":       func(req *http.Request) { req.Body, req.ContentLength, req.GetBody = nil, 0, nil },
		"NoBody":        func(req *http.Request) { req.Body, req.ContentLength = http.NoBody, 0 },
		"GET":           func(req *http.Request) { req.Method, req.Body, req.ContentLength = http.MethodGet, nil, 0 },
		"DELETE":        func(req *http.Request) { req.Method, req.Body, req.ContentLength = http.MethodDelete, nil, 0 },
		"PUT":           func(req *http.Request) { req.Method = http.MethodPut },
		"escaped path":  func(req *http.Request) { req.URL.Path, req.URL.RawPath = "/a b/c/d", "/a%20b%2Fc/d" },
		"no path":       func(req *http.Request) { req.URL.Path, req.URL.RawQuery = "", "" },
		"an empty ?":    func(req *http.Request) { req.URL.RawQuery, req.URL.ForceQuery = "", true },
		"largest body":  func(req *http.Request) { setBody(req, strings.Repeat("x", MaxBody)) },
		"odd type of":   func(req *http.Request) { req.Header["Content-Type"] = []string{"text/plain; charset=\"utf-8\""} },
		"trace context": func(req *http.Request) { req.Header["Traceparent"] = []string{"00-1-2-01"} },
	} {
		t.Run(name, func(t *testing.T) {
			ours := r.request("data")
			change(ours)
			theirs := r.request("data")
			change(theirs)
			if ours.Header["User-Agent"] == nil { // each has its own, or none
				ours.Header["User-Agent"], theirs.Header["User-Agent"] = []string{"x"}, []string{"x"}
			}
			if !Takes(ours) {
				t.Fatal("it is not taken")
			}
			for _, try := range []struct {
				http.RoundTripper
				req *http.Request
			}{{newTransport(t), ours}, {std, theirs}} {
				if status, body, err := exchange(try, try.req); status != 200 || body != "thanks" || err != nil {
					t.Fatalf("%T: %d %q (%v)", try.RoundTripper, status, body, err)
				}
			}
			n := len(r.heads)
			a, b := r.heads[n-2], r.heads[n-1]
			if !maps.EqualFunc(a.Header, b.Header, slices.Equal) || a.Method != b.Method || a.RequestURI != b.RequestURI ||
				a.Host != b.Host || a.ContentLength != b.ContentLength || r.bodies[n-2] != r.bodies[n-1] {
				t.Errorf("sent\n%s %s %s %v %d\nwant\n%s %s %s %v %d", a.Method, a.Host, a.RequestURI, a.Header, a.ContentLength,
					b.Method, b.Host, b.RequestURI, b.Header, b.ContentLength)
			}
		})
	}
}

func setBody(req *http.Request, body string) {
	req.Body, req.ContentLength = io.NopCloser(strings.NewReader(body)), int64(len(body))
	req.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(strings.NewReader(body)), nil }
}

func TestTakesOnlyWhatItCanSend(t *testing.T) {
	for name, change := range map[string]func(*http.Request){
		"no HTTP":        func(req *http.Request) { req.URL.Scheme = "ftp" },
		"too large":      func(req *http.Request) { setBody(req, strings.Repeat("x", MaxBody+1)) },
		"unknown length": func(req *http.Request) { req.ContentLength = -1 },
		"zero for some":  func(req *http.Request) { req.ContentLength = 0 },
		"no body at all": func(req *http.Request) { req.Body = nil },
		"closing":        func(req *http.Request) { req.Close = true },
		"chunked":        func(req *http.Request) { req.TransferEncoding = []string{"chunked"} },
		"trailer":        func(req *http.Request) { req.Trailer = http.Header{"X": nil} },
		"upgrade":        func(req *http.Request) { req.Header["Upgrade"] = []string{"h2c"} },
	} {
		req, err := http.NewRequest(http.MethodPost, "http://hooks.example.com/", strings.NewReader("data"))
		if err != nil {
			t.Fatal(err)
		}
		if !Takes(req) {
			t.Fatal("a plain request is not taken")
		}
		if change(req); Takes(req) {
			t.Errorf("%s: taken", name)
		}
	}
}

func TestWhatWouldBreakTheRequestApartIsNotSent(t *testing.T) {
	r := newReceiver(t, replying(fine))
	for _, change := range []func(*http.Request){
		func(req *http.Request) { req.Header["X"] = []string{"a\r\nB: c"} },
		func(req *http.Request) { req.Header["X"] = []string{"a\nB: c"} },
		func(req *http.Request) { req.Header["X"] = []string{"a\x00"} },
		func(req *http.Request) { req.Header["X: y\r\nZ"] = []string{"a"} },
		func(req *http.Request) { req.Header[""] = []string{"a"} },
		func(req *http.Request) { req.Host = "a\r\nB: c" },
	} {
		req := r.request("data")
		change(req)
		if _, _, err := exchange(newTransport(t), req); err == nil {
			t.Errorf("sent: %v", req.Header)
		}
	}
	r.wantCounts(0, 0)
}

func TestAnswersAreReadAsTheyAre(t *testing.T) { overBoth(t, testAnswersAreReadAsTheyAre) }

func testAnswersAreReadAsTheyAre(t *testing.T, way way) {
	for name, c := range map[string]struct {
		answer string
		status int
		body   string
		kept   bool
	}{
		"length":                {fine, 200, "thanks", true},
		"no content":            {"HTTP/1.1 204 No Content\r\n\r\n", 204, "", true},
		"empty":                 {"HTTP/1.1 500 Oh\r\nContent-Length: 0\r\n\r\n", 500, "", true},
		"chunked":               {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n", 200, "abc", true},
		"interim":               {"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: <x>\r\n\r\n" + fine, 200, "thanks", true},
		"to be closed":          {"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok", 200, "ok", false},
		"HTTP/1.0":              {"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok", 200, "ok", false},
		"more than was said":    {"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nforged", 200, "ok", false},
		"redirect":              {"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n", 302, "", true},
		"compressed is its own": {"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 2\r\n\r\n\x1f\x8b", 200, "\x1f\x8b", true},
	} {
		t.Run(name, func(t *testing.T) {
			r := newReceiverOver(t, way, replying(c.answer))
			tr := newTransportOver(t, way)
			r.want(tr, c.status, c.body)
			r.want(tr, c.status, c.body)
			if c.kept {
				r.wantCounts(2, 1)
			} else {
				r.wantCounts(2, 2)
			}
		})
	}
}

func TestBodiesWithoutLengthEndWithTheConnection(t *testing.T) {
	overBoth(t, testBodiesWithoutLengthEndWithTheConnection)
}

func testBodiesWithoutLengthEndWithTheConnection(t *testing.T, way way) {
	r := newReceiverOver(t, way, func(c net.Conn, _ int) bool { io.WriteString(c, "HTTP/1.1 200 OK\r\n\r\nall of it"); return false })
	tr := newTransportOver(t, way)
	r.want(tr, 200, "all of it")
	r.want(tr, 200, "all of it")
	r.wantCounts(2, 2)
}

func TestWrongAnswersAreErrors(t *testing.T) { overBoth(t, testWrongAnswersAreErrors) }

func testWrongAnswersAreErrors(t *testing.T, way way) {
	for name, c := range map[string]struct{ answer, want string }{
		"no HTTP":          {"220 smtp ready\r\n\r\n", "malformed HTTP"},
		"no field":         {"HTTP/1.1 200 OK\r\nwhat\r\n\r\n", "malformed MIME header"},
		"endless header":   {"HTTP/1.1 200 OK\r\nX: " + strings.Repeat("x", DefaultMaxHeaderBytes), "header is too large"},
		"many interim":     {strings.Repeat("HTTP/1.1 100 Continue\r\n\r\n", DefaultMaxHeaderBytes/25) + fine, "header is too large"},
		"switch":           {"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\n", "changes the protocol"},
		"closed in header": {"HTTP/1.1 200 OK\r\nX: ", "EOF"},
		"closed at once":   {"", "closed before an answer"},
		"closed in body":   {"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf", "unexpected EOF"},
	} {
		t.Run(name, func(t *testing.T) {
			r := newReceiverOver(t, way, func(conn net.Conn, _ int) bool { io.WriteString(conn, c.answer); return false })
			r.wantError(newTransportOver(t, way), c.want)
			r.wantCounts(1, 1)
		})
	}
}

func TestAnAnswerGivenBeforeTheRequestWasReadCounts(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			io.WriteString(c, "HTTP/1.1 413 Content Too Large\r\nContent-Length: 3\r\n\r\nno.")
			c.(*net.TCPConn).CloseWrite()
		}
	}()
	r := &receiver{Listener: l, t: t, way: plainly}
	r.want(newTransport(t), 413, "no.")
}

// A kept connection that the receiver has closed costs nothing.
func TestClosedConnectionsAreReplaced(t *testing.T) { overBoth(t, testClosedConnectionsAreReplaced) }

func testClosedConnectionsAreReplaced(t *testing.T, way way) {
	r := newReceiverOver(t, way, func(c net.Conn, n int) bool {
		io.WriteString(c, fine)
		return n != 1
	})
	tr := newTransportOver(t, way)
	r.want(tr, 200, "thanks")
	r.want(tr, 200, "thanks")
	r.wantCounts(2, 2)
}

// The receiver closes just when the request comes: nobody can know that before.
func TestRequestsOnConnectionsThatDieAreRepeatedOnceIfTheyMay(t *testing.T) {
	overBoth(t, testRequestsOnConnectionsThatDieAreRepeatedOnceIfTheyMay)
}

func testRequestsOnConnectionsThatDieAreRepeatedOnceIfTheyMay(t *testing.T, way way) {
	for _, repeatable := range []bool{true, false} {
		r := newReceiverOver(t, way, func(c net.Conn, n int) bool {
			if n > 1 && n%2 == 0 {
				return false // closed without an answer
			}
			io.WriteString(c, fine)
			return true
		})
		tr := newTransportOver(t, way)
		r.want(tr, 200, "thanks")
		req := r.request("data")
		if !repeatable {
			delete(req.Header, "Idempotency-Key")
		}
		status, _, err := exchange(tr, req)
		if repeatable && (status != 200 || err != nil) {
			t.Errorf("%d (%v)", status, err)
		}
		if !repeatable && err == nil {
			t.Error("a request that may not be repeated succeeded")
		}
		if requests, _ := r.counts(); requests != map[bool]int{true: 3, false: 2}[repeatable] {
			t.Errorf("%d requests", requests)
		}
		if repeatable && r.bodies[2] != "data" {
			t.Errorf("repeated with the body %q", r.bodies[2])
		}
	}
}

func TestWhatFailsOnANewConnectionIsNotRepeated(t *testing.T) {
	overBoth(t, testWhatFailsOnANewConnectionIsNotRepeated)
}

func testWhatFailsOnANewConnectionIsNotRepeated(t *testing.T, way way) {
	r := newReceiverOver(t, way, func(net.Conn, int) bool { return false })
	err := r.wantError(newTransportOver(t, way), "closed before an answer")
	if !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("%v", err)
	}
	r.wantCounts(1, 1)
}

func TestTheContextBoundsEverything(t *testing.T) { overBoth(t, testTheContextBoundsEverything) }

func testTheContextBoundsEverything(t *testing.T, way way) {
	for name, begin := range map[string]string{
		"before the answer": "",
		"before the status": "HTTP/1.1 ",
		"in the status":     "HTTP/1.1 20",
		"in a field's name": "HTTP/1.1 200 OK\r\nX",
		"in the header":     "HTTP/1.1 200 OK\r\nX: ",
		"in the body":       "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf",
	} {
		for _, cancelled := range []bool{false, true} {
			r := newReceiverOver(t, way, func(c net.Conn, _ int) bool {
				io.WriteString(c, begin)
				<-t.Context().Done()
				return false
			})
			cause := errors.New("the reason")
			ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
			if cancelled {
				var cancelCause context.CancelCauseFunc
				ctx, cancelCause = context.WithCancelCause(t.Context())
				time.AfterFunc(50*time.Millisecond, func() { cancelCause(cause) })
			}
			_, _, err := exchange(newTransportOver(t, way), r.request("data").WithContext(ctx))
			cancel()
			var timeout net.Error
			switch {
			case err == nil:
				t.Errorf("%s: no error", name)
			case cancelled && name != "in the body" && !errors.Is(err, cause):
				t.Errorf("%s: %v; want the cause", name, err)
			case !cancelled && (!errors.As(err, &timeout) || !timeout.Timeout()):
				t.Errorf("%s: %v; want a timeout", name, err)
			}
		}
	}
}

// What ended the reading is told, and not that half a status line is malformed.
func TestAStatusLineThatDoesNotEndIsATimeoutOrAReset(t *testing.T) {
	for _, begin := range []string{"HTTP/1.1 ", "HTTP/1.1 20", "HTT"} {
		slow := newReceiver(t, func(c net.Conn, _ int) bool {
			io.WriteString(c, begin)
			<-t.Context().Done()
			return false
		})
		if _, _, err := newTransport(t).Do(t.Context(), time.Now().Add(50*time.Millisecond), slow.request("data")); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%q, and nothing more: %v", begin, err)
		}
		cut := newReceiver(t, func(c net.Conn, _ int) bool {
			io.WriteString(c, begin)
			time.Sleep(20 * time.Millisecond) // so that it is read before the reset discards it
			c.(*net.TCPConn).SetLinger(0)
			return false
		})
		if _, _, err := newTransport(t).Do(t.Context(), time.Now().Add(patience), cut.request("data")); !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("%q, and a reset: %v", begin, err)
		}
	}
}

func TestDialErrorsAreHandedOn(t *testing.T) {
	refused := &Transport{Dial: func(context.Context, string, string) (net.Conn, error) { return nil, syscall.ECONNREFUSED }}
	r := newReceiver(t, replying(fine))
	if _, _, err := exchange(refused, r.request("data")); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("%v", err)
	}
}

func TestTheConnectionIsToldAlsoWhereTheAnswerIsNone(t *testing.T) {
	r := newReceiver(t, func(c net.Conn, n int) bool { io.WriteString(c, fine); return n < 3 })
	tr := newTransport(t)
	var first net.Conn
	for n := range 3 {
		resp, conn, err := tr.Do(t.Context(), time.Now().Add(patience), r.request("data"))
		if err != nil || conn == nil || conn.RemoteAddr().String() != r.Addr().String() {
			t.Fatalf("told of %v (%v)", conn, err)
		}
		io.Copy(io.Discard, resp.Body)
		resp.Body.Close()
		if n == 0 {
			first = conn
		} else if conn != first {
			t.Error("the connection was not kept")
		}
	}
	if _, conn, err := newTransport(t).Do(t.Context(), time.Unix(1, 0), r.request("data")); err == nil || conn != nil {
		t.Errorf("after the deadline: %v, %v", conn, err)
	}
	silent := newReceiver(t, func(net.Conn, int) bool { <-t.Context().Done(); return false })
	_, conn, err := tr.Do(t.Context(), time.Now().Add(50*time.Millisecond), silent.request("data"))
	if !errors.Is(err, context.DeadlineExceeded) || conn == nil {
		t.Errorf("told of %v (%v); want a connection and a timeout", conn, err)
	}
}

// Answers of which somebody else decides never hang, panic or leave a connection in use
// whose next answer would not be that of the next request.
func FuzzAnswer(f *testing.F) {
	for _, seed := range []string{fine, fine + fine, "HTTP/1.1 100 \r\n\r\n" + fine, "HTTP/1.1 204 x\r\n\r\nmore", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz", "", "\r\n\r\n", "HTTP/1.1 101 x\r\n\r\n"} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, answer []byte) {
		client, server := net.Pipe()
		defer server.Close()
		go func() {
			buf := make([]byte, 4096)
			for n := 0; ; {
				k, err := server.Read(buf)
				if err != nil {
					return
				}
				if n += k; bytes.Contains(buf[:k], []byte("data")) {
					break
				}
			}
			server.Write(answer)
			server.Close()
		}()
		tr := &Transport{Dial: func(context.Context, string, string) (net.Conn, error) { return client, nil }}
		defer tr.CloseIdleConnections()
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://x.example/", strings.NewReader("data"))
		if err != nil {
			t.Fatal(err)
		}
		status, _, err := exchange(tr, req)
		if err == nil && (status < 200 || status > 999) {
			t.Errorf("%q is an answer of %d", answer, status)
		}
		for _, c := range tr.idle.conns {
			for _, c := range c {
				if c.r != nil {
					t.Errorf("after %q an idle connection keeps its reader", answer)
				}
			}
		}
		if ctx.Err() != nil {
			t.Errorf("%q hangs", answer)
		}
	})
}
