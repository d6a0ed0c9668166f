package egress

import (
	"errors"
	"fmt"
	"net/netip"
)

// Usable returns nil if a TCP socket can be bound to addr: bind(2) to port 0
// succeeds. Nothing is sent and no port listens.
func Usable(addr netip.Addr) error {
	if err := bind(addr.Unmap()); err != nil {
		return fmt.Errorf("binding to %v: %w", addr, err)
	}
	return nil
}

// missing reports that addr, or its whole family, is not on this machine at the
// moment. It is asked after a dial has failed, since the error of the dial cannot
// tell: EADDRNOTAVAIL also means that all ephemeral ports are taken, and a
// connection whose address is removed under way fails in several other ways.
func missing(addr netip.Addr) bool { return saysMissing(bind(addr)) }

// saysMissing tells that an error of bind is about the address, and not, say, about
// too many open files.
func saysMissing(err error) bool {
	return errors.Is(err, errAddrNotAvail) || errors.Is(err, errNoFamily)
}
