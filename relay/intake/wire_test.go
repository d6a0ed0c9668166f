package intake

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddyrelay/caddyrelay/relay"
)

// patience bounds every read from a connection: only what never comes takes so long.
const patience = 30 * time.Second

// serve serves over TCP, as Caddy does: with a body that hides from net/http what it is.
func (s *setup) serve(t *testing.T, protocols ...func(*http.Protocols)) *wire {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s.serveOn(t, listener, protocols...)
	return &wire{t: t, dial: func() (net.Conn, error) { return net.Dial("tcp", listener.Addr().String()) }}
}

func (s *setup) serveOn(t *testing.T, listener net.Listener, protocols ...func(*http.Protocols)) {
	t.Helper()
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r.Body = struct{ io.ReadCloser }{r.Body}
		s.ServeHTTP(w, r)
	})}
	if len(protocols) > 0 {
		server.Protocols = new(http.Protocols)
		for _, enable := range protocols {
			enable(server.Protocols)
		}
	}
	done := make(chan error, 1)
	go func() { done <- server.Serve(listener) }()
	t.Cleanup(func() {
		_ = server.Close()
		<-done
	})
}

// servePipes serves over pipes within the process, for which virtual time goes on.
func (s *setup) servePipes(t *testing.T) *wire {
	t.Helper()
	listener := &pipeListener{conns: make(chan net.Conn), closed: make(chan struct{})}
	s.serveOn(t, listener)
	return &wire{t: t, dial: func() (net.Conn, error) {
		client, server := net.Pipe()
		listener.conns <- localPipe{server}
		return client, nil
	}}
}

type pipeListener struct {
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func (l *pipeListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *pipeListener) Addr() net.Addr { return loopback }

func (l *pipeListener) Close() error {
	l.once.Do(func() { close(l.closed) })
	return nil
}

// localPipe has the addresses of a connection on a loopback address.
type localPipe struct{ net.Conn }

func (localPipe) LocalAddr() net.Addr  { return loopback }
func (localPipe) RemoteAddr() net.Addr { return loopback }

// wire makes connections on which bytes are written as they are.
type wire struct {
	t    *testing.T
	dial func() (net.Conn, error)
}

type connection struct {
	net.Conn
	t  *testing.T
	in *bufio.Reader
}

func (w *wire) open() *connection {
	w.t.Helper()
	conn, err := w.dial()
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { _ = conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		w.t.Fatal(err)
	}
	return &connection{conn, w.t, bufio.NewReader(conn)}
}

// send opens a connection and sends.
func (w *wire) send(text string) *connection {
	w.t.Helper()
	c := w.open()
	c.write(text)
	return c
}

func (c *connection) write(text string) {
	c.t.Helper()
	if _, err := io.WriteString(c.Conn, text); err != nil {
		c.t.Fatal(err)
	}
}

// answered is an answer whose body was read.
type answered struct {
	*http.Response
	text string
}

// answer reads the next answer, also an interim one.
func (c *connection) answer() answered {
	c.t.Helper()
	resp, err := http.ReadResponse(c.in, nil)
	if err != nil {
		c.t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode == http.StatusContinue {
		return answered{resp, ""}
	}
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		c.t.Fatal(err)
	}
	return answered{resp, string(body)}
}

// want reads an answer and checks its status.
func (c *connection) want(status int) answered {
	c.t.Helper()
	a := c.answer()
	if a.StatusCode != status {
		c.t.Errorf("answered %d %s; want %d", a.StatusCode, a.text, status)
	}
	return a
}

// closed checks that nothing more comes.
func (c *connection) closed() {
	c.t.Helper()
	if b, err := c.in.ReadByte(); err == nil {
		c.t.Errorf("there is more: %q", b)
	} else if errors.Is(err, os.ErrDeadlineExceeded) {
		c.t.Error("the connection is still open")
	}
}

// post is the head of a POST; the lines end in "\n".
func post(path, lines string) string {
	return "POST " + path + " HTTP/1.1\r\nHost: localhost\r\n" + strings.ReplaceAll(lines, "\n", "\r\n") + "\r\n"
}

const ofJSON = "Content-Type: application/json\n"

// unwanted are requests that are refused before their body is read.
var unwanted = []unwelcome{
	{"no token", post("/v1/events/a", ofJSON), 401, func(o *Options) { o.Tokens = []string{"t"} }, nil},
	{"foreign origin", post("/v1/events/a", ofJSON+"Origin: null\n"), 403, nil, nil},
	{"no such path", post("/v1/events/a/b", ofJSON), 404, nil, nil},
	{"wrong method", strings.Replace(post("/v1/events/a", ofJSON), "POST", "PUT", 1), 405, nil, nil},
	{"too large", strings.Replace(post("/v1/events/a", ofJSON), "\r\n\r\n", "\r\nContent-Length: 100000000\r\n\r\n", 1), 413, nil, nil},
	{"wrong content type", post("/v1/events/a", "Content-Type: text/plain\n"), 415, nil, nil},
	{"compressed", post("/v1/events/a", ofJSON+"Content-Encoding: gzip\n"), 415, nil, nil},
	{"wrong key", post("/v1/events/a", ofJSON+"Idempotency-Key: \"a\n"), 400, nil, nil},
	{"wrong type", post("/v1/events/a..b", ofJSON), 422, nil, nil},
	{"empty narrowing", post("/v1/events/a", ofJSON+"Relay-Subscriptions: \n"), 422, nil, nil},
	{"many fields", post("/v1/events/a", ofJSON+manyFields(101)), 431, nil, nil},
	{"no memory", post("/v1/events/a", ofJSON), 503, nil, func(s *setup) { s.budget.used.Store(s.budget.size) }},
	{"store full", post("/v1/events/a", ofJSON), 503, nil, func(s *setup) { s.engine.down = relay.ErrFull }},
}

type unwelcome struct {
	name, head string
	status     int
	options    func(*Options)
	engine     func(*setup)
}

func (c unwelcome) setup(t *testing.T) *setup {
	var options []func(*Options)
	if c.options != nil {
		options = append(options, c.options)
	}
	s := newSetup(t, options...)
	if c.engine != nil {
		c.engine(s)
	}
	return s
}

func manyFields(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "X-%d: 1\n", i)
	}
	return b.String()
}

