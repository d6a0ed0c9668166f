package destination

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"code.dny.dev/ssrf"
)

func prefixes(t *testing.T, words ...string) []netip.Prefix {
	t.Helper()
	var list []netip.Prefix
	for _, w := range words {
		p, err := ParsePrefix(w)
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, p)
	}
	return list
}

func TestAllowIPsOpensWhatItNames(t *testing.T) {
	own := netip.MustParseAddr("93.184.215.14")
	g := mustNew(t, Rules{
		AllowIPs: prefixes(t, "10.20.30.40/16", "127.0.0.2", "fd00:20::/32", "168.63.129.16", "93.184.215.14"),
		Own:      func() []netip.Addr { return []netip.Addr{own, netip.MustParseAddr("93.184.215.15")} },
	})
	for addr, open := range map[string]bool{
		"10.20.0.0": true, "10.20.255.255": true, "10.21.0.0": false, "10.19.255.255": false,
		"127.0.0.2": true, "127.0.0.1": false, "127.0.0.3": false,
		"::ffff:10.20.0.1": true, "::ffff:10.21.0.1": false,
		"fd00:20::1": true, "fd00:21::1": false,
		"168.63.129.16": true, "93.184.215.14": true, "93.184.215.15": false,
		"fd00:20::1%eth0": false,
	} {
		if err := g.CheckAddr(netip.MustParseAddr(addr)); (err == nil) != open {
			t.Errorf("%s: %v, want open %v", addr, err, open)
		}
	}
	for raw, open := range map[string]bool{
		"http://10.20.1.1/":            true,
		"http://10.20.1.1:8080/":       true,
		"http://10.20.1.1:22/":         false, // the rule for ports stays
		"http://[::ffff:10.20.1.1]/":   false, // and so do those for the form
		"http://0xa.20.1.1/":           false,
		"http://10.20.257/":            false,
		"http://[fd00:20::1]/":         true,
		"http://localhost/":            false,
		"http://orders.internal:8080/": false,
	} {
		if _, err := g.CheckURL(raw); (err == nil) != open {
			t.Errorf("%s: %v, want open %v", raw, err, open)
		}
	}
}

func TestAllowHostsOpensWhatItNames(t *testing.T) {
	g := mustNew(t, Rules{AllowHosts: []string{"LocalHost", "orders.shop.svc.cluster.local.", "*.corp", "bücher.test"}})
	for raw, open := range map[string]bool{
		"http://localhost:8080/":                       true,
		"http://LOCALHOST./":                           true,
		"http://ｌｏｃａｌｈｏｓｔ/":                            true,
		"http://a.localhost/":                          false,
		"http://localhost.localdomain/":                false,
		"http://localhost:25/":                         false,
		"http://user@localhost/":                       false,
		"http://orders.shop.svc.cluster.local/":        true,
		"http://prices.shop.svc.cluster.local/":        false,
		"http://x.orders.shop.svc.cluster.local/":      false,
		"http://srv.corp/":                             true,
		"http://a.b.corp/":                             true,
		"http://corp/":                                 false,
		"http://srvcorp/":                              false,
		"http://xn--bcher-kva.test/":                   true,
		"http://127.0.0.1/":                            false,
		"http://example.com/":                          true,
		"http://printer.local/":                        false,
		"http://orders.shop.svc.cluster.local.evil.c-": false,
	} {
		if _, err := g.CheckURL(raw); (err == nil) != open {
			t.Errorf("%s: %v, want open %v", raw, err, open)
		}
	}
	if err := g.CheckAnswer("localhost", netip.MustParseAddr("127.0.0.1")); err == nil {
		t.Error("allow_hosts has opened an address")
	}
}

