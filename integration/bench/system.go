//go:build linux

package main

import (
	"fmt"
	"net/http"
	"strings"
)

// kind is what a system does with an event.
type kind int

const (
	// kindRelay stores events and delivers them.
	kindRelay kind = iota
	// kindProxy is Caddy's reverse_proxy: it hands requests on and stores nothing.
	kindProxy
	// kindClient is a loop of signed posts with net/http straight to the sink: what
	// deliveries cost by themselves.
	kindClient
	// kindCommit commits events one by one to a Badger of its own and delivers nothing:
	// what durability costs by itself.
	kindCommit
)

// system is one of what is compared.
type system struct {
	name     string
	kind     kind
	defaults bool // nothing is set for speed
}

var systems = []system{
	{name: "relay", kind: kindRelay},
	{name: "proxy", kind: kindProxy},
	{name: "relay-defaults", kind: kindRelay, defaults: true},
	{name: "proxy-defaults", kind: kindProxy, defaults: true},
	{name: "client", kind: kindClient},
	{name: "commit", kind: kindCommit},
}

func systemNamed(name string) (system, bool) {
	for _, s := range systems {
		if s.name == name {
			return s, true
		}
	}
	return system{}, false
}

func systemNames() string {
	names := make([]string, len(systems))
	for i, s := range systems {
		names[i] = s.name
	}
	return strings.Join(names, ", ")
}

// isCaddy reports whether the system runs in a Caddy of its own; the others run within
// the load.
func (s system) isCaddy() bool { return s.kind == kindRelay || s.kind == kindProxy }

// delivers reports whether events reach the sink.
func (s system) delivers() bool { return s.kind != kindCommit }

// signs reports whether deliveries are signed.
func (s system) signs() bool { return s.kind == kindRelay || s.kind == kindClient }

// status is that of an accepted event.
func (s system) status() int {
	if s.kind == kindRelay {
		return http.StatusAccepted
	}
	return http.StatusOK
}

// maxInFlight is the number of attempts, and of idle connections, that both systems are
// given to be comparable.
const maxInFlight = 256

// site is what a Caddyfile depends on.
type site struct {
	port   int
	sink   string // host:port
	admin  string // path of the socket
	store  string // directory
	secret string
	fanout int
}

// caddyfile returns the configuration of a system in Caddy.
func (s system) caddyfile(c site) string {
	var b strings.Builder
	fmt.Fprintf(&b, "{\n\tadmin \"unix/%s\"\n\tpersist_config off\n\tauto_https off\n\tlog {\n\t\tlevel ERROR\n\t}\n", c.admin)
	if s.kind == kindRelay {
		fmt.Fprintf(&b, "\trelay {\n\t\tstorage badger %q\n\t\tregion bench 127.0.0.1\n", c.store)
		for i := range c.fanout {
			fmt.Fprintf(&b, "\t\tsubscription s%d http://%s%s%d {\n", i, c.sink, subscriptionPath, i)
			fmt.Fprintf(&b, "\t\t\tsign standard %s\n\t\t\tallow_ips 127.0.0.0/8\n", c.secret)
			if !s.defaults {
				fmt.Fprintf(&b, "\t\t\tmax_in_flight %d\n", maxInFlight)
			}
			b.WriteString("\t\t}\n")
		}
		b.WriteString("\t}\n")
	}
	fmt.Fprintf(&b, "}\n\nhttp://:%d {\n\tbind 127.0.0.1\n", c.port)
	switch {
	case s.kind == kindRelay:
		b.WriteString("\trelay_intake\n")
	case s.defaults:
		fmt.Fprintf(&b, "\treverse_proxy %s\n", c.sink)
	default:
		fmt.Fprintf(&b, "\treverse_proxy %s {\n\t\ttransport http {\n\t\t\tkeepalive_idle_conns_per_host %d\n\t\t}\n\t}\n", c.sink, maxInFlight)
	}
	b.WriteString("}\n")
	return b.String()
}
