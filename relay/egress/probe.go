package egress

import (
	"cmp"
	"context"
	"errors"
	"net"
	"net/netip"
	"slices"
	"time"

	"github.com/caddyrelay/caddyrelay/relay/destination"
)

// Path is a way from an address of a region to an address of a host.
type Path struct {
	// From is the region's address; nil where the region has none at all, or where there
	// is no region.
	From *Address
	// To is what is connected to: an address of the host, or of the proxy that makes the
	// connections.
	To netip.AddrPort
	// Source is what packets would carry, as far as this machine knows: From itself, or
	// what the kernel has chosen.
	Source netip.Addr
	// Route is why the kernel knows no way to To from From, or nil.
	Route error
	// Reach is why no connection could be made, or nil; Took is how long that lasted. Both
	// are zero if it was not tried.
	Reach error
	Took  time.Duration
}

// Probe looks for ways to a host, as a dial for a request of that scheme would go: from
// each address of the region that is in use and on this machine, to the first address of
// its family. Nothing is sent, but for questions to the resolver, unless connect asks for
// a connection on each way; that is closed at once.
//
// The error is that of a lookup, of the guard, or an [*UnavailableError].
func (d *Dialer) Probe(ctx context.Context, scheme, host string, port uint16, connect bool) ([]Path, error) {
	if d.Guard == nil {
		return nil, errors.New("probing without a destination guard")
	}
	within, cancel := context.WithTimeout(ctx, cmp.Or(d.ConnectTimeout, DefaultConnectTimeout))
	defer cancel()
	targets, proxy, err := d.way(within, scheme, host, port)
	if err != nil {
		return nil, err
	}
	guard, service := d.Guard, port
	if proxy != nil {
		targets, service, guard = proxy.targets, proxy.port, nil
	}
	var paths []Path
	for _, family := range []Family{IPv4, IPv6} {
		i := slices.IndexFunc(targets, func(a netip.Addr) bool { return FamilyOf(a) == family })
		if i < 0 {
			continue
		}
		for _, from := range d.Region.present(family, time.Now()) {
			p := Path{From: from, To: netip.AddrPortFrom(targets[i], service)}
			if from == unbound {
				p.From = nil
			}
			p.Source, p.Route = route(within, from.Addr, p.To, guard)
			paths = append(paths, p)
		}
	}
	if len(paths) == 0 {
		return nil, d.Region.unavailable("", time.Now())
	}
	if connect {
		for i := range paths {
			d.reach(ctx, &paths[i], scheme, host, port, proxy)
		}
	}
	return paths, nil
}

// present are the addresses of a family that are in use and on this machine.
func (r *Region) present(family Family, now time.Time) []*Address {
	if r == nil || len(r.Addresses) == 0 {
		return []*Address{unbound}
	}
	var all []*Address
	for i := range r.Addresses {
		if a := &r.Addresses[i]; a.Family() == family && a.Active(now) && (!a.Pinned() || !missing(a.Addr)) {
			all = append(all, a)
		}
	}
	return all
}

// route asks the kernel for the way to target. Connecting a UDP socket looks it up and
// sends nothing.
func route(ctx context.Context, source netip.Addr, target netip.AddrPort, guard *destination.Guard) (netip.Addr, error) {
	dialer := net.Dialer{LocalAddr: localAddr("udp", source), ControlContext: control(netip.Addr{}, guard)}
	conn, err := dialer.DialContext(ctx, "udp", target.String())
	if err != nil {
		return source, err
	}
	defer conn.Close()
	return conn.LocalAddr().(*net.UDPAddr).AddrPort().Addr().Unmap(), nil
}

// reach connects on one way, and on no other.
func (d *Dialer) reach(ctx context.Context, p *Path, scheme, host string, port uint16, proxy *via) {
	from := sources{unbound, unbound}
	if p.From != nil {
		from = sources{}
		if p.From.Family() == IPv4 {
			from.v4 = p.From
		} else {
			from.v6 = p.From
		}
	}
	begun := time.Now()
	var conn net.Conn
	if proxy != nil {
		conn, p.Reach = d.dialFrom(ctx, from, scheme, host, port)
	} else {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, cmp.Or(d.ConnectTimeout, DefaultConnectTimeout))
		defer cancel()
		end, _ := ctx.Deadline()
		conn, p.Reach = d.connectFrom(ctx, end, from, p.To, d.Guard)
	}
	p.Took = time.Since(begun)
	if conn != nil {
		_ = conn.Close()
	}
}

// InterfaceOf returns the name of the interface that has an address, or nothing.
func InterfaceOf(addr netip.Addr) string {
	interfaces, err := net.Interfaces()
	if err != nil {
		return ""
	}
	for _, i := range interfaces {
		addrs, err := i.Addrs()
		if err != nil {
			continue
		}
		for _, a := range addrs {
			if prefix, err := netip.ParsePrefix(a.String()); err == nil && prefix.Addr().Unmap() == addr {
				return i.Name
			}
		}
	}
	return ""
}
