package http2

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/url"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
)

// std is net/http's client of HTTP/2, without TLS.
func std(t *testing.T) *http.Transport {
	tr := &http.Transport{Protocols: new(http.Protocols), DisableCompression: true}
	tr.Protocols.SetUnencryptedHTTP2(true)
	t.Cleanup(tr.CloseIdleConnections)
	return tr
}

// What a server reads of a request is what it reads if net/http makes it.
func TestRequestsAreThoseOfNetHTTP(t *testing.T) {
	type seen struct {
		Method, Proto, Host, URI string
		Header                   http.Header
		Length                   int64
		Body                     string
	}
	var last seen
	r := newReceiver(t, nil, func(_ http.ResponseWriter, req *http.Request) {
		body, err := io.ReadAll(req.Body)
		if err != nil {
			t.Error(err)
		}
		last = seen{req.Method, req.Proto, req.Host, req.RequestURI, req.Header.Clone(), req.ContentLength, string(body)}
	})
	other := std(t)
	long := strings.Repeat("0123456789abcdef", 2000)
	for name, change := range map[string]func(*http.Request){
		"plain":           func(*http.Request) {},
		"host":            func(req *http.Request) { req.Host = "hooks.example.com:8443" },
		"other letters":   func(req *http.Request) { req.Host = "bücher.example" },
		"path":            func(req *http.Request) { req.URL.Path, req.URL.RawQuery = "/a b/ü", "x=1&y=%20" },
		"no path":         func(req *http.Request) { req.URL.Path = "" },
		"several values":  func(req *http.Request) { req.Header["X-Many"] = []string{"a", "b", "a"} },
		"odd spelling":    func(req *http.Request) { req.Header["x-oDD"] = []string{"v"} },
		"of a connection": func(req *http.Request) { req.Header["Keep-Alive"] = []string{"timeout=5"} },
		"user agent":      func(req *http.Request) { req.Header["User-Agent"] = []string{"Relay/1"} },
		"no user agent":   func(req *http.Request) { req.Header["User-Agent"] = []string{""} },
		"large header":    func(req *http.Request) { req.Header["X-Long"] = []string{long, long} },
		"put": func(req *http.Request) {
			req.Method, req.Body, req.ContentLength = http.MethodPut, io.NopCloser(strings.NewReader("other")), 5
		},
		"nothing": func(req *http.Request) { req.Body, req.ContentLength = http.NoBody, 0 },
		"get":     func(req *http.Request) { req.Method, req.Body, req.ContentLength = http.MethodGet, nil, 0 },
		"largest": func(req *http.Request) {
			req.Body, req.ContentLength = io.NopCloser(strings.NewReader(long[:MaxBody])), MaxBody
		},
	} {
		t.Run(name, func(t *testing.T) {
			var got [2]seen
			for i, by := range []http.RoundTripper{other, r.transport} {
				req := request(t, http.MethodPost, r.URL+"/in?q", "body")
				req.Header["Webhook-Id"] = []string{"evt_1"}
				req.Header["User-Agent"] = []string{"Go-http-client/2.0"} // net/http's own
				change(req)
				resp, err := by.RoundTrip(req)
				if err != nil {
					t.Fatal(err)
				}
				_ = resp.Body.Close()
				got[i] = last
			}
			if !reflect.DeepEqual(got[0], got[1]) {
				t.Errorf("by net/http %.600v\nby us %.600v", got[0], got[1])
			}
		})
	}
}

