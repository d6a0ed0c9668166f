package intake

import (
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
)

var (
	tcp6   = &net.TCPAddr{IP: net.IPv6loopback, Port: 4665}
	mapped = &net.TCPAddr{IP: net.ParseIP("::ffff:127.0.0.1"), Port: 4665}
	lan    = &net.TCPAddr{IP: net.IPv4(192, 168, 1, 5), Port: 4665}
	public = &net.TCPAddr{IP: net.ParseIP("2001:db8::5"), Port: 4665}
	socket = &net.UnixAddr{Name: "/run/relay.sock", Net: "unix"}
)

func TestLocalOnly(t *testing.T) {
	for _, c := range []struct {
		name  string
		ask   ask
		token bool
		slug  string // empty: accepted
	}{
		{name: "loopback", ask: ask{}},
		{name: "127.0.0.2", ask: ask{local: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 2)}}},
		{name: "IPv6 loopback", ask: ask{local: tcp6, host: "[::1]:4665"}},
		{name: "mapped loopback", ask: ask{local: mapped}},
		{name: "HTTP/3 on loopback", ask: ask{local: &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 1}}},
		{name: "unix socket", ask: ask{local: socket}},
		{name: "unix socket of another type", ask: ask{local: addr{"unixpacket", "@x"}}},
		{name: "LAN", ask: ask{local: lan}, slug: "not-local"},
		{name: "public", ask: ask{local: public}, slug: "not-local"},
		{name: "unspecified", ask: ask{local: &net.UDPAddr{IP: net.IPv6unspecified}}, slug: "not-local"},
		{name: "unknown kind", ask: ask{local: addr{"tcp", "somewhere"}}, slug: "not-local"},
		{name: "nil", ask: ask{local: (*net.TCPAddr)(nil)}, slug: "not-local"},
		{name: "LAN, by the name of localhost", ask: ask{local: lan, host: "localhost"}, slug: "not-local"},

		{name: "X-Forwarded-For", ask: ask{header: "X-Forwarded-For: 192.0.2.1"}, slug: "not-local"},
		{name: "X-Forwarded-For of ours", ask: ask{header: "x-forwarded-for: 127.0.0.1"}, slug: "not-local"},
		{name: "X-Forwarded-Proto", ask: ask{header: "X-Forwarded-Proto: https"}, slug: "not-local"},
		{name: "X-Forwarded-Anything", ask: ask{header: "X-Forwarded-Anything:"}, slug: "not-local"},
		{name: "Forwarded", ask: ask{header: "Forwarded: for=192.0.2.1"}, slug: "not-local"},
		{name: "Via", ask: ask{header: "Via: 1.1 proxy"}, slug: "not-local"},
		{name: "X-Real-IP", ask: ask{header: "X-Real-IP: 192.0.2.1"}, slug: "not-local"},
		{name: "unix socket behind a proxy", ask: ask{local: socket, header: "Via: 1.1 proxy"}, slug: "not-local"},
		{name: "another header", ask: ask{header: "X-Forward: x\nX-Request-Id: 1"}},

		{name: "token from the LAN", token: true, ask: ask{local: lan, header: "Authorization: Bearer s3cret", host: "relay.example.com"}},
		{name: "token through a proxy", token: true, ask: ask{header: "Authorization: Bearer s3cret\nVia: 1.1 proxy"}},
		{name: "second token", token: true, ask: ask{local: lan, header: "Authorization: bearer  n3xt "}},
		{name: "no token", token: true, ask: ask{}, slug: "unauthorized"},
		{name: "no token on a socket", token: true, ask: ask{local: socket}, slug: "unauthorized"},
		{name: "wrong token", token: true, ask: ask{header: "Authorization: Bearer s3cre"}, slug: "unauthorized"},
		{name: "empty token", token: true, ask: ask{header: "Authorization: Bearer "}, slug: "unauthorized"},
		{name: "basic", token: true, ask: ask{header: "Authorization: Basic s3cret"}, slug: "unauthorized"},
		{name: "bare", token: true, ask: ask{header: "Authorization: s3cret"}, slug: "unauthorized"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newSetup(t, func(o *Options) {
				if c.token {
					o.Tokens = []string{"s3cret", "n3xt"}
				}
			})
			c.ask.path, c.ask.body = "/v1/events/a", "1"
			if c.slug == "" {
				s.accept(t, c.ask)
				return
			}
			status := map[string]int{"not-local": 403, "unauthorized": 401}[c.slug]
			p := s.refused(t, c.ask, status, c.slug)
			if !strings.Contains(p.Detail, "token") {
				t.Errorf("the mend is missing: %s", p.Detail)
			}
			// The same rule for what is read, and for paths to come.
			for _, path := range []string{"/v1/events/evt_0", "/v1/event-types"} {
				c.ask.method, c.ask.path = http.MethodGet, path
				equal(t, "GET", problemOf(t, s.do(c.ask)).slug(), c.slug)
			}
			// Probes are answered to anyone.
			for _, path := range []string{"/livez", "/readyz"} {
				c.ask.path = path
				equal(t, path, s.do(c.ask).Code, http.StatusOK)
			}
		})
	}
	s := newSetup(t)
	r := httptest.NewRequest(http.MethodPost, "/v1/events/a", strings.NewReader("1"))
	r.Host = "localhost"
	w := httptest.NewRecorder()
	s.ServeHTTP(w, r)
	equal(t, "no local address", problemOf(t, w).slug(), "not-local")
}

