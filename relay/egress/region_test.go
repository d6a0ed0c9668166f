package egress

import (
	"errors"
	"net/netip"
	"strings"
	"testing"
)

func TestRegionsHaveUnicastAddresses(t *testing.T) {
	for _, tt := range []struct{ addrs, want string }{
		{"192.0.2.10 2001:db8::10", ""},
		{"", ""},
		{"127.0.0.2", ""},
		{"192.0.2.10 192.0.2.10", "region eu: the address 192.0.2.10 stands twice"},
		{"0.0.0.0", "region eu: deliveries cannot leave from 0.0.0.0: this means any address; leave it out to let the kernel choose"},
		{"::", "leave it out to let the kernel choose"},
		{"224.0.0.1", "it is not a unicast address"},
		{"255.255.255.255", "it is not a unicast address"},
		{"ff02::1", "it is not a unicast address"},
		{"fe80::1", "a link-local address belongs to one link"},
		{"fe80::1%eth0", "an address with a zone belongs to one link"},
		{"::ffff:192.0.2.10", "write it as 192.0.2.10"},
	} {
		r, err := NewRegion("eu", bound(strings.Fields(tt.addrs)...))
		switch {
		case tt.want == "" && err != nil:
			t.Errorf("%s: %v", tt.addrs, err)
		case tt.want == "" && len(r.Addresses) != len(strings.Fields(tt.addrs)):
			t.Errorf("%s: got %v", tt.addrs, r.Addresses)
		case tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)):
			t.Errorf("%s: %v, want %q", tt.addrs, err, tt.want)
		}
	}
	if _, err := NewRegion("eu", []Address{{}}); err == nil {
		t.Error("the zero address is accepted")
	}
}

func TestServes(t *testing.T) {
	for _, tt := range []struct {
		region *Region
		v4, v6 bool
	}{
		{region(t), true, true},
		{region(t, "192.0.2.10"), true, false},
		{region(t, "2001:db8::10"), false, true},
		{region(t, "2001:db8::10", "192.0.2.10"), true, true},
	} {
		if tt.region.Serves(IPv4) != tt.v4 || tt.region.Serves(IPv6) != tt.v6 {
			t.Errorf("%v: serves IPv4 %v and IPv6 %v", tt.region.Addresses, tt.region.Serves(IPv4), tt.region.Serves(IPv6))
		}
	}
	if FamilyOf(netip.MustParseAddr("::ffff:192.0.2.1")) != IPv4 {
		t.Error("an IPv4-mapped address is taken for IPv6")
	}
}

// 203.0.113.77 is for documentation: no machine has it (RFC 5737).
func TestStatusTellsWhichAddressesAreUp(t *testing.T) {
	status := region(t, "127.0.0.2", "203.0.113.77").Status()
	if len(status) != 2 || !status[0].Up || status[0].Err != nil {
		t.Errorf("127.0.0.2: %+v", status)
	}
	if status[1].Up || status[1].Err == nil || !strings.Contains(status[1].Err.Error(), "binding to 203.0.113.77: bind: ") {
		t.Errorf("203.0.113.77: %+v", status[1])
	}
	if !missing(netip.MustParseAddr("203.0.113.77")) || missing(netip.MustParseAddr("127.0.0.2")) {
		t.Error("missing does not tell them apart")
	}
	if err := Usable(netip.MustParseAddr("::ffff:127.0.0.2")); err != nil {
		t.Error(err)
	}
}

func TestLostAddresses(t *testing.T) {
	r := region(t, "127.0.0.2", "203.0.113.77")
	for _, addr := range []netip.Addr{{}, netip.MustParseAddr("127.0.0.2"), netip.MustParseAddr("::ffff:127.0.0.2")} {
		if err := r.Lost(addr); err != nil {
			t.Errorf("%v: %v", addr, err)
		}
	}
	err := r.Lost(netip.MustParseAddr("203.0.113.77"))
	if unavailable, ok := errors.AsType[*UnavailableError](err); !ok || unavailable.Family != IPv4 || len(unavailable.Addresses) != 1 {
		t.Errorf("%v", err)
	}
}
