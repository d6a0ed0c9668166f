package caddymodule

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddyrelay/caddyrelay/relay/egress"
)

// Region is a place on the network that deliveries leave from: a list of addresses
// that receivers can be told.
type Region struct {
	// The name, unique in this configuration; the same form as a subscription's.
	Name string `json:"name"`

	// The addresses of this machine that deliveries are sent from. There is no
	// fallback to others: if none of the destination's family is usable, deliveries
	// are held.
	Egress []Egress `json:"egress"`

	// The family that is tried first where a destination has addresses of both: `ipv4`
	// or `ipv6`. Default: the order in which the resolver gives them
	Prefer string `json:"prefer,omitempty"`

	// DNS servers as `address` or `address:port`, that are asked for the names of
	// destinations, from the addresses of the region. Default: the system's resolver,
	// whose questions leave from wherever the kernel chooses
	Resolvers []string `json:"resolvers,omitempty"`

	// What makes the connections, if the region cannot reach receivers itself. The
	// destination guard judges each receiver before the proxy is asked for it, and the
	// connection to the proxy leaves from the region. Guests are those of Caddy's
	// [network_proxy](https://caddyserver.com/docs/caddyfile/directives/reverse_proxy).
	// Default: there is none; proxy variables of the environment are ignored
	NetworkProxyRaw json.RawMessage `json:"network_proxy,omitempty" caddy:"namespace=caddy.network_proxy inline_key=from"`

	// What Provision makes of it.
	built    *egress.Region
	resolver egress.Resolver
	proxy    egress.Proxy
	warnings []string
}

// Egress is one address that deliveries leave from.
type Egress struct {
	// The address of this machine, IPv4 or IPv6, that sockets are bound to; or `auto`,
	// where the address that receivers see cannot be bound (a pod, a NAT gateway): then
	// the kernel chooses. `auto` stands for all addresses of its family.
	Address string `json:"address"`

	// The address that receivers see, where a 1:1 NAT puts another one in its place.
	// With `auto` it is required, and may be a prefix. Default: the address itself
	As string `json:"as,omitempty"`

	// The first moment at which new connections leave from the address, RFC 3339.
	// Default: since ever
	From time.Time `json:"from,omitzero"`

	// The first moment at which they do so no more, RFC 3339. Default: for ever
	Until time.Time `json:"until,omitzero"`
}

// autoAddress lets the kernel choose.
const autoAddress = "auto"

// maxAddresses bounds those of a region. Each is watched, compared with all others, and stands
// in the list that receivers copy into their firewalls.
const maxAddresses = 1024

// check judges the region by itself.
func (r *Region) check() error {
	if err := checkName("region", r.Name); err != nil {
		return err
	}
	if len(r.Egress) == 0 {
		return fmt.Errorf("region %q: no address; write: region %s <ip>...; %s", r.Name, r.Name, unsetHint)
	}
	if n := len(r.Egress); n > maxAddresses {
		return fmt.Errorf("region %q: %d addresses; at most %d are possible, more belong into several regions", r.Name, n, maxAddresses)
	}
	if err := checkPrefer(r.Prefer); err != nil {
		return fmt.Errorf("region %q: %w", r.Name, err)
	}
	region, err := r.build()
	if err != nil {
		return err
	}
	if _, err := r.buildResolver(region); err != nil {
		return err
	}
	if err := r.checkProxy(); err != nil {
		return fmt.Errorf("region %q: %w", r.Name, err)
	}
	return nil
}

// provision makes what dialers use, without a look at the network.
func (r *Region) provision(ctx caddy.Context) (err error) {
	if r.built, err = r.build(); err != nil {
		return err
	}
	if r.resolver, err = r.buildResolver(r.built); err != nil {
		return err
	}
	r.warnings = r.proxyWarnings() // before the guest is loaded: its text is gone then
	if r.proxy, err = r.loadProxy(ctx); err != nil {
		return fmt.Errorf("region %q: %w", r.Name, err)
	}
	return nil
}

// buildResolver returns nil for that of the system.
func (r *Region) buildResolver(region *egress.Region) (egress.Resolver, error) {
	if len(r.Resolvers) == 0 {
		return nil, nil //nolint:nilnil // dialers know what that means
	}
	servers := make([]netip.AddrPort, len(r.Resolvers))
	for i, text := range r.Resolvers {
		var err error
		if servers[i], err = parseResolver(text); err != nil {
			return nil, fmt.Errorf("region %q: %w", r.Name, err)
		}
	}
	resolver, err := egress.NewResolver(region, servers)
	if err != nil {
		return nil, fmt.Errorf("region %q: %s", r.Name, strings.TrimPrefix(err.Error(), "region "+r.Name+": "))
	}
	return resolver, nil
}

// dnsPort is that of DNS servers (RFC 1035).
const dnsPort = 53

