package destination

import (
	"net/netip"

	"code.dny.dev/ssrf"
)

// registry decides. It is generated from IANA's special-purpose registries
// (RFC 6890) twice a month: IPv4 is what they do not list, IPv6 what they do not
// list within 2000::/3.
var registry = ssrf.New(ssrf.WithAnyNetwork(), ssrf.WithAnyPort())

// wireServer is where Azure's host agent answers every virtual machine. It is a
// public address, and in no registry.
var wireServer = netip.MustParseAddr("168.63.129.16")

// special returns why addr, which is unmapped and without a zone, is not a public
// unicast address; empty if it is one.
func special(addr netip.Addr) string {
	if addr == wireServer {
		return "it is the host agent of Azure's virtual machines"
	}
	if registry.SafeAddr(addr) == nil {
		return ""
	}
	for _, r := range ranges {
		if r.prefix.Contains(addr) {
			return "it is " + r.is + " (" + r.prefix.String() + ", " + r.source + ")"
		}
	}
	if addr.Is6() && !ssrf.IPv6GlobalUnicast.Contains(addr) {
		return "it is outside 2000::/3, the public part of IPv6 (RFC 4291)"
	}
	return "IANA keeps its range for special purposes (RFC 6890)"
}

// ranges says in words what the registry refuses; it decides nothing. The
// narrower of two ranges stands first.
var ranges = []struct {
	prefix     netip.Prefix
	is, source string
}{
	{netip.MustParsePrefix("0.0.0.0/8"), `"this network", which reaches this machine`, "RFC 1122"},
	{netip.MustParsePrefix("10.0.0.0/8"), "private", "RFC 1918"},
	{netip.MustParsePrefix("100.64.0.0/10"), "shared by carriers and clouds behind their NAT", "RFC 6598"},
	{netip.MustParsePrefix("127.0.0.0/8"), "loopback", "RFC 1122"},
	{netip.MustParsePrefix("169.254.0.0/16"), "link-local, where clouds keep their metadata", "RFC 3927"},
	{netip.MustParsePrefix("172.16.0.0/12"), "private", "RFC 1918"},
	{netip.MustParsePrefix("192.0.0.0/24"), "assigned to protocols", "RFC 6890"},
	{netip.MustParsePrefix("192.0.2.0/24"), "for documentation", "RFC 5737"},
	{netip.MustParsePrefix("192.31.196.0/24"), "an AS112 sink", "RFC 7535"},
	{netip.MustParsePrefix("192.52.193.0/24"), "for multicast tunnels", "RFC 7450"},
	{netip.MustParsePrefix("192.88.99.0/24"), "a 6to4 relay", "RFC 7526"},
	{netip.MustParsePrefix("192.168.0.0/16"), "private", "RFC 1918"},
	{netip.MustParsePrefix("192.175.48.0/24"), "an AS112 sink", "RFC 7534"},
	{netip.MustParsePrefix("198.18.0.0/15"), "for benchmarks", "RFC 2544"},
	{netip.MustParsePrefix("198.51.100.0/24"), "for documentation", "RFC 5737"},
	{netip.MustParsePrefix("203.0.113.0/24"), "for documentation", "RFC 5737"},
	{netip.MustParsePrefix("224.0.0.0/4"), "multicast", "RFC 5771"},
	{netip.MustParsePrefix("255.255.255.255/32"), "broadcast", "RFC 919"},
	{netip.MustParsePrefix("240.0.0.0/4"), "reserved", "RFC 1112"},

	{netip.MustParsePrefix("::/128"), "the unspecified address, which reaches this machine", "RFC 4291"},
	{netip.MustParsePrefix("::1/128"), "loopback", "RFC 4291"},
	{netip.MustParsePrefix("::/96"), "an IPv4 address in IPv4-compatible form", "RFC 4291"},
	{netip.MustParsePrefix("::ffff:0:0:0/96"), "an IPv4 address in translated form", "RFC 2765"},
	{netip.MustParsePrefix("64:ff9b::/96"), "an IPv4 address in the form of NAT64", "RFC 6052"},
	{netip.MustParsePrefix("64:ff9b:1::/48"), "an IPv4 address in the form of a local NAT64", "RFC 8215"},
	{netip.MustParsePrefix("100::/64"), "for discarding", "RFC 6666"},
	{netip.MustParsePrefix("100:0:0:1::/64"), "a dummy prefix", "RFC 9780"},
	{netip.MustParsePrefix("2001::/32"), "an IPv4 address in the form of Teredo", "RFC 4380"},
	{netip.MustParsePrefix("2001::/23"), "assigned to protocols", "RFC 2928"},
	{netip.MustParsePrefix("2001:db8::/32"), "for documentation", "RFC 3849"},
	{netip.MustParsePrefix("2002::/16"), "an IPv4 address in the form of 6to4", "RFC 3056"},
	{netip.MustParsePrefix("2620:4f:8000::/48"), "an AS112 sink", "RFC 7534"},
	{netip.MustParsePrefix("3fff::/20"), "for documentation", "RFC 9637"},
	{netip.MustParsePrefix("5f00::/16"), "for segment routing", "RFC 9602"},
	{netip.MustParsePrefix("fc00::/7"), "private", "RFC 4193"},
	{netip.MustParsePrefix("fe80::/10"), "link-local", "RFC 4291"},
	{netip.MustParsePrefix("fec0::/10"), "site-local", "RFC 3879"},
	{netip.MustParsePrefix("ff00::/8"), "multicast", "RFC 4291"},
}