// What is made of an answer is what net/http makes of it.
func TestAnswersAreThoseOfNetHTTP(t *testing.T) {
	for name, handler := range map[string]http.HandlerFunc{
		"nothing":        func(http.ResponseWriter, *http.Request) {},
		"body":           func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "hello") },
		"no content":     func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) },
		"error":          func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "no", http.StatusTeapot) },
		"unknown status": func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(599) },
		"redirect":       func(w http.ResponseWriter, req *http.Request) { http.Redirect(w, req, "/other", http.StatusFound) },
		"several values": func(w http.ResponseWriter, _ *http.Request) {
			w.Header()["Set-Cookie"] = []string{"a=1", "b=2"}
		},
		"length": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "3")
			io.WriteString(w, "abc")
		},
		"interim": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Link", "</a>")
			w.WriteHeader(http.StatusEarlyHints)
			w.WriteHeader(http.StatusEarlyHints)
			io.WriteString(w, "last")
		},
		"trailer": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Trailer", "X-Sum")
			io.WriteString(w, "data")
			w.Header().Set("X-Sum", "1")
		},
		"in pieces": func(w http.ResponseWriter, _ *http.Request) {
			for range 50 {
				io.WriteString(w, strings.Repeat("x", 777))
				w.(http.Flusher).Flush()
			}
		},
		"large":        func(w http.ResponseWriter, _ *http.Request) { w.Write(make([]byte, 1<<20)) },
		"large header": func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("X-Long", strings.Repeat("y", 40<<10)) },
		"many fields":  func(w http.ResponseWriter, _ *http.Request) { many(w.Header()) },
		"early":        func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusRequestEntityTooLarge) },
		"retry": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Retry-After", "5")
			w.WriteHeader(http.StatusServiceUnavailable)
		},
		"spelled in odd": func(w http.ResponseWriter, _ *http.Request) { w.Header()["x-lower"] = []string{"1"} },
		"without date":   func(w http.ResponseWriter, _ *http.Request) { w.Header()["Date"] = nil },
		"after the body": func(w http.ResponseWriter, req *http.Request) {
			n, _ := io.Copy(io.Discard, req.Body)
			fmt.Fprint(w, n)
		},
		"before the body": func(w http.ResponseWriter, req *http.Request) {
			w.WriteHeader(http.StatusOK)
			w.(http.Flusher).Flush()
			io.Copy(w, req.Body)
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := newReceiver(t, nil, handler)
			type got struct {
				Status string
				Proto  string
				Header http.Header
				Length int64
				Sum    string
			}
			for _, method := range []string{http.MethodPost, http.MethodHead} {
				var both [2]got
				for i, by := range []http.RoundTripper{std(t), r.transport} {
					req := request(t, method, r.URL, strings.Repeat("z", 10000))
					if method == http.MethodHead {
						req.Body, req.ContentLength = nil, 0
					}
					resp, err := by.RoundTrip(req)
					if err != nil {
						t.Fatal(err)
					}
					sum := sha256.New()
					if _, err := io.Copy(sum, resp.Body); err != nil {
						t.Error(err)
					}
					if err := resp.Body.Close(); err != nil {
						t.Error(err)
					}
					resp.Header.Del("Date")
					if name == "trailer" { // net/http keeps it apart; nobody asks us for it
						resp.Header.Del("Trailer")
					}
					both[i] = got{resp.Status, resp.Proto, resp.Header, resp.ContentLength, hex.EncodeToString(sum.Sum(nil))}
				}
				if method == http.MethodHead {
					both[0].Length, both[1].Length = 0, 0 // of nothing
				}
				if !reflect.DeepEqual(both[0], both[1]) {
					t.Errorf("%s: by net/http %.400v\nby us %.400v", method, both[0], both[1])
				}
			}
		})
	}
}

func many(h http.Header) {
	for i := range 100 {
		h.Set(fmt.Sprintf("X-Field-%d", i), strings.Repeat("v", i))
	}
}

// Many requests at a time are on one connection, and each gets its own answer.
func TestManyAtATime(t *testing.T) {
	r := newReceiver(t, &http.HTTP2Config{MaxConcurrentStreams: 250}, func(w http.ResponseWriter, req *http.Request) {
		_, _ = io.Copy(w, req.Body)
	})
	var all sync.WaitGroup
	for g := range 100 {
		all.Go(func() {
			for i := range 20 {
				text := strings.Repeat(fmt.Sprintf("%d/%d ", g, i), 1+g*i)
				text = text[:min(len(text), MaxBody)]
				if _, got, err := do(r.transport, request(t, http.MethodPost, r.URL, text), patience); err != nil || got != text {
					t.Errorf("%.40q for %.40q, %v", got, text, err)
					return
				}
			}
		})
	}
	all.Wait()
	if n := r.dials.Load(); n != 1 {
		t.Errorf("%d connections", n)
	}
}