// with adds a line to a head.
func with(head, line string) string {
	if strings.Contains(head, "Content-Length") && strings.HasPrefix(line, "Content-Length") {
		return head
	}
	return strings.TrimSuffix(head, "\r\n") + line + "\r\n\r\n"
}

// Nobody is asked for a body that will not be taken, and nobody who does not send it
// keeps the answer waiting.
func TestRefusedWithoutTheBody(t *testing.T) {
	for _, c := range unwanted {
		for name, lines := range map[string][]string{
			"expect":  {"Content-Length: 100", "Expect: 100-continue"},
			"small":   {"Content-Length: 100"},
			"large":   {"Content-Length: 200000"},
			"chunked": {"Transfer-Encoding: chunked"},
		} {
			if name == "chunked" && c.status == 413 {
				continue
			}
			t.Run(c.name+", "+name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					head := c.head
					for _, line := range lines {
						head = with(head, line)
					}
					conn := c.setup(t).servePipes(t).send(head)
					a := conn.want(c.status)
					equal(t, "Content-Type", a.Header.Get("Content-Type"), "application/problem+json")
					if c.status >= 500 && a.Header.Get("Retry-After") == "" {
						t.Error("no Retry-After")
					}
					conn.closed()
				})
			})
		}
	}
}

func TestContinueIsSaidToWhoIsWelcome(t *testing.T) {
	s := newSetup(t)
	conn := s.serve(t).send(post("/v1/events/a", ofJSON+"Content-Length: 7\nExpect: 100-continue\n"))
	conn.want(http.StatusContinue)
	conn.write(`{"a":1}`)
	conn.want(http.StatusAccepted)
	equal(t, "data", string(s.engine.last(t).Event.Data), `{"a":1}`)
}