func TestRulesThatOpenNothingAreErrors(t *testing.T) {
	for _, tt := range []struct{ ips, host, want string }{
		{ips: "10.0.0.0/33", want: "allow_ips 10.0.0.0/33: this is neither an address nor a prefix"},
		{ips: "localhost", want: "allow_ips localhost: this is neither an address nor a prefix"},
		{ips: "::ffff:10.0.0.1", want: "write the IPv4 addresses in their own form, e.g. 10.0.0.1/32"},
		{ips: "fe80::1%eth0", want: `leave out "%eth0"`},
		{host: "127.0.0.1", want: "allow_hosts 127.0.0.1: this is an address; addresses are opened by allow_ips"},
		{host: "[::1]", want: "this is an address"},
		{host: "127.1", want: "a name that ends in a number is read as an address"},
		{host: "*", want: "a star may only stand first and before a dot"},
		{host: "a.*.corp", want: "a star may only stand first and before a dot"},
		{host: "*.", want: "empty label"},
		{host: "", want: "empty label"},
		{host: "a b", want: `has the character ' '`},
	} {
		var err error
		if tt.ips != "" {
			_, err = ParsePrefix(tt.ips)
		} else {
			_, err = New(Rules{AllowHosts: []string{tt.host}})
		}
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%q%q: %v, want %q", tt.ips, tt.host, err, tt.want)
		}
	}
	mapped := netip.PrefixFrom(netip.MustParseAddr("::ffff:10.0.0.0"), 104)
	if _, err := New(Rules{AllowIPs: []netip.Prefix{mapped}}); err == nil {
		t.Error("an IPv4-mapped prefix is accepted, and would open nothing")
	}
	if _, err := New(Rules{AllowIPs: []netip.Prefix{{}}}); err == nil {
		t.Error("the zero prefix is accepted")
	}
}

func TestErrorsTellTheMend(t *testing.T) {
	g := mustNew(t, Rules{Own: func() []netip.Addr { return []netip.Addr{netip.MustParseAddr("93.184.215.14")} }})
	url := func(raw string) error { _, err := g.CheckURL(raw); return err }
	for _, tt := range []struct {
		err  error
		want string
	}{
		{
			url("http://10.20.3.4/"),
			`destination 10.20.3.4 is refused: it is private (10.0.0.0/8, RFC 1918); "allow_ips 10.20.3.4/32" would open it`,
		},
		{
			url("http://[::1]:8080/"),
			`destination ::1 is refused: it is loopback (::1/128, RFC 4291); "allow_ips ::1/128" would open it`,
		},
		{
			g.CheckAnswer("hooks.example.com", netip.MustParseAddr("::ffff:169.254.169.254")),
			`destination hooks.example.com is refused because of its address 169.254.169.254: it is link-local, where clouds keep their metadata (169.254.0.0/16, RFC 3927); "allow_ips 169.254.169.254/32" would open it`,
		},
		{
			g.CheckAddr(netip.MustParseAddr("93.184.215.14")),
			`destination 93.184.215.14 is refused: it belongs to this machine; "allow_ips 93.184.215.14/32" would open it`,
		},
		{
			g.CheckAddr(netip.MustParseAddr("1234::1")),
			`destination 1234::1 is refused: it is outside 2000::/3, the public part of IPv6 (RFC 4291); "allow_ips 1234::1/128" would open it`,
		},
		{
			g.CheckAddr(netip.MustParseAddr("fe80::1%lo")),
			`destination fe80::1%lo is refused: its zone names an interface of this machine; only addresses without one are dialled`,
		},
		{g.CheckAddr(netip.Addr{}), `destination is refused: it is no address`},
		{
			url("http://LOCALHOST/"),
			`destination localhost is refused: names that end in "localhost" are for this machine (RFC 6761); "allow_hosts localhost" would open the name, and "allow_ips" its addresses if they are not public`,
		},
		{
			url("http://crm:8080/"),
			`destination crm is refused: a name without a dot is not on the Internet; "allow_hosts crm" would open the name, and "allow_ips" its addresses if they are not public`,
		},
		{url("https://example.com:22/"), `destination example.com is refused: port 22 is not allowed; deliveries go to port 80, 443 or one above 1023`},
		{url("https://[::ffff:8.8.8.8]/"), `destination [::ffff:8.8.8.8] is refused: it is an IPv4 address written as IPv6 (RFC 4291, IPv4-mapped); write 8.8.8.8`},
		{url("example.com"), `destination is refused: the URL does not begin with http:// or https://`},
		{url("https://example.com/a b"), `destination is refused: the URL has the character ' ' at position 22`},
		{url("https://example.com/%zz"), `destination is refused: the URL cannot be read: invalid URL escape "%zz"`},
	} {
		if tt.err == nil || tt.err.Error() != tt.want {
			t.Errorf("got  %v\nwant %s", tt.err, tt.want)
		}
	}
}