// A server that lets few requests be made at a time gets further connections, and no more
// requests on one of them than it lets.
func TestConnectionsAreAsFullAsTheServerLets(t *testing.T) {
	const most, at = 3, 20
	var mu sync.Mutex
	now, highest := make(map[string]int), 0
	var together sync.WaitGroup
	together.Add(at)
	r := newReceiver(t, &http.HTTP2Config{MaxConcurrentStreams: most}, func(_ http.ResponseWriter, req *http.Request) {
		mu.Lock()
		now[req.RemoteAddr]++
		highest = max(highest, now[req.RemoteAddr])
		mu.Unlock()
		together.Done()
		together.Wait()
		mu.Lock()
		now[req.RemoteAddr]--
		mu.Unlock()
	})
	var all sync.WaitGroup
	for range at {
		all.Go(func() {
			if _, _, err := do(r.transport, request(t, http.MethodPost, r.URL, "data"), patience); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if n := r.dials.Load(); highest != most || n != (at+most-1)/most {
		t.Errorf("%d requests on one of %d connections", highest, n)
	}
}

// Who needs a connection that is being made waits for it, and hears why there is none.
func TestAConnectionIsMadeOnceForAll(t *testing.T) {
	const all = 20
	burst := func(p *peer) (done [all]<-chan ended) {
		for i := range done {
			done[i] = p.send("data", patience)
		}
		synctest.Wait() // all wait for the one that connects
		return done
	}
	timed(t, "there is none", func(t *testing.T) {
		p := newPeer(t)
		no, let, begun := errors.New("no way there"), make(chan struct{}), 0
		p.transport.Dial = func(context.Context, string, string) (net.Conn, error) {
			begun++
			<-let
			return nil, no
		}
		done := burst(p)
		close(let)
		for _, d := range done {
			if e := <-d; !errors.Is(e.err, no) {
				t.Error(e)
			}
		}
		if begun != 1 {
			t.Errorf("%d have connected", begun)
		}
	})
	timed(t, "there is one", func(t *testing.T) {
		p := newPeer(t)
		dial, let := p.transport.Dial, make(chan struct{})
		p.transport.Dial = func(ctx context.Context, network, address string) (net.Conn, error) {
			<-let
			return dial(ctx, network, address)
		}
		done := burst(p)
		close(let)
		s := p.accept()
		for range done {
			id, _, _ := s.request()
			s.answer(id, true, ":status", "200")
		}
		for _, d := range done {
			p.delivered(d)
		}
		if n := p.dials.Load(); n != 1 {
			t.Errorf("%d connections", n)
		}
	})
}

// A dial that ends with its own request says nothing to others, who connect themselves.
func TestAnotherRequestsEndIsNotOurs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPeer(t)
		dial := p.transport.Dial
		p.transport.Dial = func(ctx context.Context, _, _ string) (net.Conn, error) {
			p.transport.Dial = dial
			<-ctx.Done()
			return nil, ctx.Err()
		}
		ctx, cancel := context.WithCancel(t.Context())
		one := p.start(request(t, http.MethodPost, "https://hooks.example.com/in", "data").WithContext(ctx), patience)
		synctest.Wait()
		two := p.send("data", patience)
		synctest.Wait() // it waits for the dial of the first
		cancel()
		if e := <-one; !errors.Is(e.err, context.Canceled) {
			t.Errorf("the first: %v", e)
		}
		p.accept().serve(two)
	})
}