type addr struct{ network, text string }

func (a addr) Network() string { return a.network }
func (a addr) String() string  { return a.text }

// Credentials that something before the intake has asked for are not the token; the answer says
// how Caddy puts that in.
func TestOtherCredentialsAreToldHowCaddyPutsTheTokenIn(t *testing.T) {
	s := newSetup(t, func(o *Options) { o.Tokens = []string{"s3cret"} })
	p := s.refused(t, ask{path: "/v1/events/a", header: "Authorization: Basic YTpi", body: "1"}, http.StatusUnauthorized, "unauthorized")
	if !strings.Contains(p.Detail, `request_header Authorization "Bearer {env.INTAKE_TOKEN}"`) || strings.Contains(p.Detail, "YTpi") {
		t.Error(p.Detail)
	}
}

func TestChallenge(t *testing.T) {
	s := newSetup(t, func(o *Options) { o.Tokens = []string{"s3cret"} })
	for header, want := range map[string]string{
		"":                           `Bearer realm="relay"`,
		"Authorization: Bearer nope": `Bearer realm="relay", error="invalid_token"`,
	} {
		w := s.do(ask{path: "/v1/events/a", header: header, body: "1"})
		equal(t, "WWW-Authenticate", w.Header().Get("WWW-Authenticate"), want)
	}
}

func TestHosts(t *testing.T) {
	withHosts := func(o *Options) { o.Hosts = []string{"Relay.Example.com", "[2001:db8::7]"} }
	withToken := func(o *Options) { o.Tokens = []string{"t"} }
	for _, c := range []struct {
		host   string
		local  net.Addr
		change []func(*Options)
		ok     bool
	}{
		{host: "localhost", ok: true},
		{host: "LOCALHOST:1", ok: true},
		{host: "localhost.", ok: true},
		{host: "127.0.0.1:4665", ok: true},
		{host: "127.1.2.3", ok: true},
		{host: "[::1]", ok: true},
		{host: "[::1]:4665", ok: true},
		{host: "::1", ok: true},
		{host: "[::ffff:127.0.0.1]:1", ok: true},
		{host: "relay.example.com"},
		{host: "attacker.example"},
		{host: "localhost.attacker.example"},
		{host: "sub.localhost"},
		{host: "127.0.0.1.attacker.example"},
		{host: "192.168.1.5:4665"},
		{host: "0.0.0.0"},
		{host: "[2001:db8::7]"},
		{host: "relay.example.com:8443", change: []func(*Options){withHosts}, ok: true},
		{host: "relay.example.COM", change: []func(*Options){withHosts}, ok: true},
		{host: "relay.example.com.", change: []func(*Options){withHosts}, ok: true},
		{host: "[2001:DB8::0:7]:80", change: []func(*Options){withHosts}, ok: true},
		{host: "localhost", change: []func(*Options){withHosts}, ok: true},
		{host: "attacker.example", change: []func(*Options){withHosts}},
		{host: "anything", local: socket, ok: true},
		{host: "anything", local: socket, change: []func(*Options){withHosts}},
		{host: "relay.example.com", local: socket, change: []func(*Options){withHosts}, ok: true},
		{host: "anything", change: []func(*Options){withToken}, ok: true},
		{host: "anything", change: []func(*Options){withToken, withHosts}},
		{host: "relay.example.com", change: []func(*Options){withToken, withHosts}, ok: true},
	} {
		s := newSetup(t, c.change...)
		a := ask{path: "/v1/events/a", host: c.host, local: c.local, body: "1", header: "Authorization: Bearer t"}
		if c.ok {
			s.accept(t, a)
		} else {
			s.refused(t, a, 403, "foreign-host")
		}
	}
	s := newSetup(t)
	r := ask{path: "/v1/events/a", body: "1"}.request()
	r.Host = ""
	w := httptest.NewRecorder()
	s.ServeHTTP(w, r)
	equal(t, "no host", problemOf(t, w).slug(), "foreign-host")
}

