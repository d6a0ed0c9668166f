package caddymodule

import (
	"fmt"
	"net/netip"
	"strings"

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
}

// Egress is one address that deliveries leave from.
type Egress struct {
	// The address, IPv4 or IPv6.
	Address string `json:"address"`
}

// check judges the region by itself.
func (r *Region) check() error {
	if err := checkName("region", r.Name); err != nil {
		return err
	}
	if len(r.Egress) == 0 {
		return fmt.Errorf("region %q: no address; write: region %s <ip>...; %s", r.Name, r.Name, unsetHint)
	}
	_, err := r.build()
	return err
}

// build makes what the engine's dialers use. It needs no network: whether this machine
// has the addresses is asked at each dial.
func (r *Region) build() (*egress.Region, error) {
	list := make([]netip.Addr, len(r.Egress))
	for i, e := range r.Egress {
		addr, err := netip.ParseAddr(e.Address)
		if err != nil {
			return nil, fmt.Errorf("region %q: egress: %q is no IP address; write one address, and not a prefix or a name, e.g. 192.0.2.10 or 2001:db8::10", r.Name, e.Address)
		}
		list[i] = addr
	}
	region, err := egress.NewRegion(r.Name, list)
	if err != nil {
		return nil, fmt.Errorf("region %q: %s", r.Name, strings.TrimPrefix(err.Error(), "region "+r.Name+": "))
	}
	return region, nil
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
