package egress

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"sync/atomic"
	"time"
)

// NewResolver makes a resolver that asks the given servers, from the region's
// addresses and from no other. The system's resolver is asked nothing; its files
// are still read, the list of hosts among them. A lookup for which the region has
// no usable address fails with an [UnavailableError].
//
// The servers are the operator's choice; no guard judges them.
func NewResolver(region *Region, servers []netip.AddrPort) (Resolver, error) {
	if len(servers) == 0 {
		return nil, fmt.Errorf("region %s: no server to resolve names with", region.Name)
	}
	for _, server := range servers {
		if !server.IsValid() || server.Port() == 0 {
			return nil, fmt.Errorf("region %s: %v is no DNS server; write e.g. 192.0.2.53:53", region.Name, server)
		}
		if family := FamilyOf(server.Addr()); !region.Serves(family) {
			return nil, fmt.Errorf("region %s: the resolver %v cannot be asked: the region has no %s address", region.Name, server.Addr(), family.Name())
		}
	}
	r := &resolver{region: region, servers: slices.Clone(servers)}
	// PreferGo, since the C library would ask from an address of its own choice.
	r.resolver = net.Resolver{PreferGo: true, Dial: r.dial}
	return r, nil
}

type resolver struct {
	region   *Region
	servers  []netip.AddrPort
	asked    atomic.Uint32
	resolver net.Resolver
}

// LookupNetIP implements [Resolver].
func (r *resolver) LookupNetIP(ctx context.Context, network, host string) ([]netip.Addr, error) {
	addrs, err := r.resolver.LookupNetIP(ctx, network, host)
	if err == nil {
		return addrs, nil
	}
	// net.Resolver keeps the text of what dial returned, but not the error.
	if unavailable := r.unavailable(); unavailable != nil {
		return nil, unavailable
	}
	return nil, err
}

// unavailable returns an error if no server can be asked now.
func (r *resolver) unavailable() error {
	if len(r.region.Addresses) == 0 {
		return nil
	}
	now := time.Now()
	for _, server := range r.servers {
		family := FamilyOf(server.Addr())
		for i := range r.region.Addresses {
			a := &r.region.Addresses[i]
			if a.Family() == family && a.Active(now) && (!a.Pinned() || !missing(a.Addr)) {
				return nil
			}
		}
	}
	unavailable := r.region.unavailable("", now)
	unavailable.Reason = "names cannot be looked up: " + unavailable.Reason
	return unavailable
}

// dial is called once for each question and each repetition of it, with a server
// of the system's. Servers take turns, so that a repetition goes to the next one.
func (r *resolver) dial(ctx context.Context, network, _ string) (net.Conn, error) {
	server := r.servers[int(r.asked.Add(1)-1)%len(r.servers)]
	family := FamilyOf(server.Addr())
	var gone []*Address
	for {
		source := r.region.pick("", time.Now(), gone).of(family)
		if source == nil {
			return nil, r.region.unavailable(family, time.Now())
		}
		dialer := net.Dialer{LocalAddr: localAddr(network, source.Addr)}
		conn, err := dialer.DialContext(ctx, network, server.String())
		if err == nil || !source.Pinned() || !missing(source.Addr) {
			return conn, err
		}
		gone = append(gone, source)
	}
}

// localAddr returns what net.Dialer binds to: nothing if source is not valid.
func localAddr(network string, source netip.Addr) net.Addr {
	switch {
	case !source.IsValid():
		return nil
	case network == "udp", network == "udp4", network == "udp6":
		return net.UDPAddrFromAddrPort(netip.AddrPortFrom(source, 0))
	}
	return net.TCPAddrFromAddrPort(netip.AddrPortFrom(source, 0))
}
