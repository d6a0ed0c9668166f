package arrival_test

import (
	"context"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/caddyrelay/caddyrelay/relay/arrival"
)

type otherAddr struct{ network, text string }

func (a otherAddr) Network() string { return a.network }
func (a otherAddr) String() string  { return a.text }

func TestTheWayIsThatOfTheListener(t *testing.T) {
	var none *net.TCPAddr
	for _, c := range []struct {
		addr any
		want arrival.Way
	}{
		{nil, arrival.OverNetwork},
		{none, arrival.OverNetwork},
		{"127.0.0.1:80", arrival.OverNetwork},
		{&net.TCPAddr{IP: net.ParseIP("192.0.2.1")}, arrival.OverNetwork},
		{&net.TCPAddr{IP: net.ParseIP("127.0.0.9")}, arrival.OverLoopback},
		{&net.TCPAddr{IP: net.ParseIP("::1")}, arrival.OverLoopback},
		{&net.UnixAddr{}, arrival.OverUnix},
		{otherAddr{"unix+h2c", "/run/a"}, arrival.OverUnix},
		{otherAddr{"udp", "[::ffff:127.0.0.1]:443"}, arrival.OverLoopback},
		{otherAddr{"udp", "192.0.2.1:443"}, arrival.OverNetwork},
		{otherAddr{"pipe", "pipe"}, arrival.OverNetwork},
	} {
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		if c.addr != nil {
			r = r.WithContext(context.WithValue(r.Context(), http.LocalAddrContextKey, c.addr))
		}
		if got := arrival.Of(r); got != c.want {
			t.Errorf("%v: got %v, want %v", c.addr, got, c.want)
		}
	}
}

func TestWhatAProxyAddsIsSeen(t *testing.T) {
	for _, field := range []string{"Via", "Forwarded", "X-Real-Ip", "X-Forwarded-For", "X-Forwarded-Anything"} {
		if got := arrival.Proxied(http.Header{"Accept": {"*/*"}, field: {"x"}}); got != field {
			t.Errorf("%s: got %q", field, got)
		}
	}
	if got := arrival.Proxied(http.Header{"Accept": {"*/*"}, "X-Request-Id": {"1"}}); got != "" {
		t.Errorf("got %q", got)
	}
}

func TestHostsAreComparedWithoutPortAndCase(t *testing.T) {
	hosts, err := arrival.ParseHosts([]string{"Relay.example.com.", "[2001:db8::1]", "192.0.2.1"})
	if err != nil {
		t.Fatal(err)
	}
	for _, known := range []string{"relay.example.com", "RELAY.example.com:8443", "relay.example.com.", "192.0.2.1:80", "[2001:db8::1]:80", "[::ffff:192.0.2.1]", "localhost", "LOCALHOST:1", "127.0.0.1", "127.9.9.9:80", "[::1]:80", "[::ffff:127.0.0.1]"} {
		if !hosts.Knows(known) {
			t.Errorf("%q is not known", known)
		}
	}
	for _, foreign := range []string{"", "example.com", "relay.example.com.evil.test", "localhost.evil.test", "192.0.2.2", "0.0.0.0", "127.0.0.1.evil.test"} {
		if hosts.Knows(foreign) {
			t.Errorf("%q is known", foreign)
		}
	}
	if none, err := arrival.ParseHosts(nil); err != nil || none != nil || !none.Knows("localhost") || none.Knows("example.com") {
		t.Errorf("%v %v", none, err)
	}
	for _, wrong := range []string{"", "a:80", "https://a", "*.example.com", "a b", "u@a"} {
		if _, err := arrival.ParseHosts([]string{wrong}); err == nil {
			t.Errorf("%q was taken", wrong)
		}
	}
}

func TestForeignPages(t *testing.T) {
	for _, c := range []struct{ site, origin, want string }{
		{"", "", ""},
		{"same-origin", "http://localhost:4665", ""},
		{"none", "", ""},
		{"", "https://LOCALHOST:4665", ""}, // TLS may end before this machine
		{"cross-site", "http://localhost:4665", "Sec-Fetch-Site"},
		{"same-site", "", "Sec-Fetch-Site"},
		{"", "http://localhost", "Origin"},
		{"", "http://evil.test", "Origin"},
		{"", "null", "Origin"},
		{"same-origin", "%", "Origin"},
	} {
		r := httptest.NewRequest(http.MethodPost, "http://localhost:4665/", nil)
		if c.site != "" {
			r.Header.Set("Sec-Fetch-Site", c.site)
		}
		if c.origin != "" {
			r.Header.Set("Origin", c.origin)
		}
		if got, _ := arrival.ForeignPage(r); got != c.want {
			t.Errorf("%+v: got %q", c, got)
		}
	}
}