// A small body of a refused request is read, so that the connection can be used again.
func TestConnectionIsKeptAfterASmallRefusedBody(t *testing.T) {
	s := newSetup(t)
	conn := s.serve(t).open()
	for _, c := range []struct {
		text   string
		status int
	}{
		{post("/v1/events/a", "Content-Type: text/plain\nContent-Length: 5\n") + "hello", 415},
		{post("/v1/events/a", ofJSON+"Content-Length: 1\n") + "{", 400},
		{post("/v1/events/a", ofJSON+"Content-Length: 1\n") + "1", 202},
		{"HEAD /v1/events HTTP/1.1\r\nHost: localhost\r\n\r\nGET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n", 405},
	} {
		conn.write(c.text)
		resp, err := http.ReadResponse(conn.in, &http.Request{Method: strings.Fields(c.text)[0]})
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.Copy(io.Discard, resp.Body)
		equal(t, "status", resp.StatusCode, c.status)
	}
	conn.want(http.StatusOK)
}

// Many clients send all before they read: they shall read the answer, not of a broken
// pipe.
func TestWhoSendsTooMuchReadsTheAnswer(t *testing.T) {
	const size = 4 << 20
	for name, framing := range map[string]string{"announced": fmt.Sprintf("Content-Length: %d\n", size), "chunked": "Transfer-Encoding: chunked\n"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSetup(t)
			conn := s.serve(t).send(post("/v1/events/a", ofJSON+framing))
			if name == "chunked" {
				conn.write(fmt.Sprintf("%x\r\n", size))
			}
			conn.write(strings.Repeat(" ", size))
			conn.want(http.StatusRequestEntityTooLarge)
			conn.closed()
			equal(t, "lingering", s.lingering.Load(), int32(0))
		})
	}
}

func TestPipelinedRequestsAreAnsweredInOrder(t *testing.T) {
	s := newSetup(t)
	conn := s.serve(t).send(
		post("/v1/events/a", ofJSON+"Content-Length: 1\n") + "1" +
			post("/v1/events/b", ofJSON+"Transfer-Encoding: chunked\n") + "1\r\n2\r\n0\r\n\r\n" +
			post("/v1/events/c", ofJSON+"Content-Length: 1\n") + "{" +
			post("/v1/events/d", ofJSON+"Content-Length: 2\n") + "44" +
			"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n")
	for _, want := range []struct {
		status int
		text   string
	}{{202, `"type":"a"`}, {202, `"type":"b"`}, {400, "malformed-json"}, {202, `"type":"d"`}, {200, "ok"}} {
		if a := conn.want(want.status); !strings.Contains(a.text, want.text) {
			t.Errorf("%s; want %s", a.text, want.text)
		}
	}
}

// What could be read as one request by a proxy and as two by the intake is left to
// net/http, which refuses it or closes the connection: no second request is seen.
func TestAmbiguousFramingSmugglesNothing(t *testing.T) {
	const smuggled = "POST /v1/events/smuggled HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 1\r\n\r\n1"
	for name, text := range map[string]string{
		"two lengths":              post("/v1/events/a", ofJSON+"Content-Length: 1\nContent-Length: 2\n") + "1" + smuggled,
		"unknown coding":           post("/v1/events/a", ofJSON+"Transfer-Encoding: xchunked\n") + "1\r\n1\r\n0\r\n\r\n" + smuggled,
		"coding twice":             post("/v1/events/a", ofJSON+"Transfer-Encoding: chunked\nTransfer-Encoding: identity\n") + "0\r\n\r\n" + smuggled,
		"negative length":          post("/v1/events/a", ofJSON+"Content-Length: -1\n") + smuggled,
		"signed length":            post("/v1/events/a", ofJSON+"Content-Length: +1\n") + "1" + smuggled,
		"space before the colon":   post("/v1/events/a", ofJSON+"Content-Length : 1\n") + "1" + smuggled,
		"folded field":             post("/v1/events/a", ofJSON+"X: a\n Content-Length: 1\n") + "1" + smuggled,
		"bad chunk size":           post("/v1/events/a", ofJSON+"Transfer-Encoding: chunked\n") + "1g\r\n1\r\n0\r\n\r\n" + smuggled,
		"endless chunk extension":  post("/v1/events/a", ofJSON+"Transfer-Encoding: chunked\n") + "1;" + strings.Repeat("x", 20<<10) + "\r\n1\r\n0\r\n\r\n" + smuggled,
		"two hosts":                strings.Replace(post("/v1/events/a", ofJSON+"Content-Length: 1\n"), "Host: localhost\r\n", "Host: localhost\r\nHost: localhost\r\n", 1) + "1" + smuggled,
		"chunks of HTTP/1.0":       strings.Replace(post("/v1/events/a", ofJSON+"Transfer-Encoding: chunked\n"), "HTTP/1.1", "HTTP/1.0", 1) + "1\r\n1\r\n0\r\n\r\n" + smuggled,
		"refused, large, and more": post("/v1/events/a", "Content-Type: text/plain\nContent-Length: 300000\n") + smuggled,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSetup(t)
			conn := s.serve(t).send(text)
			if tcp, ok := conn.Conn.(*net.TCPConn); ok {
				_ = tcp.CloseWrite()
			}
			_, _ = io.Copy(io.Discard, conn.in)
			for _, p := range s.engine.published {
				if p.Event.Type == "smuggled" {
					t.Errorf("the second request was taken")
				}
			}
		})
	}
}

