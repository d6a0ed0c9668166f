package egress

import (
	"fmt"
	"net/netip"
	"slices"
)

// Family is a version of the Internet Protocol.
type Family string

// Families, in the words of the configuration.
const (
	IPv4 Family = "ipv4"
	IPv6 Family = "ipv6"
)

// FamilyOf returns the family of an address, with an IPv4-mapped one in IPv4.
func FamilyOf(addr netip.Addr) Family {
	if addr.Unmap().Is4() {
		return IPv4
	}
	return IPv6
}

// Region is a set of addresses from which deliveries leave. It is not changed
// once it is in use.
type Region struct {
	Name string
	// Addresses are those of this machine that sockets are bound to. If there
	// are none the kernel chooses.
	Addresses []netip.Addr
	// Prefer is the family that is tried first where a destination has addresses
	// of both. Default: the order of the resolver.
	Prefer Family
}

// NewRegion makes a region of unicast addresses. Whether this machine has them is
// not asked: they may come and go, see [Region.Status].
func NewRegion(name string, addrs []netip.Addr) (*Region, error) {
	for i, addr := range addrs {
		if reason := notASource(addr); reason != "" {
			return nil, fmt.Errorf("region %s: deliveries cannot leave from %v: %s", name, addr, reason)
		}
		if slices.Contains(addrs[:i], addr) {
			return nil, fmt.Errorf("region %s: the address %v stands twice", name, addr)
		}
	}
	return &Region{Name: name, Addresses: slices.Clone(addrs)}, nil
}

// notASource returns why no connection over the Internet can leave from addr, or
// nothing.
func notASource(addr netip.Addr) string {
	switch {
	case !addr.IsValid():
		return "this is no address"
	case addr.Is4In6():
		return "write it as " + addr.Unmap().String()
	case addr.Zone() != "":
		return "an address with a zone belongs to one link; no receiver is there"
	case addr.IsUnspecified():
		return "this means any address; leave it out to let the kernel choose"
	case addr.IsMulticast(), addr == netip.AddrFrom4([4]byte{255, 255, 255, 255}):
		return "it is not a unicast address"
	case addr.Is6() && addr.IsLinkLocalUnicast():
		return "a link-local address belongs to one link; no receiver is there"
	}
	return ""
}

// Serves reports whether the region can connect to addresses of the family: it
// has one of that family, or leaves the choice to the kernel.
func (r *Region) Serves(family Family) bool {
	return len(r.Addresses) == 0 || slices.ContainsFunc(r.Addresses, func(a netip.Addr) bool {
		return FamilyOf(a) == family
	})
}

// AddressStatus says whether an address of a region can be used now.
type AddressStatus struct {
	Address netip.Addr
	Up      bool
	// Err is why it is not up.
	Err error
}

// Status asks the kernel about each address of the region, in their order.
func (r *Region) Status() []AddressStatus {
	status := make([]AddressStatus, len(r.Addresses))
	for i, addr := range r.Addresses {
		err := Usable(addr)
		status[i] = AddressStatus{Address: addr, Up: err == nil, Err: err}
	}
	return status
}

// Lost returns an [*UnavailableError] if local, which a connection of the region
// has or had, is no longer on this machine, and nil otherwise. It is to be asked
// when an attempt has failed without an answer: a connection whose address is taken
// from under it, as one kept alive may be, is silent until a timeout ends it, and
// that is not the receiver's fault.
func (r *Region) Lost(local netip.Addr) error {
	local = local.Unmap()
	if !local.IsValid() || !missing(local) {
		return nil
	}
	gone := []netip.Addr{local}
	return &UnavailableError{Region: r.Name, Family: FamilyOf(local), Addresses: gone, Reason: notHere(gone)}
}

// sources returns the region's addresses of a family in the order in which they
// are tried for host. The first one is the same for each dial to that host, so
// that a receiver sees one address as long as it is up.
func (r *Region) sources(family Family, host string) []netip.Addr {
	var list []netip.Addr
	for _, addr := range r.Addresses {
		if FamilyOf(addr) == family {
			list = append(list, addr)
		}
	}
	if len(list) < 2 {
		return list
	}
	first := int(hash(host) % uint32(len(list)))
	return slices.Concat(list[first:], list[:first])
}

// hash is FNV-1a. It is the same in each process, so that a restart does not move
// a receiver to another source.
func hash(s string) uint32 {
	h := uint32(2166136261)
	for i := range len(s) {
		h = (h ^ uint32(s[i])) * 16777619
	}
	return h
}
