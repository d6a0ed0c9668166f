package egress

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
)

// UnavailableError says that a region has no address that a connection to the
// destination could leave from. No attempt was made: the delivery is held and
// nothing is charged to it. It is found with [errors.As] in what an HTTP client
// returns.
type UnavailableError struct {
	Region string
	// Family is that of the destination's addresses; empty if it has both.
	Family Family
	// Addresses are the region's addresses that are not on this machine; none if
	// the region has no address of the family, or none that is in use now.
	Addresses []netip.Addr
	// Reason is a clause for people.
	Reason string
}

// Error tells which region cannot deliver, and why.
func (e *UnavailableError) Error() string {
	return fmt.Sprintf("region %s cannot be used: %s", e.Region, e.Reason)
}

// merge makes one error of those of several targets, of which there is at least
// one.
func merge(errs []*UnavailableError) *UnavailableError {
	all := *errs[0]
	all.Addresses = slices.Clone(all.Addresses)
	var reasons []string
	for _, e := range errs {
		if e.Family != all.Family {
			all.Family = ""
		}
		if len(e.Addresses) == 0 && !slices.Contains(reasons, e.Reason) {
			reasons = append(reasons, e.Reason)
		}
		for _, addr := range e.Addresses {
			if !slices.Contains(all.Addresses, addr) {
				all.Addresses = append(all.Addresses, addr)
			}
		}
	}
	if len(all.Addresses) > 0 {
		reasons = append(reasons, notHere(all.Addresses))
	}
	all.Reason = strings.Join(reasons, "; ")
	return &all
}

// notHere says that addresses are missing.
func notHere(addrs []netip.Addr) string {
	if len(addrs) == 1 {
		return "its address " + addrs[0].String() + " is not on this machine"
	}
	return "its addresses " + list(addrs) + " are not on this machine"
}

// notNow says that no address of a family, or of any if that is empty, is in use, with
// the reasons of [Region.Idle].
func notNow(family Family, idle map[Family]string) string {
	if family != "" {
		return "none of its " + family.Name() + " addresses is in use now: " + idle[family]
	}
	var reasons []string
	for _, family := range []Family{IPv4, IPv6} {
		if idle[family] != "" {
			reasons = append(reasons, idle[family])
		}
	}
	return "none of its addresses is in use now: " + strings.Join(reasons, ", ")
}

// connectError is that no address of a host could be connected to. It holds an
// error for each that was tried.
type connectError struct {
	host string
	errs []error
}

func (e *connectError) Error() string {
	texts := make([]string, len(e.errs))
	for i, err := range e.errs {
		texts[i] = err.Error()
	}
	return "connecting to " + e.host + ": " + strings.Join(texts, "; ")
}

// Unwrap leaves out that the region could not be used for some of the addresses:
// an attempt was made on another one, and that is what counts.
func (e *connectError) Unwrap() []error {
	var errs []error
	for _, err := range e.errs {
		if _, ok := errors.AsType[*UnavailableError](err); !ok {
			errs = append(errs, err)
		}
	}
	return errs
}

// Timeout makes a connectError a [net.Error]: every address took too long.
func (e *connectError) Timeout() bool {
	for _, err := range e.Unwrap() {
		if timeout, ok := errors.AsType[net.Error](err); !ok || !timeout.Timeout() {
			return false
		}
	}
	return true
}

// Temporary is there for [net.Error], which still asks for it.
func (e *connectError) Temporary() bool { return false }
