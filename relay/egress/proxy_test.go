package egress

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddyrelay/caddyrelay/relay/destination"
)

// forwarder is a proxy that notes what it is asked, and by whom.
type forwarder struct {
	addr   string
	answer string // to CONNECT, instead of making the connection
	mu     sync.Mutex
	from   []string
	asked  []string
}

// newForwarder starts one that speaks by scheme.
func newForwarder(t *testing.T, scheme string) *forwarder {
	t.Helper()
	f := &forwarder{}
	l, err := net.Listen("tcp", "127.0.0.8:0")
	if err != nil {
		t.Fatal(err)
	}
	f.addr = l.Addr().String()
	var all sync.WaitGroup
	t.Cleanup(func() { l.Close(); all.Wait() })
	all.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			f.mu.Lock()
			f.from = append(f.from, conn.RemoteAddr().(*net.TCPAddr).IP.String())
			f.mu.Unlock()
			all.Go(func() {
				defer conn.Close()
				if scheme == "socks5" {
					f.serveSOCKS(conn)
				} else {
					f.serveHTTP(conn)
				}
			})
		}
	})
	return f
}

func (f *forwarder) url(scheme string) *url.URL { return &url.URL{Scheme: scheme, Host: f.addr} }

func (f *forwarder) note(asked string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.asked = append(f.asked, asked)
}

func (f *forwarder) notes() (from, asked []string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.from), slices.Clone(f.asked)
}

func (f *forwarder) serveHTTP(conn net.Conn) {
	r := bufio.NewReader(conn)
	req, err := http.ReadRequest(r)
	if err != nil {
		return
	}
	user, password, _ := (&http.Request{Header: http.Header{"Authorization": req.Header["Proxy-Authorization"]}}).BasicAuth()
	f.note(fmt.Sprintf("%s %s for %s by %s:%s", req.Method, req.RequestURI, req.Host, user, password))
	if f.answer != "" {
		io.WriteString(conn, f.answer)
		return
	}
	f.join(conn, req.RequestURI, func() { io.WriteString(conn, "HTTP/1.1 200 Connection established\r\n\r\n") })
}

func (f *forwarder) join(conn net.Conn, target string, connected func()) {
	there, err := net.Dial("tcp", target)
	if err != nil {
		return
	}
	defer there.Close()
	connected()
	go func() {
		defer there.Close()
		io.Copy(there, conn)
	}()
	io.Copy(conn, there)
}

// serveSOCKS knows users and addresses, and no names (RFC 1928).
func (f *forwarder) serveSOCKS(conn net.Conn) {
	b := make([]byte, 300)
	read := func(n int) []byte {
		if _, err := io.ReadFull(conn, b[:n]); err != nil {
			return make([]byte, n)
		}
		return slices.Clone(b[:n])
	}
	methods := read(int(read(2)[1]))
	user := ""
	if slices.Contains(methods, 2) {
		conn.Write([]byte{5, 2})
		user = string(read(int(read(2)[1])))
		user += ":" + string(read(int(read(1)[0])))
		conn.Write([]byte{1, 0})
	} else {
		conn.Write([]byte{5, 0})
	}
	head := read(4)
	if head[3] != 1 {
		f.note(fmt.Sprintf("an address of type %d", head[3]))
		return
	}
	ip := netip.AddrFrom4([4]byte(read(4)))
	target := netip.AddrPortFrom(ip, binary.BigEndian.Uint16(read(2))).String()
	f.note(fmt.Sprintf("CONNECT %s for %s by %s", target, target, user))
	f.join(conn, target, func() { conn.Write([]byte{5, 0, 0, 1, 0, 0, 0, 0, 0, 0}) })
}

func through(u *url.URL) Proxy {
	return func(context.Context, *url.URL) (*url.URL, error) { return u, nil }
}

