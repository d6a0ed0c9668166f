package egress

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"time"

	"github.com/caddyrelay/caddyrelay/relay/destination"
)

// DefaultConnectTimeout bounds a dial whose [Dialer.ConnectTimeout] is not set.
const DefaultConnectTimeout = 5 * time.Second

// Resolver looks names up. [net.Resolver] is one.
type Resolver interface {
	LookupNetIP(ctx context.Context, network, host string) ([]netip.Addr, error)
}

// Dialer makes TCP connections from the addresses of a region to destinations
// that a guard lets through. It is not changed once it is in use; then any number
// of goroutines may use it.
type Dialer struct {
	// Region says where connections leave from. Nil leaves the choice to the
	// kernel.
	Region *Region
	// Guard judges destinations. It is required.
	Guard *destination.Guard
	// Resolver looks names up. Default: [net.DefaultResolver], whose questions do
	// not leave from the region; those of [NewResolver] do.
	Resolver Resolver
	// Proxy makes the connections, where it gives one; the guard judges the target
	// all the same, before the proxy hears of it. Default: there is none.
	Proxy Proxy
	// ConnectTimeout bounds the lookup and the connecting to all addresses
	// together. Default: 5s.
	ConnectTimeout time.Duration

	// connect replaces the making of a socket in tests.
	connect func(ctx context.Context, source netip.Addr, target netip.AddrPort) (net.Conn, error)
}

// DialContext connects to address, "host:port"; network is "tcp". It is what
// [net/http.Transport] asks for.
//
// Every address that the host has is judged before any is connected to. One
// that is refused fails the dial with a [*destination.BlockedError], whatever the
// others are: who mixes a private address into an answer is not to be trusted
// with the rest. An [*UnavailableError] says that no attempt was made because the
// region has no address to make it from. A failed lookup is a [*net.DNSError].
func (d *Dialer) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	if network != "tcp" {
		return nil, fmt.Errorf("dialling %s: %w", address, net.UnknownNetworkError(network))
	}
	host, port, err := splitHostPort(address)
	if err != nil {
		return nil, err
	}
	t := trial{dialer: d, host: host}
	for {
		from, err := t.next()
		if err != nil {
			return nil, err
		}
		conn, err := d.dialFrom(ctx, from, "https", host, port)
		if err == nil || !t.again(err) {
			return conn, err
		}
	}
}

// dialFrom is DialContext from certain addresses. The scheme is that of the request, for
// the choice of a proxy.
func (d *Dialer) dialFrom(ctx context.Context, from sources, scheme, host string, port uint16) (net.Conn, error) {
	if d.Guard == nil {
		return nil, errors.New("dialling without a destination guard")
	}
	ctx, cancel := context.WithTimeout(ctx, cmp.Or(d.ConnectTimeout, DefaultConnectTimeout))
	defer cancel()
	targets, proxy, err := d.way(ctx, scheme, host, port)
	if err != nil {
		return nil, err
	}
	return connectFirst(ctx, host, targets, func(deadline time.Time, target netip.Addr) (net.Conn, error) {
		if proxy != nil {
			return d.tunnel(ctx, deadline, from, proxy, netip.AddrPortFrom(target, port))
		}
		return d.connectFrom(ctx, deadline, from, netip.AddrPortFrom(target, port), d.Guard)
	})
}

// way returns the judged addresses of host, and the proxy that a request of that scheme
// goes by; nil for none.
func (d *Dialer) way(ctx context.Context, scheme, host string, port uint16) ([]netip.Addr, *via, error) {
	targets, err := d.resolve(ctx, host)
	if err != nil {
		return nil, nil, err
	}
	by, err := d.via(ctx, &url.URL{Scheme: scheme, Host: net.JoinHostPort(host, strconv.Itoa(int(port)))})
	return targets, by, err
}

// Check looks host up and judges it as a dial would, without connecting. Its errors are
// those of [Dialer.DialContext] that come before a connection.
func (d *Dialer) Check(ctx context.Context, host string) error {
	ctx, cancel := context.WithTimeout(ctx, cmp.Or(d.ConnectTimeout, DefaultConnectTimeout))
	defer cancel()
	_, err := d.resolve(ctx, host)
	return err
}

// resolve returns the addresses to connect to, all of them judged.
func (d *Dialer) resolve(ctx context.Context, host string) ([]netip.Addr, error) {
	answers, err := d.lookup(ctx, host)
	if err != nil {
		return nil, err
	}
	for _, addr := range answers {
		if err := d.Guard.CheckAnswer(host, addr); err != nil {
			return nil, err
		}
	}
	return d.targets(host, answers)
}

func splitHostPort(address string) (string, uint16, error) {
	host, service, err := net.SplitHostPort(address)
	if err != nil {
		return "", 0, fmt.Errorf("dialling: %w", err)
	}
	port, err := strconv.ParseUint(service, 10, 16)
	if err != nil || port == 0 {
		return "", 0, fmt.Errorf("dialling %s: %q is no port", address, service)
	}
	return host, uint16(port), nil
}

// lookup returns the addresses of host, unmapped and each once. A host that is
// an address is itself.
func (d *Dialer) lookup(ctx context.Context, host string) ([]netip.Addr, error) {
	if addr, err := netip.ParseAddr(host); err == nil {
		return []netip.Addr{addr.Unmap()}, nil
	}
	resolver := d.Resolver
	if resolver == nil {
		resolver = net.DefaultResolver
	}
	found, err := resolver.LookupNetIP(ctx, "ip", host)
	if err != nil {
		if _, ok := errors.AsType[*net.DNSError](err); ok {
			return nil, err
		}
		if _, ok := errors.AsType[*UnavailableError](err); ok {
			return nil, err
		}
		return nil, &net.DNSError{UnwrapErr: err, Err: err.Error(), Name: host, IsTimeout: errors.Is(err, context.DeadlineExceeded)}
	}
	answers := make([]netip.Addr, 0, len(found))
	for _, addr := range found {
		if addr = addr.Unmap(); !slices.Contains(answers, addr) {
			answers = append(answers, addr)
		}
	}
	if len(answers) == 0 {
		return nil, &net.DNSError{Err: "the name has no addresses", Name: host, IsNotFound: true}
	}
	return answers, nil
}

// targets returns the answers that the region can connect to, the family that it
// prefers first.
func (d *Dialer) targets(host string, answers []netip.Addr) ([]netip.Addr, error) {
	if d.Region == nil {
		return answers, nil
	}
	var targets []netip.Addr
	for _, addr := range answers {
		if d.Region.Serves(FamilyOf(addr)) {
			targets = append(targets, addr)
		}
	}
	if len(targets) == 0 {
		family := FamilyOf(answers[0])
		return nil, &UnavailableError{
			Region: d.Region.Name,
			Family: family,
			Reason: fmt.Sprintf("%s has %s addresses only, and the region has none of those", host, family.Name()),
		}
	}
	slices.SortStableFunc(targets, func(a, b netip.Addr) int {
		return d.Region.rank(a) - d.Region.rank(b)
	})
	return targets, nil
}

// rank is 0 for what is tried first.
func (r *Region) rank(addr netip.Addr) int {
	if r.Prefer == "" || FamilyOf(addr) == r.Prefer {
		return 0
	}
	return 1
}