// What cannot be sent is refused before there is a connection.
func TestWhatCannotBeSent(t *testing.T) {
	tr := &Transport{Dial: func(context.Context, string, string) (net.Conn, error) {
		t.Error("somebody was called")
		return nil, errors.New("nobody there")
	}}
	for name, tt := range map[string]struct {
		change func(*http.Request)
		want   string
	}{
		"line break":     {func(req *http.Request) { req.Header["X-A"] = []string{"a\r\nX-B: b"} }, "control characters"},
		"name":           {func(req *http.Request) { req.Header["X A"] = []string{"a"} }, `the header field name "X A" cannot be sent`},
		"host":           {func(req *http.Request) { req.Host = "a b" }, "cannot be sent"},
		"without a path": {func(req *http.Request) { req.URL = &url.URL{Scheme: "https", Host: "a", Opaque: "b"} }, "without a path"},
		"large":          {func(req *http.Request) { req.ContentLength = MaxBody + 1 }, "16385 bytes, more than 16384"},
		"short":          {func(req *http.Request) { req.ContentLength = 5 }, "has 4 bytes of 5"},
	} {
		req := request(t, http.MethodPost, "https://hooks.example.com/", "body")
		tt.change(req)
		if _, err := tr.RoundTrip(req); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v; want %s", name, err, tt.want)
		}
	}
}

// An answer of which nobody wants the rest is not sent on, and the connection carries others.
func TestAnAnswerThatNobodyReads(t *testing.T) {
	stopped := make(chan struct{}, 1)
	r := newReceiver(t, nil, func(w http.ResponseWriter, req *http.Request) {
		if req.URL.Path != "/endless" {
			return
		}
		for {
			if _, err := w.Write(make([]byte, 4096)); err != nil {
				stopped <- struct{}{}
				return
			}
		}
	})
	resp, err := r.transport.RoundTrip(request(t, http.MethodPost, r.URL+"/endless", "data"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(resp.Body, make([]byte, 200<<10)); err != nil {
		t.Error(err)
	}
	_ = resp.Body.Close()
	if _, err := resp.Body.Read(make([]byte, 1)); !errors.Is(err, http.ErrBodyReadAfterClose) {
		t.Errorf("read after it was closed: %v", err)
	}
	<-stopped
	if _, _, err := do(r.transport, request(t, http.MethodPost, r.URL, "data"), patience); err != nil || r.dials.Load() != 1 {
		t.Errorf("the next one: %v, %d connections", err, r.dials.Load())
	}
}

// Idle connections are closed when they are told to, those of requests under way with these.
func TestClosingIdleConnections(t *testing.T) {
	hold, come := make(chan struct{}), make(chan struct{}, 1)
	closed := make(chan struct{}, 4)
	r := newReceiver(t, nil, func(_ http.ResponseWriter, req *http.Request) {
		if req.URL.Path == "/hold" {
			come <- struct{}{}
			<-hold
		}
	})
	dial := r.transport.Dial
	r.transport.Dial = func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := dial(ctx, network, address)
		return &closing{conn, closed}, err
	}
	want := func(dials int64) {
		t.Helper()
		if _, _, err := do(r.transport, request(t, http.MethodPost, r.URL, "data"), patience); err != nil || r.dials.Load() != dials {
			t.Errorf("%v, %d connections; want %d", err, r.dials.Load(), dials)
		}
	}
	want(1)
	want(1)
	r.transport.CloseIdleConnections()
	<-closed
	want(2)
	held := make(chan error)
	go func() {
		_, _, err := do(r.transport, request(t, http.MethodPost, r.URL+"/hold", "data"), patience)
		held <- err
	}()
	<-come
	r.transport.CloseIdleConnections()
	want(3)
	close(hold)
	if err := <-held; err != nil {
		t.Error(err)
	}
	<-closed
	want(3)
	r.transport.CloseIdleConnections()
	<-closed
	r.transport.mu.Lock()
	defer r.transport.mu.Unlock()
	if len(r.transport.hosts) != 0 {
		t.Errorf("%v is kept in mind", slices.Collect(maps.Keys(r.transport.hosts)))
	}
}

// closing is a connection that tells when it is closed.
type closing struct {
	net.Conn
	closed chan<- struct{}
}

func (c *closing) Close() error {
	c.closed <- struct{}{}
	return c.Conn.Close()
}
