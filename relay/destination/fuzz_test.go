package destination

import (
	"net/netip"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// number is what a C library takes for the last part of an IPv4 address.
var number = regexp.MustCompile(`^([0-9]+|0[xX][0-9a-fA-F]*)$`)

// What CheckURL accepts is accepted again as it is, and the host that net/url and
// netip find in it is one that may be dialled.
func FuzzCheckURL(f *testing.F) {
	for _, r := range corpus(f) {
		f.Add(r.url)
	}
	g := mustNew(f, Rules{})
	f.Fuzz(func(t *testing.T, raw string) {
		u, err := g.CheckURL(raw)
		if err != nil {
			return
		}
		canonical := u.String()
		for i := range len(canonical) {
			if c := canonical[i]; c <= ' ' || c >= 0x7f || c == '\\' || c == '#' {
				t.Fatalf("%q: the canonical form %q has the byte %#x", raw, canonical, c)
			}
		}
		again, err := g.CheckURL(canonical)
		if err != nil {
			t.Fatalf("%q: the canonical form %q is refused: %v", raw, canonical, err)
		}
		if again.String() != canonical {
			t.Fatalf("%q: the canonical form %q has the canonical form %q", raw, canonical, again)
		}
		parsed, err := url.Parse(canonical)
		if err != nil {
			t.Fatalf("%q: the canonical form %q cannot be parsed: %v", raw, canonical, err)
		}
		if *parsed != *u {
			t.Fatalf("%q: %q is parsed as %#v, not %#v", raw, canonical, parsed, u)
		}
		if parsed.User != nil || parsed.Opaque != "" || parsed.Scheme != "http" && parsed.Scheme != "https" {
			t.Fatalf("%q: accepted as %#v", raw, parsed)
		}
		if port := parsed.Port(); port != "" {
			if n, err := strconv.Atoi(port); err != nil || n != 80 && n != 443 && (n < 1024 || n > 65535) {
				t.Fatalf("%q: accepted with port %s", raw, port)
			}
		}
		host := parsed.Hostname()
		if addr, err := netip.ParseAddr(host); err == nil {
			if addr.Zone() != "" || addr.Is4In6() || g.CheckAddr(addr) != nil {
				t.Fatalf("%q: accepted, and the host is %s", raw, addr)
			}
			return
		}
		labels := strings.Split(host, ".")
		last := labels[len(labels)-1]
		if number.MatchString(last) || len(labels) < 2 || specialNames[last] != "" {
			t.Fatalf("%q: accepted with the host %s", raw, host)
		}
	})
}

func FuzzCheckAddr(f *testing.F) {
	f.Add([]byte{127, 0, 0, 1})
	f.Add(netip.MustParseAddr("::ffff:127.0.0.1").AsSlice())
	f.Add(netip.MustParseAddr("64:ff9b::7f00:1").AsSlice())
	f.Add(netip.MustParseAddr("2606:4700::1").AsSlice())
	g := mustNew(f, Rules{})
	f.Fuzz(func(t *testing.T, raw []byte) {
		addr, ok := netip.AddrFromSlice(raw)
		if !ok || g.CheckAddr(addr) != nil {
			return
		}
		// An independent, coarser test of the same promise.
		addr = addr.Unmap()
		if !addr.IsGlobalUnicast() || addr.IsPrivate() || addr.Is6() && addr.AsSlice()[0]>>5 != 1 {
			t.Fatalf("%s is let through", addr)
		}
	})
}
