package caddymodule

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/caddyrelay/caddyrelay/relay/destination"
	"github.com/caddyrelay/caddyrelay/relay/egress"
)

// route is all that decides how connections are made.
type route struct {
	region         *Region // nil: the kernel chooses
	guard          *destination.Guard
	rules          destination.Rules
	connectTimeout time.Duration
	maxIdle        int
}

// key is equal for routes whose connections may be used for one another. The rules are
// part of it: a pooled connection was judged by those of whoever made it.
func (r route) key() string {
	region := ""
	if r.region != nil {
		region = r.region.Name
	}
	ips := make([]string, len(r.rules.AllowIPs))
	for i, p := range r.rules.AllowIPs {
		ips[i] = p.String()
	}
	hosts := make([]string, len(r.rules.AllowHosts))
	for i, h := range r.rules.AllowHosts {
		hosts[i] = strings.ToLower(h)
	}
	return fmt.Sprintf("%q %q %q %d %d", region, distinct(ips), distinct(hosts), r.connectTimeout, r.maxIdle)
}

func distinct(list []string) []string {
	slices.Sort(list)
	return slices.Compact(list)
}

// transports are those of one configuration. They are never shared with another one,
// whose secrets and rules may differ.
type transports struct {
	byKey map[string]connector
}

// connector makes the connections of equal routes.
type connector struct {
	dialer    *egress.Dialer
	transport *egress.Transport
}

func newTransports() *transports { return &transports{byKey: make(map[string]connector)} }

func (t *transports) get(r route) connector {
	key := r.key()
	if found, ok := t.byKey[key]; ok {
		return found
	}
	dialer := &egress.Dialer{Guard: r.guard, ConnectTimeout: r.connectTimeout}
	if r.region != nil {
		dialer.Region, dialer.Resolver, dialer.Proxy = r.region.built, r.region.resolver, r.region.proxy
	}
	made := connector{dialer, egress.NewTransport(dialer, egress.TransportOptions{MaxIdlePerHost: r.maxIdle})}
	t.byKey[key] = made
	return made
}

func (t *transports) all() []*egress.Transport {
	all := make([]*egress.Transport, 0, len(t.byKey))
	for _, c := range t.byKey {
		all = append(all, c.transport)
	}
	return all
}
