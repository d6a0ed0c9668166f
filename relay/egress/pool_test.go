package egress

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"
)

// speaking are the ways in which requests are made, with how their receiver is started.
var speaking = []struct {
	name  string
	size  int // of the body
	start func(*httptest.Server)
}{
	{"http, small", 10, (*httptest.Server).Start},
	{"http, large", 100 << 10, (*httptest.Server).Start},
	{"https, HTTP/1.1", 10, (*httptest.Server).StartTLS},
	{"https, HTTP/2", 10, startHTTP2},
	{"https, HTTP/2, large", 100 << 10, startHTTP2},
}

func startHTTP2(s *httptest.Server) {
	s.EnableHTTP2 = true
	s.StartTLS()
}

// pooled is a receiver with a client whose region has two addresses.
type pooled struct {
	*receiver
	t      *testing.T
	region *Region
	client *http.Client
	size   int
	// hold makes the next answers wait, until it is closed.
	hold   chan struct{}
	closed chan net.Conn // by either side
}

func newPooled(t *testing.T, size int, start func(*httptest.Server)) *pooled {
	t.Helper()
	p := &pooled{t: t, size: size, region: region(t, "127.0.0.2", "127.0.0.3"), closed: make(chan net.Conn, 10)}
	var mu sync.Mutex
	p.receiver = newReceiver(t, func(s *httptest.Server) {
		s.Config.ConnState = func(c net.Conn, state http.ConnState) {
			if state == http.StateClosed {
				p.closed <- c
			}
		}
		start(s)
	}, func(w http.ResponseWriter, req *http.Request) {
		io.Copy(io.Discard, req.Body)
		if req.URL.Path == "/hold" {
			mu.Lock()
			hold := p.hold
			mu.Unlock()
			<-hold
		}
		ok(w, req)
	})
	o := TransportOptions{}
	if p.Certificate() != nil {
		o.TLS = trusting(p.receiver)
	}
	p.client = newClient(t, &Dialer{Region: p.region, Guard: guard(t, "127.0.0.9")}, o)
	p.hold = make(chan struct{})
	return p
}

func (p *pooled) post(path string) error {
	res, err := p.client.Post(p.URL+path, "application/json", strings.NewReader(strings.Repeat("x", p.size)))
	if err != nil {
		return err
	}
	defer res.Body.Close()
	_, err = io.ReadAll(res.Body)
	return err
}

// from posts, and returns where that came from.
func (p *pooled) from() netip.AddrPort {
	p.t.Helper()
	if err := p.post("/"); err != nil {
		p.t.Fatal(err)
	}
	all := p.senders()
	return all[len(all)-1]
}

// An address that goes out of use is left at once, whatever is kept of it; what is under
// way ends as if nothing had happened; and what was kept is closed.
func TestKeptConnectionsAreNotUsedLongerThanTheirAddress(t *testing.T) {
	for _, way := range speaking {
		for _, end := range []struct {
			name string
			end  func(*Region, int)
		}{
			{"by the clock", func(r *Region, i int) { r.Addresses[i].Until = time.Now() }},
			{"because it is gone", func(r *Region, i int) { r.state[i].down.Store(true) }},
		} {
			t.Run(way.name+", "+end.name, func(t *testing.T) {
				p := newPooled(t, way.size, way.start)
				first := p.from()
				if again := p.from(); again != first {
					t.Errorf("two deliveries came over two connections: %v and %v", first, again)
				}
				running := make(chan error)
				go func() { running <- p.post("/hold") }()
				for len(p.senders()) < 3 {
					time.Sleep(time.Millisecond)
				}

				i := 0
				if first.Addr() != p.region.Addresses[0].Addr {
					i = 1
				}
				end.end(p.region, i)
				second := p.from()
				if second.Addr() == first.Addr() || second.Addr() != p.region.Addresses[1-i].Addr {
					t.Errorf("a delivery came from %v, which is out of use; want the other address", second)
				}
				p.client.Transport.(*Transport).CloseUnusable()
				close(p.hold)
				if err := <-running; err != nil {
					t.Errorf("what was under way: %v", err)
				}
				if way.name != "https, HTTP/2, large" { // net/http closes it when it has been idle for 90 seconds
					if c := <-p.closed; c.RemoteAddr().String() != first.String() {
						t.Errorf("the connection from %v was closed", c.RemoteAddr())
					}
				}
				if again := p.from(); again != second {
					t.Errorf("the connection of the other address was not kept: %v, then %v", second, again)
				}
			})
		}
	}
}

// The first source turns out to be gone while connecting: the request is made from the
// next one, with its whole body.
func TestRequestsMoveToTheNextSource(t *testing.T) {
	for _, way := range speaking {
		t.Run(way.name, func(t *testing.T) {
			r := newReceiver(t, way.start, func(w http.ResponseWriter, req *http.Request) {
				if body, err := io.ReadAll(req.Body); err != nil || len(body) != way.size {
					t.Errorf("%d bytes came, %v", len(body), err)
				}
			})
			o := TransportOptions{}
			if r.Certificate() != nil {
				o.TLS = trusting(r)
			}
			// Whichever comes first for this host: one of them is here.
			d := &Dialer{Region: region(t, goneA, "127.0.0.2", goneB), Guard: guard(t, "127.0.0.9")}
			p := &pooled{receiver: r, t: t, client: newClient(t, d, o), size: way.size}
			if from := p.from(); from.Addr().String() != "127.0.0.2" {
				t.Errorf("it came from %v", from)
			}
		})
	}
	client := newClient(t, &Dialer{Region: region(t, goneA, goneB), Guard: guard(t)}, TransportOptions{})
	_, _, err := post(t, client, "http://"+pub)
	if unavailable, ok := errors.AsType[*UnavailableError](err); !ok || len(unavailable.Addresses) != 2 {
		t.Errorf("with both gone: %v", err)
	}
}

// A body that can be read only once is not sent by halves.
func TestABodyThatCannotBeReadAgain(t *testing.T) {
	d := &Dialer{Region: region(t, goneA, goneB), Guard: guard(t)}
	client := newClient(t, d, TransportOptions{})
	req, err := http.NewRequest(http.MethodPost, "http://"+pub, io.NopCloser(strings.NewReader("once")))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := client.Do(req); err == nil || !strings.Contains(err.Error(), "cannot be read again") {
		t.Errorf("%v", err)
	}
}

func TestRegionsWithNothingInUseAskNobody(t *testing.T) {
	names := resolving(addrs(pub))
	r := mustParseRegion(t, "127.0.0.2 - 2120-01-01T00:00:00Z -")
	client := newClient(t, &Dialer{Region: r, Guard: guard(t), Resolver: names}, TransportOptions{TLS: &tls.Config{}})
	_, _, err := post(t, client, "https://hooks.example.com/")
	if _, ok := errors.AsType[*UnavailableError](err); !ok || !strings.Contains(err.Error(), "127.0.0.2 is used from 2120-01-01T00:00:00Z on") {
		t.Errorf("%v", err)
	}
	if len(names.asked) != 0 {
		t.Errorf("%v were looked up", names.asked)
	}
}