// The proxy connects, and hears nothing but the address that was judged; the receiver sees
// the name; and the connection to the proxy leaves from the region.
func TestRequestsThroughAProxy(t *testing.T) {
	for _, scheme := range []string{"http", "socks5"} {
		for _, way := range speaking {
			t.Run(scheme+", "+way.name, func(t *testing.T) {
				var host, name string
				r := newReceiver(t, way.start, func(w http.ResponseWriter, req *http.Request) {
					io.Copy(io.Discard, req.Body)
					host = req.Host
					if req.TLS != nil {
						name = req.TLS.ServerName
					}
					ok(w, req)
				})
				o := TransportOptions{}
				want := "http"
				if r.Certificate() != nil {
					o.TLS, want = trusting(r), "https"
					o.TLS.ServerName = ""
				}
				f := newForwarder(t, scheme)
				u := f.url(scheme)
				u.User = url.UserPassword("me", "s3cret")
				var targets []string
				d := &Dialer{
					Region: region(t, "127.0.0.2"), Guard: guard(t, "127.0.0.9"), Resolver: resolving(addrs("127.0.0.9")),
					Proxy: func(_ context.Context, target *url.URL) (*url.URL, error) {
						targets = append(targets, target.String())
						return u, nil
					},
				}
				client := newClient(t, d, o)
				defer client.CloseIdleConnections() // before the proxy is waited for
				at := strings.Replace(r.URL, "127.0.0.9", "hooks.example.com", 1)
				for range 2 {
					res, err := client.Post(at, "text/plain", strings.NewReader(strings.Repeat("x", way.size)))
					if err != nil {
						t.Fatal(err)
					}
					io.Copy(io.Discard, res.Body)
					res.Body.Close()
				}
				from, asked := f.notes()
				addr := r.Listener.Addr().String()
				if !slices.Equal(asked, []string{"CONNECT " + addr + " for " + addr + " by me:s3cret"}) {
					t.Errorf("the proxy was asked %q", asked)
				}
				if !slices.Equal(from, []string{"127.0.0.2"}) {
					t.Errorf("the proxy was reached from %v", from)
				}
				if !strings.HasPrefix(host, "hooks.example.com:") || want == "https" && name != "hooks.example.com" {
					t.Errorf("the receiver saw the host %q and the name %q", host, name)
				}
				if !slices.Equal(targets, []string{at}) {
					t.Errorf("the proxy was chosen for %q, want %s", targets, at)
				}
			})
		}
	}
}

// What the guard refuses the proxy does not hear of.
func TestTheGuardJudgesBeforeTheProxyIsAsked(t *testing.T) {
	f := newForwarder(t, "http")
	names := resolving(addrs("127.0.0.9", "127.0.0.1"), addrs("169.254.169.254"))
	d := &Dialer{Region: region(t, "127.0.0.2"), Guard: guard(t, "127.0.0.9"), Resolver: names, Proxy: through(f.url("http"))}
	for _, host := range []string{"hooks.example.com", "hooks.example.com", "127.0.0.1", "[::ffff:127.0.0.1]"} {
		_, err := dial(t, d, host+":443")
		if _, ok := errors.AsType[*destination.BlockedError](err); !ok {
			t.Errorf("%s: %v", host, err)
		}
	}
	from, err := parseVia(f.url("http"))
	if err != nil {
		t.Fatal(err)
	}
	_, err = d.tunnel(t.Context(), time.Now().Add(time.Minute), sources{unbound, unbound}, from, netip.MustParseAddrPort("127.0.0.1:443"))
	if _, ok := errors.AsType[*destination.BlockedError](err); !ok {
		t.Errorf("at the last moment: %v", err)
	}
	if from, asked := f.notes(); len(from) != 0 {
		t.Errorf("the proxy was reached from %v and asked %q", from, asked)
	}
}

// Names and families are those of the region, for the proxy as for the target.
func TestProxiesAreReachedAsReceiversAre(t *testing.T) {
	r := newReceiver(t, (*httptest.Server).Start, ok)
	f := newForwarder(t, "http")
	byName := f.url("http")
	byName.Host = strings.Replace(byName.Host, "127.0.0.8", "proxy.corp.example", 1)
	names := resolving(addrs("127.0.0.8"))
	d := &Dialer{Region: region(t, goneA, "127.0.0.2"), Guard: guard(t, "127.0.0.9"), Resolver: names, Proxy: through(byName)}
	client := newClient(t, d, TransportOptions{})
	defer client.CloseIdleConnections()
	if _, _, err := post(t, client, r.URL); err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(names.asked, []string{"proxy.corp.example"}) && !slices.Equal(names.asked, []string{"proxy.corp.example", "proxy.corp.example"}) {
		t.Errorf("%q were looked up", names.asked)
	}
	if from, _ := f.notes(); !slices.Equal(from, []string{"127.0.0.2"}) {
		t.Errorf("reached from %v", from)
	}

	d = &Dialer{Region: region(t, "127.0.0.2"), Guard: guard(t, "127.0.0.9"), Resolver: resolving(addrs("::1")), Proxy: through(byName)}
	_, err := dial(t, d, r.Listener.Addr().String())
	if _, ok := errors.AsType[*UnavailableError](err); !ok || !strings.Contains(err.Error(), "the proxy proxy.corp.example has IPv6 addresses only") {
		t.Errorf("a proxy of the other family: %v", err)
	}
	d = &Dialer{Region: region(t, goneA), Guard: guard(t, "127.0.0.9"), Proxy: through(f.url("http"))}
	_, err = dial(t, d, r.Listener.Addr().String())
	if _, ok := errors.AsType[*UnavailableError](err); !ok {
		t.Errorf("a region that is gone: %v", err)
	}
}

