package destination

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// Rules are what an operator says about the destinations of a subscription. The
// zero value is the strictest.
type Rules struct {
	// AllowIPs are addresses that may be dialled whatever else is said of them.
	AllowIPs []netip.Prefix
	// AllowHosts are host names that the rules for names would refuse, exact
	// ("localhost") or as "*.suffix", which is every name below the suffix but
	// not the suffix itself. Their addresses are judged like any other.
	AllowHosts []string
	// Own returns the addresses of this machine, none of which may be dialled.
	// It is called for each judgement, from many goroutines, and must be cheap:
	// [OwnAddresses] is. Nil means that they are not known, as while only the
	// text of a configuration is judged.
	Own func() []netip.Addr
	// Regional are addresses that are this machine's whatever its interfaces say at
	// the moment: those that deliveries leave from, and what a NAT makes of them.
	Regional []netip.Addr
}

// Guard judges destinations. It does not change after [New] has made it, and any
// number of goroutines may use it.
type Guard struct {
	allowIPs      []netip.Prefix
	allowHosts    map[string]bool
	allowSuffixes []string // each begins with a dot
	own           func() []netip.Addr
	regional      []netip.Addr
}

// New makes a guard. Its errors name the rule that is wrong.
func New(rules Rules) (*Guard, error) {
	g := &Guard{allowHosts: make(map[string]bool), own: rules.Own, regional: rules.Regional}
	for _, p := range rules.AllowIPs {
		p, err := checkPrefix(p)
		if err != nil {
			return nil, err
		}
		g.allowIPs = append(g.allowIPs, p)
	}
	for _, pattern := range rules.AllowHosts {
		if err := g.allowHost(pattern); err != nil {
			return nil, err
		}
	}
	return g, nil
}

// ParsePrefix reads one word of allow_ips: a prefix, or an address, which stands
// for itself alone.
func ParsePrefix(word string) (netip.Prefix, error) {
	if addr, err := netip.ParseAddr(word); err == nil {
		if addr.Zone() != "" {
			return netip.Prefix{}, fmt.Errorf("allow_ips %s: an address with a zone cannot be opened; leave out %q", word, "%"+addr.Zone())
		}
		return checkPrefix(netip.PrefixFrom(addr, addr.BitLen()))
	}
	p, err := netip.ParsePrefix(word)
	if err != nil {
		return netip.Prefix{}, fmt.Errorf("allow_ips %s: this is neither an address nor a prefix; write e.g. 10.20.0.0/16 or fd00:20::/32", word)
	}
	return checkPrefix(p)
}

// checkPrefix returns p without the bits of a host. IPv4-mapped prefixes are
// refused: addresses are unmapped before they are judged, so that one would
// silently open nothing.
func checkPrefix(p netip.Prefix) (netip.Prefix, error) {
	switch {
	case !p.IsValid():
		return netip.Prefix{}, fmt.Errorf("allow_ips: %v is no prefix; write e.g. 10.20.0.0/16", p)
	case p.Addr().Is4In6():
		return netip.Prefix{}, fmt.Errorf("allow_ips %v: write the IPv4 addresses in their own form, e.g. %s/32", p, p.Addr().Unmap())
	}
	return p.Masked(), nil
}

// allowHost adds one word of allow_hosts.
func (g *Guard) allowHost(pattern string) error {
	name, below := strings.CutPrefix(pattern, "*.")
	if _, err := netip.ParseAddr(strings.Trim(name, "[]")); err == nil {
		return fmt.Errorf("allow_hosts %s: this is an address; addresses are opened by allow_ips", pattern)
	}
	ascii, reason := canonicalName(name)
	switch {
	case strings.Contains(name, "*"):
		return fmt.Errorf("allow_hosts %s: a star may only stand first and before a dot, e.g. *.svc.cluster.local", pattern)
	case reason != "":
		return fmt.Errorf("allow_hosts %s: %s", pattern, reason)
	case endsInNumber(ascii):
		return fmt.Errorf("allow_hosts %s: a name that ends in a number is read as an address; addresses are opened by allow_ips", pattern)
	case below:
		g.allowSuffixes = append(g.allowSuffixes, "."+ascii)
	default:
		g.allowHosts[ascii] = true
	}
	return nil
}

// allowsHost reports whether allow_hosts names the canonical name.
func (g *Guard) allowsHost(name string) bool {
	return g.allowHosts[name] || slices.ContainsFunc(g.allowSuffixes, func(suffix string) bool {
		return strings.HasSuffix(name, suffix)
	})
}

// CheckAddr judges an address that is about to be dialled. An IPv4-mapped IPv6
// address is judged as the IPv4 address that the kernel would connect to. The
// error is a [*BlockedError].
func (g *Guard) CheckAddr(addr netip.Addr) error {
	if blocked := g.judge(addr); blocked != nil {
		return blocked
	}
	return nil
}

// CheckAnswer is [Guard.CheckAddr] for an address that host was resolved to: the
// error names both.
func (g *Guard) CheckAnswer(host string, addr netip.Addr) error {
	if blocked := g.judge(addr); blocked != nil {
		return blocked.withHost(host)
	}
	return nil
}

func (g *Guard) judge(addr netip.Addr) *BlockedError {
	switch {
	case !addr.IsValid():
		return &BlockedError{Reason: "it is no address"}
	case addr.Zone() != "":
		// A zone names an interface of this machine; no prefix contains a zoned
		// address, so that none of the tests below would see what it is.
		return &BlockedError{Addr: addr, Reason: "its zone names an interface of this machine; only addresses without one are dialled"}
	}
	addr = addr.Unmap()
	for _, p := range g.allowIPs {
		if p.Contains(addr) {
			return nil
		}
	}
	reason := special(addr)
	if reason == "" && slices.Contains(g.regional, addr) {
		reason = "deliveries leave from it, so that it belongs to this machine"
	}
	if reason == "" && g.own != nil && slices.Contains(g.own(), addr) {
		reason = "it belongs to this machine"
	}
	if reason == "" {
		return nil
	}
	return &BlockedError{
		Addr:   addr,
		Reason: reason,
		Opens:  "allow_ips " + netip.PrefixFrom(addr, addr.BitLen()).String(),
	}
}