func parseResolver(text string) (netip.AddrPort, error) {
	if addr, err := netip.ParseAddr(text); err == nil {
		return netip.AddrPortFrom(addr, dnsPort), nil
	}
	server, err := netip.ParseAddrPort(text)
	if err != nil || server.Port() == 0 {
		return server, fmt.Errorf("resolvers: %q is no address of a DNS server; write e.g. 192.0.2.53, 192.0.2.53:5353 or [2001:db8::53]:5353", text)
	}
	return server, nil
}

func checkPrefer(text string) error {
	switch egress.Family(text) {
	case "", egress.IPv4, egress.IPv6:
		return nil
	}
	return fmt.Errorf("prefer: %q is no family of addresses; write: prefer ipv4, or: prefer ipv6", text)
}

// checkApart judges the region beside those that stand before it.
func (r *Region) checkApart(earlier []*Region) error {
	mine, err := r.build()
	if err != nil {
		return err
	}
	for _, other := range earlier {
		built, err := other.build()
		if err != nil {
			return err
		}
		if shared, found := mine.Shared(built); found {
			return fmt.Errorf("region %q: the address %v is also one of region %q, so that receivers could not tell them apart; leave it in one of them, and let the subscriptions of the other use that one, too", r.Name, shared, other.Name)
		}
	}
	return nil
}

// build makes what the engine's dialers use. It needs no network: whether this machine
// has the addresses is asked at each dial.
func (r *Region) build() (*egress.Region, error) {
	list := make([]egress.Address, len(r.Egress))
	for i, e := range r.Egress {
		addr, err := e.build()
		if err != nil {
			return nil, fmt.Errorf("region %q: egress: %w", r.Name, err)
		}
		list[i] = addr
	}
	region, err := egress.NewRegion(r.Name, list)
	if err != nil {
		return nil, fmt.Errorf("region %q: %s", r.Name, strings.TrimPrefix(err.Error(), "region "+r.Name+": "))
	}
	region.Prefer = egress.Family(r.Prefer)
	return region, nil
}

func (e Egress) build() (egress.Address, error) {
	address := egress.Address{From: e.From, Until: e.Until}
	var err error
	if e.Address != autoAddress {
		if address.Addr, err = netip.ParseAddr(e.Address); err != nil {
			return address, fmt.Errorf("%q is no IP address; write one address, and not a prefix or a name, e.g. 192.0.2.10 or 2001:db8::10", e.Address)
		}
	}
	if e.As == "" {
		return address, nil
	}
	if addr, err := netip.ParseAddr(e.As); err == nil {
		address.Public = netip.PrefixFrom(addr, addr.BitLen())
		if addr.Zone() == "" {
			return address, nil
		}
	} else if address.Public, err = netip.ParsePrefix(e.As); err == nil && !address.Pinned() {
		return address, nil
	}
	if address.Pinned() {
		return address, fmt.Errorf("%s as %q: that is no IP address; write the one address that receivers see, e.g. as 192.0.2.10", e.Address, e.As)
	}
	return address, fmt.Errorf("auto as %q: that is no IP address and no prefix; write what receivers see, e.g. as 192.0.2.10 or as 192.0.2.0/28", e.As)
}

// regional returns the addresses that deliveries leave from, on this machine and as
// receivers see them: none of them is a destination. What a NAT gateway has is left out,
// since others share it.
func (a *App) regional() []netip.Addr {
	var all []netip.Addr
	for _, r := range a.Regions {
		for _, e := range r.Egress {
			if address, err := e.build(); err == nil && address.Pinned() {
				all = append(all, address.Addr)
				if address.Public.IsValid() {
					all = append(all, address.Public.Addr())
				}
			}
		}
	}
	return all
}

// idle warns of a family in which the region has addresses, but none now. It is no
// error: what was loaded yesterday has to be loaded today, after a restart.
func (r *Region) idle(now time.Time) []string {
	region, err := r.build()
	if err != nil {
		return nil // it has been refused
	}
	var all []string
	reasons := region.Idle(now)
	for _, family := range slices.Sorted(maps.Keys(reasons)) {
		all = append(all, fmt.Sprintf("region %q: none of its %s addresses is in use now, and what has to leave from one is held: %s; add one that is", r.Name, family.Name(), reasons[family]))
	}
	return all
}

// checkLiteral refuses a host that is an address of a family which the region has no
// address of: no attempt could ever be made. r may be nil.
func (r *Region) checkLiteral(host string) error {
	addr, err := netip.ParseAddr(host)
	if r == nil || err != nil {
		return nil
	}
	region, err := r.build()
	if err != nil || region.Serves(egress.FamilyOf(addr)) {
		return err
	}
	family, other := "IPv6", "IPv4"
	if addr.Is4() {
		family, other = other, family
	}
	return fmt.Errorf("the URL holds the %s address %s, but region %q has %s addresses only; add one to the region, or use another region", family, addr, r.Name, other)
}