// An absolute-form target does not go around the check of the host.
func TestTargetInAbsoluteForm(t *testing.T) {
	for target, status := range map[string]int{
		"http://localhost/v1/events/a":        202,
		"http://attacker.example/v1/events/a": 403,
	} {
		s := newSetup(t)
		s.serve(t).send(post(target, ofJSON+"Content-Length: 1\n") + "1").want(status)
	}
}

func TestMethods(t *testing.T) {
	s := newSetup(t)
	for path, allowed := range map[string]string{
		"/v1/events":   "POST",
		"/v1/events/a": "GET, HEAD, POST",
		"/livez":       "GET, HEAD",
		"/readyz":      "GET, HEAD",
	} {
		for _, method := range []string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "BREW", "get"} {
			if strings.Contains(", "+allowed+",", ", "+method+",") {
				continue
			}
			w := s.do(ask{method: method, path: path})
			equal(t, method+" "+path, w.Code, http.StatusMethodNotAllowed)
			equal(t, "Allow", w.Header().Get("Allow"), allowed)
			for name := range w.Header() {
				if strings.HasPrefix(name, "Access-Control-") {
					t.Errorf("%s %s: %s", method, path, name)
				}
			}
		}
	}
}

// A body that trickles is cut off; one that is merely slow is taken.
func TestSlowBodies(t *testing.T) {
	const size = 64 << 10
	for _, c := range []struct {
		name   string
		rate   int // bytes a second
		status int
	}{
		{"one byte a second", 1, http.StatusRequestTimeout},
		{"a quarter of the least rate", bodyRate / 8, http.StatusRequestTimeout},
		{"nothing", 0, http.StatusRequestTimeout},
		{"the least rate", bodyRate, http.StatusAccepted},
	} {
		for _, framing := range []string{fmt.Sprintf("Content-Length: %d\n", size), "Transfer-Encoding: chunked\n"} {
			t.Run(c.name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					s := newSetup(t)
					began := time.Now()
					conn := s.servePipes(t).send(post("/v1/events/a", ofJSON+framing))
					_ = conn.SetDeadline(time.Time{})
					var sender sync.WaitGroup
					defer sender.Wait()
					defer conn.Close()
					sender.Go(func() {
						if c.rate == 0 {
							return
						}
						chunked := strings.HasPrefix(framing, "Transfer")
						for sent := 0; sent < size; time.Sleep(time.Second) {
							part := strings.Repeat("1", min(c.rate, size-sent))
							sent += len(part)
							if chunked {
								part = fmt.Sprintf("%x\r\n%s\r\n", len(part), part)
							}
							if _, err := io.WriteString(conn, part); err != nil {
								return
							}
						}
						if chunked {
							_, _ = io.WriteString(conn, "0\r\n\r\n")
						}
					})
					a := conn.want(c.status)
					if c.status == http.StatusAccepted {
						return
					}
					if !strings.Contains(a.text, "#body-too-slow") {
						t.Error(a.text)
					}
					if waited := time.Since(began); waited < bodyGrace || waited > bodyPatience(size)+2*time.Second {
						t.Errorf("cut off after %s", waited)
					}
					conn.closed()
					equal(t, "held", s.budget.used.Load(), int64(0))
				})
			})
		}
	}
}