func TestWebPages(t *testing.T) {
	for _, change := range [][]func(*Options){nil, {func(o *Options) { o.Tokens = []string{"t"} }}} {
		s := newSetup(t, change...)
		for _, header := range []string{
			"Origin: http://attacker.example", "Origin: null", "Origin: http://localhost", "Origin: http://localhost:80",
			"Origin: ", "Origin: http://127.0.0.1:4665", "Origin: http://localhost:4665\nOrigin: http://attacker.example", "Origin: http://[",
			"Sec-Fetch-Site: cross-site", "Sec-Fetch-Site: same-site", "Sec-Fetch-Site: whatever",
			"Sec-Fetch-Site: same-origin\nOrigin: http://attacker.example",
		} {
			a := ask{path: "/v1/events/a", header: header + "\nAuthorization: Bearer t", body: "1"}
			s.refused(t, a, 403, "foreign-origin")
			a.method, a.path = http.MethodGet, "/v1/events/evt_0"
			equal(t, "GET", problemOf(t, s.do(a)).slug(), "foreign-origin")
		}
		for _, header := range []string{"Origin: http://localhost:4665", "Origin: https://LOCALHOST:4665", "Sec-Fetch-Site: same-origin", "Sec-Fetch-Site: none"} {
			s.accept(t, ask{path: "/v1/events/a", header: header + "\nAuthorization: Bearer t", body: "1"})
		}
	}
	// Nor is a preflight answered.
	s := newSetup(t)
	w := s.do(ask{method: "OPTIONS", path: "/v1/events/a", header: "Origin: http://attacker.example\nAccess-Control-Request-Method: POST"})
	if w.Code != http.StatusForbidden || w.Header().Get("Access-Control-Allow-Origin") != "" {
		t.Error(w.Code, w.Header())
	}
}

func TestGuardsBeforeReadingTheBody(t *testing.T) {
	s := newSetup(t)
	r := ask{path: "/v1/events/a", local: lan}.request()
	r.Body = panicReader{}
	w := httptest.NewRecorder()
	s.ServeHTTP(w, r)
	equal(t, "status", w.Code, http.StatusForbidden)
}

// The rule rests on what net/http says of the connection, so it is tried on real ones.
func TestLocalOnlyOverRealListeners(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	for _, c := range []struct{ network, address, url string }{
		{"tcp", "127.0.0.1:0", ""},
		{"tcp", "[::1]:0", ""},
		{"tcp", ":0", "http://127.0.0.1:"},
		{"unix", path, "http://anything"},
	} {
		listener, err := net.Listen(c.network, c.address)
		if err != nil {
			if strings.HasPrefix(c.address, "[::1]") {
				t.Logf("no IPv6 here: %v", err)
				continue
			}
			t.Fatal(err)
		}
		s := newSetup(t)
		server := &http.Server{Handler: s}
		done := make(chan error, 1)
		go func() { done <- server.Serve(listener) }()
		transport := &http.Transport{DialContext: func(context.Context, string, string) (net.Conn, error) {
			if c.network == "unix" {
				return net.Dial("unix", path)
			}
			return net.Dial("tcp", listener.Addr().String())
		}}
		url := c.url
		if a, ok := listener.Addr().(*net.TCPAddr); ok {
			if url == "" {
				url = "http://" + a.String()
			} else {
				url = "http://localhost"
			}
		}
		resp, err := (&http.Client{Transport: transport}).Post(url+"/v1/events/a", "application/json", strings.NewReader("1"))
		if err != nil {
			t.Fatal(err)
		}
		text, _ := io.ReadAll(resp.Body)
		resp.Body.Close()
		if resp.StatusCode != http.StatusAccepted {
			t.Errorf("%s %s: %d %s", c.network, c.address, resp.StatusCode, text)
		}
		transport.CloseIdleConnections()
		if err := server.Close(); err != nil {
			t.Error(err)
		}
		<-done
	}
}

// Where this machine has another address, a request to it is refused although it comes
// from this machine: what counts is where it arrived.
func TestNotLocalOverARealListener(t *testing.T) {
	addresses, err := net.InterfaceAddrs()
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range addresses {
		ip, ok := a.(*net.IPNet)
		if !ok || ip.IP.IsLoopback() || ip.IP.To4() == nil {
			continue
		}
		listener, err := net.Listen("tcp", net.JoinHostPort(ip.IP.String(), "0"))
		if err != nil {
			continue
		}
		server := httptest.NewUnstartedServer(newSetup(t))
		server.Listener.Close()
		server.Listener = listener
		server.Start()
		defer server.Close()
		resp, err := http.Post(server.URL+"/v1/events/a", "application/json", strings.NewReader("1"))
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		equal(t, "status", resp.StatusCode, http.StatusForbidden)
		return
	}
	t.Skip("this machine has only loopback addresses")
}

// The file of a token may end in more white space than the one line break that Caddy cuts off.
func TestWhiteSpaceAroundATokenIsNoPartOfIt(t *testing.T) {
	for _, token := range []string{"0123456789abcdef", "0123456789abcdef\n", " 0123456789abcdef "} {
		h, err := New(Options{Engine: func(context.Context) (Engine, error) { return nil, context.Canceled }, Tokens: []string{token}})
		if err != nil {
			t.Fatal(err)
		}
		r := httptest.NewRequest(http.MethodGet, "http://localhost/v1/event-types", nil)
		r = r.WithContext(context.WithValue(r.Context(), http.LocalAddrContextKey, &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)}))
		r.Header.Set("Authorization", "Bearer 0123456789abcdef")
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		if w.Code != http.StatusOK {
			t.Errorf("%q: %d %s", token, w.Code, w.Body)
		}
	}
}