func TestErrorsHideCredentials(t *testing.T) {
	g := mustNew(t, Rules{})
	for _, raw := range []string{
		"https://user:hunter2@example.com/", "https://hunter2@10.0.0.1:22/#x", "https:user:hunter2@example.com/",
		"https://10.0.0.1/hooks/hunter2?token=hunter2", "https://example.com:22/hunter2", "ftp://x:hunter2@example.com/",
		"https://example.com/hunter2 ", "https://example.com/hunter2%zz", "https://user:hunter2\\@example.com/",
	} {
		if _, err := g.CheckURL(raw); err == nil || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: %v", raw, err)
		}
	}
}

func TestBlockedErrorIsFoundThroughOthers(t *testing.T) {
	g := mustNew(t, Rules{})
	err := error(&url.Error{Op: "Post", Err: &net.OpError{Op: "dial", Err: g.CheckAddr(netip.MustParseAddr("10.0.0.1"))}})
	var blocked *BlockedError
	if !errors.As(fmt.Errorf("attempt 1: %w", err), &blocked) || blocked.Addr != netip.MustParseAddr("10.0.0.1") {
		t.Errorf("not found in %v", err)
	}
}

func TestCanonicalURL(t *testing.T) {
	g := mustNew(t, Rules{AllowIPs: prefixes(t, "fd00::/8")})
	for raw, want := range map[string]string{
		"HTTPS://EXAMPLE.com":                    "https://example.com/",
		"https://example.com:443?x=1":            "https://example.com/?x=1",
		"http://example.com:80/a":                "http://example.com/a",
		"http://example.com:443/a":               "http://example.com:443/a",
		"https://example.com./a":                 "https://example.com/a",
		"https://Bücher.de:8443/é?ü=1":           "https://xn--bcher-kva.de:8443/%C3%A9?%C3%BC=1",
		"https://faß.de/":                        "https://xn--fa-hia.de/",
		"https://ⓔⓧⓐⓜⓟⓛⓔ.com/":                   "https://example.com/",
		"https://[FD00:0:0::1]:8443/":            "https://[fd00::1]:8443/",
		"https://example.com/a%2Fb/%2e%2e/|é%2F": "https://example.com/a%2Fb/%2e%2e/%7C%C3%A9%2F",
		"https://example.com//x/../y":            "https://example.com//x/../y",
		"https://example.com/?":                  "https://example.com/?",
		"https://example.com/?a=%zz":             "https://example.com/?a=%zz",
	} {
		u, err := g.CheckURL(raw)
		if err != nil {
			t.Errorf("%s: %v", raw, err)
		} else if u.String() != want {
			t.Errorf("%s: got %s, want %s", raw, u, want)
		}
	}
}

func TestLengths(t *testing.T) {
	g := mustNew(t, Rules{})
	fill := func(prefix, with string, length int) string {
		return prefix + strings.Repeat(with, (length-len(prefix))/len(with))
	}
	label := strings.Repeat("a", 63)
	for raw, ok := range map[string]bool{
		fill("https://example.com/", "a", MaxURLLength):                        true,
		fill("https://example.com/", "a", MaxURLLength+1):                      false,
		fill("https://example.com/", "é", MaxURLLength/2):                      false, // escaped it is three times as long
		"https://" + label + ".com/":                                           true,
		"https://a" + label + ".com/":                                          false,
		"https://" + strings.Repeat(label+".", 3) + label[:57] + ".com/":       true,
		"https://" + strings.Repeat(label+".", 3) + label[:58] + ".com/":       false,
		"https://" + strings.Repeat("é", 60) + ".com/":                         false, // punycode is longer
		"https://" + strings.Repeat(label+".", 3) + label[:57] + ".com.:8443/": true,
	} {
		if _, err := g.CheckURL(raw); (err == nil) != ok {
			t.Errorf("%.60s... of %d bytes: %v", raw, len(raw), err)
		}
	}
}