func TestProxiesThatFail(t *testing.T) {
	refused := &url.URL{Scheme: "http", Host: "127.0.0.8:1", User: url.UserPassword("me", "s3cret")}
	answering := func(answer string) Proxy {
		f := newForwarder(t, "http")
		f.answer = answer
		u := f.url("http")
		u.User = refused.User
		return through(u)
	}
	for _, tt := range []struct {
		name  string
		proxy Proxy
		want  string
		kind  string // of a dial that failed
	}{
		{"refuses", answering("HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n"), "the proxy 127.0.0.8: it answered 403 Forbidden to CONNECT", "dial"},
		{"wants to know who asks", answering("HTTP/1.1 407 Proxy Authentication Required\r\n\r\n"), "it answered 407 Proxy Authentication Required", "dial"},
		{"cannot connect", answering("HTTP/1.0 502 Bad Gateway\r\n\r\n"), "it answered 502 Bad Gateway", "dial"},
		{"speaks something else", answering("220 mail.example.com ESMTP\r\n"), "no answer to CONNECT: malformed HTTP", "dial"},
		{"hangs up", answering(" "), "no answer to CONNECT: ", "dial"},
		{"says too much", answering("HTTP/1.1 200 OK\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n"), "it sent more than its answer", "dial"},
		{"is not there", through(refused), "connecting to the proxy 127.0.0.8: dial tcp", "dial"},
		{"is none", through(&url.URL{Scheme: "ftp", Host: "proxy.example.com"}), `and not by "ftp"`, ""},
		{"cannot be chosen", func(context.Context, *url.URL) (*url.URL, error) {
			return nil, &url.Error{Op: "parse", URL: "http://me:s3cret@proxy", Err: errors.New("wrong")}
		}, "choosing the proxy: wrong", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := newCanary(t, "127.0.0.9")
			_, err := dial(t, &Dialer{Region: region(t, "127.0.0.2"), Guard: guard(t, "127.0.0.9"), Proxy: tt.proxy}, c.addr.String())
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Fatalf("%v, want %q", err, tt.want)
			}
			if strings.Contains(err.Error(), "s3cret") {
				t.Errorf("the error tells the password: %v", err)
			}
			if op, _ := errors.AsType[*net.OpError](err); tt.kind != "" && (op == nil || op.Op != tt.kind) {
				t.Errorf("%v is no failed dial", err)
			}
			c.expectSilence(t)
		})
	}
}

// A proxy that says nothing has the time of a dial, and no more.
func TestASilentProxy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, scheme := range []string{"http", "https", "socks5"} {
			var server net.Conn
			d := &Dialer{
				Guard: guard(t), Resolver: resolving(addrs(pub)), Proxy: through(&url.URL{Scheme: scheme, Host: pub + ":3128"}),
				connect: func(context.Context, netip.Addr, netip.AddrPort) (net.Conn, error) {
					var client net.Conn
					client, server = net.Pipe()
					go io.Copy(io.Discard, server)
					return client, nil
				},
			}
			start := time.Now()
			_, err := dial(t, d, "hooks.example.com:443")
			if err == nil || time.Since(start) != DefaultConnectTimeout {
				t.Errorf("%s: %v after %v", scheme, err, time.Since(start))
			}
			if !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("%s: %v does not say that the time was over", scheme, err)
			}
			server.Close()
		}
	})
}

// Over TLS the proxy has to prove its name.
func TestAProxyHasToProveItsName(t *testing.T) {
	f := newReceiver(t, (*httptest.Server).StartTLS, ok)
	u := &url.URL{Scheme: "https", Host: f.Listener.Addr().String()}
	_, err := dial(t, &Dialer{Guard: guard(t, "127.0.0.9"), Proxy: through(u)}, f.Listener.Addr().String())
	if _, ok := errors.AsType[*tls.CertificateVerificationError](err); !ok {
		t.Errorf("%v", err)
	}
}

func TestProxyURLs(t *testing.T) {
	for _, tt := range []struct{ url, want string }{
		{"http://proxy.example.com", ""},
		{"http://me:pw@proxy.example.com:3128", ""},
		{"https://[2001:db8::8]:3128/", ""},
		{"socks5://proxy.example.com", ""},
		{"socks5h://proxy.example.com", ""},
		{"socks4://proxy.example.com", `not by "socks4"`},
		{"proxy.example.com", `not by ""`},
		{"http://:3128", "has no host"},
		{"http://proxy.example.com:0", `"0" is no port`},
		{"http://proxy.example.com:70000", `"70000" is no port`},
	} {
		u, err := url.Parse(tt.url)
		if err != nil {
			t.Fatal(err)
		}
		if err := CheckProxy(u); (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, want %q", tt.url, err, tt.want)
		}
	}
}