// The deadline of the body is not one of the event: storing may take longer.
func TestDeadlineOfTheBodyEndsWithIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSetup(t)
		s.engine.publishing = func() { time.Sleep(bodyGrace + time.Minute) }
		conn := s.servePipes(t).send(post("/v1/events/a", ofJSON+"Content-Length: 1\n") + "1")
		_ = conn.SetDeadline(time.Time{})
		conn.want(http.StatusAccepted)
	})
}

// However late a body came, waiting for its event ends neither request nor connection.
func TestStoringTakesTheTimeThatItMay(t *testing.T) {
	for _, late := range []time.Duration{0, bodyGrace - engineWait, bodyGrace - time.Second} {
		synctest.Test(t, func(t *testing.T) {
			s := newSetup(t)
			s.engine.publishing = func() {
				time.Sleep(engineWait)
				if err := s.engine.ctx.Err(); err != nil {
					t.Errorf("%s: %v", late, err)
				}
			}
			conn := s.servePipes(t).send(post("/v1/events/a", ofJSON+"Content-Length: 1\n"))
			_ = conn.SetDeadline(time.Time{})
			for range 2 {
				time.Sleep(late)
				if _, err := io.WriteString(conn, "1"); err != nil {
					t.Fatalf("%s: %v", late, err)
				}
				conn.want(http.StatusAccepted)
				time.Sleep(2 * bodyGrace)
				if _, err := io.WriteString(conn, post("/v1/events/a", ofJSON+"Content-Length: 1\n")); err != nil {
					t.Fatalf("%s: the connection was not kept: %v", late, err)
				}
			}
		})
	}
}

// h2c returns a client that speaks HTTP/2 without TLS.
func h2c(t *testing.T, w *wire) *http.Client {
	protocols := new(http.Protocols)
	protocols.SetUnencryptedHTTP2(true)
	transport := &http.Transport{Protocols: protocols, DialContext: func(context.Context, string, string) (net.Conn, error) { return w.dial() }}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport, Timeout: patience}
}

func TestHTTP2(t *testing.T) {
	enable := func(p *http.Protocols) { p.SetHTTP1(true); p.SetUnencryptedHTTP2(true) }
	for _, c := range unwanted {
		s := c.setup(t)
		client := h2c(t, s.serve(t, enable))
		head, err := http.ReadRequest(bufio.NewReader(strings.NewReader(c.head)))
		if err != nil {
			t.Fatal(err)
		}
		// A body that never comes.
		body, never := io.Pipe()
		defer never.Close()
		req, err := http.NewRequest(head.Method, "http://localhost"+head.URL.Path, body)
		if err != nil {
			t.Fatal(err)
		}
		req.Header, req.ContentLength = head.Header, max(head.ContentLength, 100)
		resp, err := client.Do(req)
		if err != nil {
			t.Fatalf("%s: %v", c.name, err)
		}
		resp.Body.Close()
		equal(t, c.name, resp.StatusCode, c.status)
		equal(t, "protocol", resp.ProtoMajor, 2)
	}
	s := newSetup(t)
	client := h2c(t, s.serve(t, enable))
	for range 3 { // on one connection
		resp, err := client.Post("http://localhost/v1/events/a", "application/json", io.MultiReader(strings.NewReader(`{"a"`), strings.NewReader(`:1}`)))
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		equal(t, "status", resp.StatusCode, http.StatusAccepted)
		equal(t, "data", string(s.engine.last(t).Event.Data), `{"a":1}`)
	}
}