// What the registry refuses is explained, also after it has been updated.
func TestEachRangeHasWords(t *testing.T) {
	for _, p := range append(ssrf.IPv4DeniedPrefixes, ssrf.IPv6DeniedPrefixes...) {
		if reason := special(p.Addr()); !strings.Contains(reason, "it is ") {
			t.Errorf("%s: %q", p, reason)
		}
	}
	for _, r := range ranges {
		last := r.prefix.Addr().AsSlice()
		for bit := r.prefix.Bits(); bit < len(last)*8; bit++ {
			last[bit/8] |= 1 << (7 - bit%8)
		}
		addr, _ := netip.AddrFromSlice(last)
		if r.prefix != netip.MustParsePrefix("240.0.0.0/4") && !strings.Contains(special(addr), r.is) {
			t.Errorf("%s is explained as %q", r.prefix, special(addr))
		}
	}
}

func TestOwnAddressesAreRefreshed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		reads := 0
		var failure error
		list := ownList{read: func() ([]net.Addr, error) {
			reads++
			return []net.Addr{
				&net.IPNet{IP: net.IPv4(10, 0, 0, byte(reads)), Mask: net.CIDRMask(8, 32)},
				&net.UnixAddr{Name: "x"},
			}, failure
		}}
		expect := func(last byte, wantReads int) {
			t.Helper()
			got := list.addresses()
			if len(got) != 1 || got[0] != netip.AddrFrom4([4]byte{10, 0, 0, last}) || reads != wantReads {
				t.Errorf("got %v after %d reads, want 10.0.0.%d after %d", got, reads, last, wantReads)
			}
		}
		expect(1, 1)
		time.Sleep(ownLifetime - time.Nanosecond)
		expect(1, 1)
		time.Sleep(time.Nanosecond)
		expect(2, 2)
		time.Sleep(ownLifetime)
		failure = errors.New("no netlink")
		expect(2, 3) // the last list goes on,
		failure = nil
		expect(4, 4) // and the next call tries again
	})
}

// An address of a region is this machine's before it is there, and so is what a NAT makes
// of it.
func TestAddressesOfRegionsAreNoDestinations(t *testing.T) {
	theirs := netip.MustParseAddr("93.184.215.14")
	g := mustNew(t, Rules{Regional: []netip.Addr{theirs}})
	err := g.CheckAddr(theirs)
	if blocked, ok := errors.AsType[*BlockedError](err); !ok || !strings.Contains(blocked.Reason, "deliveries leave from it") || blocked.Opens != "allow_ips 93.184.215.14/32" {
		t.Errorf("%v", err)
	}
	if _, err := g.CheckURL("https://93.184.215.14/"); err == nil {
		t.Error("it is let through in a URL")
	}
	if err := g.CheckAddr(theirs.Next()); err != nil {
		t.Error(err)
	}
	open := mustNew(t, Rules{Regional: []netip.Addr{theirs}, AllowIPs: []netip.Prefix{netip.PrefixFrom(theirs, 32)}})
	if err := open.CheckAddr(theirs); err != nil {
		t.Error(err)
	}
}

func TestOwnAddressesOfThisMachine(t *testing.T) {
	g := mustNew(t, Rules{Own: OwnAddresses})
	addrs := OwnAddresses()
	if len(addrs) == 0 {
		t.Skip("this machine has no interface with an address")
	}
	for _, addr := range addrs {
		if g.CheckAddr(addr) == nil {
			t.Errorf("%v is an address of this machine, and is let through", addr)
		}
	}
}
