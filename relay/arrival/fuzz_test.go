package arrival_test

import (
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"testing"

	"github.com/caddyrelay/caddyrelay/relay/arrival"
)

// A host that is taken is, to net/url, which reads it by other means, one of those that
// may be.
func FuzzHost(f *testing.F) {
	for _, s := range []string{
		"localhost", "LOCALHOST.:4665", "127.0.0.1:4665", "[::1]:4665", "::1", "[::ffff:127.0.0.1]", "127.0.0.1.evil.example", "localhost@evil.example",
		"relay.example.com.", "[::1].evil.example", "[localhost]evil.example", "evil.example#localhost", "localhost:1:2", "", ".", "[", "127.1", "0x7f.1",
	} {
		f.Add(s)
	}
	hosts, err := arrival.ParseHosts([]string{"relay.example.com"})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, hostport string) {
		if !hosts.Knows(hostport) {
			return
		}
		u, err := url.Parse("http://" + hostport)
		if err != nil || u.User != nil || u.Path != "" || u.RawQuery != "" || u.Fragment != "" {
			return // no URL leads a browser to send it
		}
		name := strings.ToLower(strings.TrimSuffix(u.Hostname(), "."))
		ip, err := netip.ParseAddr(name)
		if name != "localhost" && name != "relay.example.com" && (err != nil || !ip.Unmap().IsLoopback()) {
			t.Fatalf("%q is taken, and leads to %q", hostport, name)
		}
	})
}

func foreign(r *http.Request) bool {
	field, _ := arrival.ForeignPage(r)
	return field != ""
}

func FuzzOrigin(f *testing.F) {
	for _, s := range []string{"http://localhost:4665", "null", "", "http://LOCALHOST:4665", "http://localhost:4665.evil.example", "http://a@localhost:4665", "//localhost:4665", "http://evil.example/localhost:4665", "\x00"} {
		f.Add(s, "localhost:4665")
	}
	f.Fuzz(func(t *testing.T, origin, host string) {
		r := &http.Request{Host: host, Header: http.Header{"Origin": {origin}}}
		if foreign(r) {
			return
		}
		if host == "" || !strings.Contains(strings.ToLower(origin), strings.ToLower(host)) {
			t.Fatalf("a page of %q may post to %q", origin, host)
		}
		r.Header["Origin"] = []string{origin, "https://evil.example"}
		if !foreign(r) {
			t.Fatal("a second origin is not looked at")
		}
	})
}
