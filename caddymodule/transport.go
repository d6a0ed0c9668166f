package caddymodule

import (
	"crypto/tls"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddyrelay/caddyrelay/relay/destination"
	"github.com/caddyrelay/caddyrelay/relay/egress"
)

// route is all that decides how connections are made.
type route struct {
	region         *Region // nil: the kernel chooses
	guard          *destination.Guard
	rules          destination.Rules
	connectTimeout time.Duration
	// tls is what connections by TLS need beside the default; tlsKey is where it comes from.
	tls    *tls.Config
	tlsKey string
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
	return fmt.Sprintf("%q %q %q %d %q", region, distinct(ips), distinct(hosts), r.connectTimeout, r.tlsKey)
}

// withoutTLS is the way to servers that are to know nothing of the endpoint's certificates.
func (r route) withoutTLS() route {
	r.tls, r.tlsKey = nil, ""
	return r
}

func distinct(list []string) []string {
	slices.Sort(list)
	return slices.Compact(list)
}

// transports are those of one configuration. They are never shared with another one,
// whose secrets and rules may differ.
type transports struct {
	byKey map[string]connector
	// dialers are those of routes that are equal but for TLS.
	dialers map[string]*egress.Dialer
	// authorizers and tlsConfigs are those of equal settings.
	authorizers map[string]credentials
	tlsConfigs  map[string]*tls.Config
}

// connector makes the connections of equal routes.
type connector struct {
	dialer    *egress.Dialer
	transport *egress.Transport
}

func newTransports() *transports {
	return &transports{
		byKey: make(map[string]connector), dialers: make(map[string]*egress.Dialer), authorizers: make(map[string]credentials), tlsConfigs: make(map[string]*tls.Config),
	}
}

// tls returns the configuration of connections by TLS, and adds it to the route.
func (t *transports) tls(ctx caddy.Context, s *Settings, r *route) error {
	r.tlsKey = s.tlsKey()
	if made, ok := t.tlsConfigs[r.tlsKey]; ok {
		r.tls = made
		return nil
	}
	made, err := s.clientConfig(ctx)
	if err != nil {
		return err
	}
	r.tls, t.tlsConfigs[r.tlsKey] = made, made
	return nil
}

func (t *transports) get(r route) connector {
	key := r.key()
	if found, ok := t.byKey[key]; ok {
		return found
	}
	dialer := t.dialer(r.withoutTLS())
	made := connector{dialer, egress.NewTransport(dialer, egress.TransportOptions{TLS: r.tls})}
	t.byKey[key] = made
	return made
}

func (t *transports) dialer(r route) *egress.Dialer {
	key := r.key()
	if t.dialers[key] == nil {
		dialer := &egress.Dialer{Guard: r.guard, ConnectTimeout: r.connectTimeout}
		if r.region != nil {
			dialer.Region, dialer.Resolver, dialer.Proxy = r.region.built, r.region.resolver, r.region.proxy
		}
		t.dialers[key] = dialer
	}
	return t.dialers[key]
}

func (t *transports) all() []*egress.Transport {
	all := make([]*egress.Transport, 0, len(t.byKey))
	for _, c := range t.byKey {
		all = append(all, c.transport)
	}
	return all
}
