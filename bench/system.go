//go:build linux

package bench

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
	alone    bool // without the further subscriptions of -others
	backlog  bool // delivers nothing before all of -backlog is accepted
	postgres bool // keeps events in the database of -postgres
	relays   int  // so many on that database; 0: it is not about that
}

var systems = []system{
	{name: "relay", kind: kindRelay},
	{name: "proxy", kind: kindProxy},
	{name: "relay-defaults", kind: kindRelay, defaults: true},
	{name: "proxy-defaults", kind: kindProxy, defaults: true},
	{name: "relay-alone", kind: kindRelay, alone: true},
	{name: "relay-backlog", kind: kindRelay, backlog: true},
	{name: "relay-postgres", kind: kindRelay, postgres: true},
	{name: "client", kind: kindClient},
	{name: "commit", kind: kindCommit},
}

func systemNamed(name string) (system, bool) {
	for _, s := range systems {
		if s.name == name {
			return s, true
		}
	}
	return severalRelays(name)
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

// steadyMaxSize is how large the store of a -steady run may become.
const steadyMaxSize = "4GiB"

// site is what a Caddyfile depends on.
type site struct {
	port   int
	sink   string // host:port
	admin  string // path of the socket
	store  string // directory
	dsn    string // of the database
	schema string // of a run's own
	secret string
	fanout int
	others int
	// steady has the store trimmed while the load is on.
	steady bool
	// tls and roots, the path of a certificate, say how the sink is spoken to.
	tls   wire
	roots string
}

// caddyfile returns the configuration of a system in Caddy.
func (s system) caddyfile(c site) string {
	var b strings.Builder
	fmt.Fprintf(&b, "{\n\tadmin \"unix/%s\"\n\tpersist_config off\n\tauto_https off\n\tlog {\n\t\tlevel ERROR\n\t}\n", c.admin)
	if s.kind == kindRelay {
		s.writeRelay(&b, c)
	}
	fmt.Fprintf(&b, "}\n\nhttp://:%d {\n\tbind 127.0.0.1\n", c.port)
	if s.kind == kindRelay {
		b.WriteString("\trelay_intake\n}\n")
	} else {
		s.writeProxy(&b, c)
		b.WriteString("}\n")
	}
	return b.String()
}

func (s system) writeRelay(b *strings.Builder, c site) {
	fmt.Fprintf(b, "\trelay {\n\t\tstorage %s\n\t\tregion bench 127.0.0.1\n", s.storage(c))
	if c.steady {
		b.WriteString("\t\tretention {\n\t\t\tdelivered 1m\n\t\t}\n")
	}
	if s.relays > 0 {
		s.writeShared(b, c)
		b.WriteString("\t}\n")
		return
	}
	for i := range c.fanout {
		fmt.Fprintf(b, "\t\tsubscription s%d %s://%s%s%d {\n", i, c.tls.scheme(), c.sink, subscriptionPath, i)
		fmt.Fprintf(b, "\t\t\tsign standard %s\n\t\t\tallow_ips 127.0.0.0/8\n", c.secret)
		if c.tls != wirePlain {
			fmt.Fprintf(b, "\t\t\ttls_trust_pool file %q\n", c.roots)
		}
		if !s.defaults {
			fmt.Fprintf(b, "\t\t\tmax_in_flight %d\n", maxInFlight)
		}
		b.WriteString("\t\t}\n")
	}
	if !s.alone {
		for i := range c.others {
			fmt.Fprintf(b, "\t\tsubscription other%d %s://%s/other other%d.* {\n\t\t\tsign standard %s\n\t\t\tallow_ips 127.0.0.0/8\n\t\t}\n",
				i, c.tls.scheme(), c.sink, i, c.secret)
		}
	}
	b.WriteString("\t}\n")
}

// storage is where a relay keeps its events.
func (s system) storage(c site) string {
	switch {
	case !s.postgres && c.steady:
		return fmt.Sprintf("badger %q {\n\t\t\tmax_size %s\n\t\t}", c.store, steadyMaxSize)
	case !s.postgres:
		return fmt.Sprintf("badger %q", c.store)
	}
	return fmt.Sprintf("postgres %q {\n\t\t\tschema %s\n\t\t}", c.dsn, c.schema)
}

func (s system) writeProxy(b *strings.Builder, c site) {
	fmt.Fprintf(b, "\treverse_proxy %s://%s {\n\t\ttransport http {\n", c.tls.scheme(), c.sink)
	if !s.defaults {
		fmt.Fprintf(b, "\t\t\tkeepalive_idle_conns_per_host %d\n", maxInFlight)
	}
	if c.tls != wirePlain {
		fmt.Fprintf(b, "\t\t\ttls_trust_pool file %q\n", c.roots)
	}
	b.WriteString("\t\t}\n\t}\n")
}
