package egress

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"
)

// Address is one of the addresses of a region: where connections leave from, what
// receivers see of it, and when it is in use.
type Address struct {
	// Addr is the address of this machine that sockets are bound to. The zero Addr
	// leaves the choice to the kernel, where the address that receivers see cannot be
	// bound: in a pod, behind a NAT gateway.
	Addr netip.Addr
	// Public is what receivers see. Default: Addr itself, as /32 or /128. It is
	// required without Addr.
	Public netip.Prefix
	// From is the first moment at which new connections leave from the address, Until
	// the first at which they do so no more. Zero: since ever, for ever.
	From, Until time.Time
}

// Pinned reports whether sockets are bound to the address, so that nothing can leave
// from another one. Where the kernel chooses, it is the operator's network that has
// to keep what is published.
func (a Address) Pinned() bool { return a.Addr.IsValid() }

// Family returns the family of the address, or of its public side where the kernel
// chooses.
func (a Address) Family() Family {
	if a.Pinned() {
		return FamilyOf(a.Addr)
	}
	return FamilyOf(a.Public.Addr())
}

// Active reports whether new connections leave from the address at that time.
func (a Address) Active(now time.Time) bool {
	return !now.Before(a.From) && (a.Until.IsZero() || now.Before(a.Until))
}

// String returns the address, or "auto as " and its public side where the kernel
// chooses.
func (a Address) String() string {
	if a.Pinned() {
		return a.Addr.String()
	}
	return "auto as " + a.PublicText()
}

// PublicText returns what receivers see: an address, or a prefix if it holds more.
func (a Address) PublicText() string {
	if a.Public.IsSingleIP() {
		return a.Public.Addr().String()
	}
	return a.Public.String()
}

// unused says why the address is not in use at that time: a clause for people.
func (a Address) unused(now time.Time) string {
	if now.Before(a.From) {
		return fmt.Sprintf("%v is used from %s on", a, a.From.Format(time.RFC3339))
	}
	return fmt.Sprintf("%v was used until %s", a, a.Until.Format(time.RFC3339))
}

// prepare checks the address and fills in its public side. The error has a clause
// for people.
func (a *Address) prepare() error {
	if a.Pinned() {
		if reason := notASource(a.Addr); reason != "" {
			return fmt.Errorf("deliveries cannot leave from %v: %s", a.Addr, reason)
		}
		if !a.Public.IsValid() {
			a.Public = netip.PrefixFrom(a.Addr, a.Addr.BitLen())
		} else if err := a.checkPublic(); err != nil {
			return err
		}
	} else if err := a.checkUnpinned(); err != nil {
		return err
	}
	if !a.Until.IsZero() && !a.Until.After(a.From) {
		return fmt.Errorf("%v is never used, since until (%s) is not after from (%s)",
			a, a.Until.Format(time.RFC3339), a.From.Format(time.RFC3339))
	}
	return nil
}

// checkPublic judges the public side of an address that sockets are bound to. One
// that is the address itself may be any: receivers in the private network see it.
func (a *Address) checkPublic() error {
	public := a.Public.Addr()
	switch {
	case !a.Public.IsSingleIP():
		return fmt.Errorf("%v as %v: one address is seen as one address; write e.g. as 192.0.2.10", a.Addr, a.Public)
	case public == a.Addr:
		return nil
	case FamilyOf(public) != FamilyOf(a.Addr):
		return fmt.Errorf("%v as %v: an %s address cannot be seen as an %s address", a.Addr, public, FamilyOf(a.Addr).Name(), FamilyOf(public).Name())
	}
	if reason := notPublic(public); reason != "" {
		return fmt.Errorf("%v as %v: %s", a.Addr, public, reason)
	}
	return nil
}

// The shortest prefixes that the public side of an address may have: with more it
// would be no statement.
var leastBits = map[Family]int{IPv4: 8, IPv6: 16}

func (a *Address) checkUnpinned() error {
	switch {
	case !a.Public.IsValid():
		return fmt.Errorf("auto: the address that receivers see is missing; write e.g. egress auto as 192.0.2.10")
	case a.Public != a.Public.Masked():
		return fmt.Errorf("auto as %v: the prefix has bits beyond its length; write %v, or the address alone", a.Public, a.Public.Masked())
	case a.Public.Bits() < leastBits[a.Family()]:
		return fmt.Errorf("auto as %v: so large a prefix tells receivers nothing", a.Public)
	}
	if reason := notPublic(a.Public.Addr()); reason != "" {
		return fmt.Errorf("auto as %v: %s", a.PublicText(), reason)
	}
	return nil
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

// hidden are the unicast addresses that no receiver on the Internet sees (RFC 6890).
// Those for documentation are not among them: they stand in examples.
var hidden = []netip.Prefix{
	netip.MustParsePrefix("0.0.0.0/8"),
	netip.MustParsePrefix("10.0.0.0/8"),
	netip.MustParsePrefix("100.64.0.0/10"),
	netip.MustParsePrefix("127.0.0.0/8"),
	netip.MustParsePrefix("169.254.0.0/16"),
	netip.MustParsePrefix("172.16.0.0/12"),
	netip.MustParsePrefix("192.168.0.0/16"),
	netip.MustParsePrefix("240.0.0.0/4"),
	netip.MustParsePrefix("::/8"),
	netip.MustParsePrefix("fc00::/7"),
}

// notPublic returns why no receiver on the Internet can see addr, or nothing.
func notPublic(addr netip.Addr) string {
	if reason := notASource(addr); reason != "" {
		return reason
	}
	if slices.ContainsFunc(hidden, func(p netip.Prefix) bool { return p.Contains(addr) }) {
		return "as names the address that receivers see, and this one is not public; write the one that the NAT puts in its place"
	}
	return ""
}

// list joins texts as people do.
func list[T fmt.Stringer](items []T) string {
	texts := make([]string, len(items))
	for i, item := range items {
		texts[i] = item.String()
	}
	return strings.Join(texts, ", ")
}
