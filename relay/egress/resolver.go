package egress

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"
	"time"
)

// lookupsAtOnce is how many names a region looks up at a time. The others wait: who starts
// with thousands of destinations shall not flood its servers with questions.
const lookupsAtOnce = 64

// resolver asks certain servers, from the region's addresses.
type resolver struct {
	region  *Region
	servers []*server
	// last is the index of the server that answered last. It is asked first.
	last  atomic.Uint32
	slots chan struct{}
}

// NewResolver makes a resolver that asks the given servers, from the region's
// addresses and from no other. The system's resolver is asked nothing; its files
// are still read, the list of hosts among them, but for its search domains: names
// are asked for as they stand. Nothing is kept of the answers.
//
// The server that answered last is asked first. One that does not answer, or not with
// an answer, is given its share of the time, and then the next one is asked.
//
// A lookup for which the region has no usable address fails with an
// [UnavailableError]. The servers are the operator's choice; no guard judges them.
func NewResolver(region *Region, servers []netip.AddrPort) (Resolver, error) {
	if len(servers) == 0 {
		return nil, fmt.Errorf("region %s: no server to resolve names with", region.Name)
	}
	r := &resolver{region: region, slots: make(chan struct{}, lookupsAtOnce)}
	for i, addr := range servers {
		family := FamilyOf(addr.Addr())
		switch {
		case !addr.IsValid() || addr.Port() == 0:
			return nil, fmt.Errorf("region %s: %v is no DNS server; write e.g. 192.0.2.53:53", region.Name, addr)
		case addr.Addr().IsUnspecified() || addr.Addr().IsMulticast():
			return nil, fmt.Errorf("region %s: the resolver %v cannot be asked: it is not the address of a server", region.Name, addr.Addr())
		case slices.Contains(servers[:i], addr):
			return nil, fmt.Errorf("region %s: the resolver %v stands twice; leave one of them out", region.Name, addr)
		case !region.Serves(family):
			return nil, fmt.Errorf("region %s: the resolver %v cannot be asked: the region has no %s address; add one, or ask a server of the other family", region.Name, addr.Addr(), family.Name())
		}
		r.servers = append(r.servers, newServer(region, addr))
	}
	return r, nil
}

// LookupNetIP implements [Resolver].
func (r *resolver) LookupNetIP(ctx context.Context, network, host string) ([]netip.Addr, error) {
	if _, bounded := ctx.Deadline(); !bounded {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, DefaultConnectTimeout)
		defer cancel()
	}
	select {
	case r.slots <- struct{}{}:
		defer func() { <-r.slots }()
	case <-ctx.Done():
		return nil, &net.DNSError{Err: "too many names are being looked up", Name: host, IsTimeout: true, IsTemporary: true}
	}
	addrs, err := r.ask(ctx, network, host)
	if err == nil {
		return addrs, nil
	}
	// net.Resolver keeps the text of what dialling returned, but not the error.
	if unavailable := r.unavailable(); unavailable != nil {
		return nil, unavailable
	}
	return nil, err
}

// ask asks one server after the other.
func (r *resolver) ask(ctx context.Context, network, host string) (addrs []netip.Addr, err error) {
	end, _ := ctx.Deadline()
	first := int(r.last.Load())
	for i := range r.servers {
		n := (first + i) % len(r.servers)
		addrs, err = r.servers[n].lookup(ctx, share(time.Now(), end, len(r.servers)-i), network, host)
		if dns, ok := errors.AsType[*net.DNSError](err); err == nil || ok && dns.IsNotFound {
			r.last.Store(uint32(n))
			return addrs, err
		}
		if ctx.Err() != nil {
			break
		}
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
		family := FamilyOf(server.addr.Addr())
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

// server is one server with what asks it.
type server struct {
	region   *Region
	addr     netip.AddrPort
	resolver net.Resolver
}

func newServer(region *Region, addr netip.AddrPort) *server {
	s := &server{region: region, addr: addr}
	// PreferGo, since the C library would ask from an address of its own choice.
	s.resolver = net.Resolver{PreferGo: true, Dial: s.dial}
	return s
}

func (s *server) lookup(ctx context.Context, deadline time.Time, network, host string) ([]netip.Addr, error) {
	ctx, cancel := context.WithDeadline(ctx, deadline)
	defer cancel()
	addrs, err := s.resolver.LookupNetIP(ctx, network, strings.TrimSuffix(host, ".")+".")
	if dns, ok := errors.AsType[*net.DNSError](err); ok {
		told := *dns
		told.Name, told.Server = host, s.addr.String() // and not one of the system's
		return nil, &told
	}
	return addrs, err
}

// dial is called for each question and each repetition of it, with a server of the
// system's.
func (s *server) dial(ctx context.Context, network, _ string) (net.Conn, error) {
	family := FamilyOf(s.addr.Addr())
	var gone []*Address
	for {
		source := s.region.pick("", time.Now(), gone).of(family)
		if source == nil {
			return nil, s.region.unavailable(family, time.Now())
		}
		dialer := net.Dialer{LocalAddr: localAddr(network, source.Addr)}
		conn, err := dialer.DialContext(ctx, network, s.addr.String())
		if err == nil {
			// net.Resolver would wait for an answer as long as the system's settings say,
			// even if nobody waits for it any more.
			context.AfterFunc(ctx, func() { _ = conn.Close() })
			return conn, nil
		}
		if !source.Pinned() || !missing(source.Addr) {
			return nil, err
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
