package console_test

import (
	"net"
	"net/http"
	"strings"
	"testing"
)

// A console that has no name is for this machine alone, whatever stands in front of it.
func TestOnlyThisMachineIsAnsweredUnasked(t *testing.T) {
	loopback, unix := &net.TCPAddr{IP: net.IPv6loopback}, &net.UnixAddr{Name: "/run/a", Net: "unix"}
	for _, c := range []struct {
		what  string
		addr  net.Addr
		host  string
		field string
		hosts []string
		named bool
		want  int
	}{
		{what: "loopback", addr: loopback, want: 200},
		{what: "loopback, by address", addr: loopback, host: "[::1]:4665", want: 200},
		{what: "loopback, by a foreign name", addr: loopback, host: "evil.test", want: 403},
		{what: "loopback, by a proxy", addr: loopback, field: "X-Forwarded-For", want: 403},
		{what: "loopback, by another proxy", addr: loopback, field: "Via", want: 403},
		{what: "socket", addr: unix, host: "anything", want: 200},
		{what: "socket, by a proxy", addr: unix, field: "Forwarded", want: 403},
		{what: "network", addr: network, want: 403},
		{what: "unknown", want: 403},
		{what: "network, named site", addr: network, host: "ops.example.com", named: true, want: 200},
		{what: "network, named site, proxy", addr: network, host: "ops.example.com", field: "X-Forwarded-For", named: true, want: 200},
		{what: "network, hosts", addr: network, host: "ops.example.com:8443", hosts: []string{"ops.example.com"}, want: 200},
		{what: "network, other host", addr: network, host: "evil.test", hosts: []string{"ops.example.com"}, want: 403},
		{what: "network, named site, other host", addr: network, host: "www.example.com", hosts: []string{"ops.example.com"}, named: true, want: 403},
		{what: "socket, other host", addr: unix, host: "evil.test", hosts: []string{"ops.example.com"}, want: 403},
	} {
		run(t, func(w *world) {
			w.options.Hosts, w.site.Named = c.hosts, c.named
			r := request(http.MethodGet, "/")
			r = from(r, c.addr)
			if c.host != "" {
				r.Host = c.host
			}
			if c.field != "" {
				r.Header.Set(c.field, "192.0.2.9")
			}
			recorder := w.ask(r)
			if recorder.Code != c.want {
				t.Errorf("%s: %d, want %d", c.what, recorder.Code, c.want)
			}
			if c.want == 403 && (!strings.Contains(recorder.Body.String(), "<h1>Forbidden</h1>") || strings.Contains(recorder.Body.String(), "Newest")) {
				t.Errorf("%s: %s", c.what, recorder.Body)
			}
		})
	}
}

// What applications send is not on the screen of somebody elsewhere by accident.
func TestPayloadsTakeAClickElsewhere(t *testing.T) {
	run(t, func(w *world) {
		w.site.Named = true
		id := w.publish("order.paid", `{"customer":{"email":"a@example.com"}}`)
		for _, target := range []string{"/events/" + id, delivery(id, "well"), "/events/" + id + "?explain=filtered"} {
			page := w.ask(from(request(http.MethodGet, target), network)).Body.String()
			if strings.Contains(page, "a@example.com") || strings.Contains(page, "thanks") || !strings.Contains(page, "payload=show") {
				t.Errorf("%s shows it: %s", target, page)
			}
		}
		page := w.ask(from(request(http.MethodGet, "/events/"+id+"?payload=show"), network)).Body.String()
		if !strings.Contains(page, "a@example.com") {
			t.Error("it is not shown after the click")
		}
		if page := w.get("/events/" + id + "?payload=hide"); strings.Contains(page, "a@example.com") {
			t.Error("it is not hidden")
		}
	})
}

func TestHostsAndPathsAreJudged(t *testing.T) {
	run(t, func(w *world) {
		for _, hosts := range [][]string{{""}, {"a:80"}, {"https://a"}} {
			w.options.Hosts = hosts
			w.refused("hosts: ")
		}
		w.options.Hosts = nil
		for _, path := range []string{"", ".", "a..b", "a.", "a.*"} {
			w.options.Redact = []string{path}
			w.refused("redact: ")
		}
	})
}
