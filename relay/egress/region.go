package egress

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"
)

// Family is a version of the Internet Protocol.
type Family string

// Families, in the words of the configuration.
const (
	IPv4 Family = "ipv4"
	IPv6 Family = "ipv6"
)

// Name returns the family's name as people write it.
func (f Family) Name() string {
	if f == IPv6 {
		return "IPv6"
	}
	return "IPv4"
}

// FamilyOf returns the family of an address, with an IPv4-mapped one in IPv4.
func FamilyOf(addr netip.Addr) Family {
	if addr.Unmap().Is4() {
		return IPv4
	}
	return IPv6
}

// Region is a set of addresses from which deliveries leave. [NewRegion] makes it; its
// fields are not changed once it is in use.
type Region struct {
	Name string
	// Addresses are what connections leave from. If there are none the kernel
	// chooses.
	Addresses []Address
	// Prefer is the family that is tried first where a destination has addresses
	// of both. Default: the order of the resolver.
	Prefer Family

	// state has what belongs to each of Addresses.
	state []addressState
}

// NewRegion makes a region of unicast addresses, each of which stands once; where
// the kernel chooses, it does so for the whole family. Public sides that are not
// set are filled in. Whether this machine has the addresses is not asked: they may
// come and go, see [Region.Status]. Nor is the time: an address may have ended, or
// begin later.
func NewRegion(name string, addresses []Address) (*Region, error) {
	r := &Region{Name: name, Addresses: slices.Clone(addresses), state: make([]addressState, len(addresses))}
	for i := range r.Addresses {
		a := &r.Addresses[i]
		if err := a.prepare(); err != nil {
			return nil, fmt.Errorf("region %s: %w", name, err)
		}
		for _, other := range r.Addresses[:i] {
			if err := a.checkBeside(other); err != nil {
				return nil, fmt.Errorf("region %s: %w", name, err)
			}
		}
		r.state[i].hash, r.state[i].family = hash(a.String()), a.Family()
	}
	return r, nil
}

// checkBeside judges the address beside another one of the same region.
func (a *Address) checkBeside(other Address) error {
	switch {
	case a.Pinned() && a.Addr == other.Addr:
		return fmt.Errorf("the address %v stands twice; leave one of them out", a.Addr)
	case !a.Pinned() && !other.Pinned() && a.Public == other.Public:
		return fmt.Errorf("%v stands twice; leave one of them out", a)
	case a.Pinned() != other.Pinned() && a.Family() == other.Family():
		return fmt.Errorf("%v stands beside %v: either the kernel chooses the %s address, or sockets are bound to one; leave out the lines of one kind", other, a, a.Family().Name())
	}
	return nil
}

// Shared returns an address of the region that is one of another region too, on this
// machine or as receivers see it. They could not tell the two apart.
func (r *Region) Shared(other *Region) (Address, bool) {
	for _, a := range r.Addresses {
		for _, b := range other.Addresses {
			if a.Pinned() && a.Addr == b.Addr || a.Public.Overlaps(b.Public) {
				return a, true
			}
		}
	}
	return Address{}, false
}

// Serves reports whether the region can connect to addresses of the family: it
// has one of that family, or leaves the choice to the kernel.
func (r *Region) Serves(family Family) bool {
	return len(r.Addresses) == 0 || slices.ContainsFunc(r.Addresses, func(a Address) bool {
		return a.Family() == family
	})
}

// Idle returns the families in which the region has addresses, but none that is in
// use at that time, with the reasons as clauses for people.
func (r *Region) Idle(now time.Time) map[Family]string {
	idle := make(map[Family]string)
	for _, family := range []Family{IPv4, IPv6} {
		var reasons []string
		for _, a := range r.Addresses {
			if a.Family() != family {
				continue
			}
			if a.Active(now) {
				reasons = nil
				break
			}
			reasons = append(reasons, a.unused(now))
		}
		if len(reasons) > 0 {
			idle[family] = strings.Join(reasons, ", ")
		}
	}
	return idle
}

// AddressStatus says whether an address of a region can be used now.
type AddressStatus struct {
	Address
	// Up says that sockets can be bound to it. What the kernel itself chooses is up.
	Up bool
	// Err is why it is not up.
	Err error
	// Active says that it is now between From and Until.
	Active bool
}

// Status asks the kernel about each address of the region, in their order.
func (r *Region) Status() []AddressStatus {
	now := time.Now()
	status := make([]AddressStatus, len(r.Addresses))
	for i, a := range r.Addresses {
		var err error
		if a.Pinned() {
			err = Usable(a.Addr)
		}
		status[i] = AddressStatus{Address: a, Up: err == nil, Err: err, Active: a.Active(now)}
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
