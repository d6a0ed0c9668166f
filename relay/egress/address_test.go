package egress

import (
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// parseAddress reads "<ip or auto> [<public>] [<from> <until>]".
func parseAddress(t *testing.T, text string) Address {
	t.Helper()
	var a Address
	fields := strings.Fields(text)
	if fields[0] != "auto" {
		a.Addr = netip.MustParseAddr(fields[0])
	}
	if len(fields) > 1 && fields[1] != "-" {
		a.Public = prefix(fields[1])
	}
	if len(fields) > 2 {
		a.From, a.Until = at(t, fields[2]), at(t, fields[3])
	}
	return a
}

func prefix(text string) netip.Prefix {
	if addr, err := netip.ParseAddr(text); err == nil {
		return netip.PrefixFrom(addr, addr.BitLen())
	}
	return netip.MustParsePrefix(text)
}

// at reads a time; "-" is none.
func at(t *testing.T, text string) time.Time {
	t.Helper()
	if text == "-" {
		return time.Time{}
	}
	parsed, err := time.Parse(time.RFC3339, text)
	if err != nil {
		t.Fatal(err)
	}
	return parsed
}

func parseRegion(t *testing.T, name, text string) (*Region, error) {
	t.Helper()
	var list []Address
	for part := range strings.SplitSeq(text, ";") {
		list = append(list, parseAddress(t, part))
	}
	return NewRegion(name, list)
}

func mustParseRegion(t *testing.T, text string) *Region {
	t.Helper()
	r, err := parseRegion(t, "eu", text)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestWhatReceiversSee(t *testing.T) {
	for _, tt := range []struct{ address, public, shown string }{
		{"192.0.2.10", "192.0.2.10/32", "192.0.2.10"},
		{"2001:db8::10", "2001:db8::10/128", "2001:db8::10"},
		{"10.0.0.5", "10.0.0.5/32", "10.0.0.5"},
		{"10.0.0.5 198.51.100.7", "198.51.100.7/32", "10.0.0.5"},
		{"10.0.0.5 10.0.0.5", "10.0.0.5/32", "10.0.0.5"},
		{"fd00::5 2001:db8::10", "2001:db8::10/128", "fd00::5"},
		{"auto 198.51.100.7", "198.51.100.7/32", "auto as 198.51.100.7"},
		{"auto 198.51.100.0/28", "198.51.100.0/28", "auto as 198.51.100.0/28"},
		{"auto 2001:db8::/48", "2001:db8::/48", "auto as 2001:db8::/48"},
	} {
		a := mustParseRegion(t, tt.address).Addresses[0]
		if a.Public.String() != tt.public || a.String() != tt.shown {
			t.Errorf("%s: is %v, seen as %v; want %s, seen as %s", tt.address, a, a.Public, tt.shown, tt.public)
		}
		if a.Pinned() == strings.HasPrefix(tt.address, "auto") {
			t.Errorf("%s: pinned is %v", tt.address, a.Pinned())
		}
		if want := FamilyOf(netip.MustParsePrefix(tt.public).Addr()); a.Family() != want {
			t.Errorf("%s: is of %s, want %s", tt.address, a.Family(), want)
		}
	}
}

func TestAddressesThatMakeNoSense(t *testing.T) {
	const y26, y27 = " 2026-01-01T00:00:00Z", " 2027-01-01T00:00:00Z"
	for _, tt := range []struct{ region, want string }{
		{"10.0.0.5 10.0.0.6", "10.0.0.5 as 10.0.0.6: as names the address that receivers see, and this one is not public"},
		{"10.0.0.5 172.16.0.6", "is not public"},
		{"10.0.0.5 192.168.0.6", "is not public"},
		{"10.0.0.5 100.64.0.6", "is not public"},
		{"10.0.0.5 127.0.0.1", "is not public"},
		{"10.0.0.5 169.254.1.1", "is not public"},
		{"10.0.0.5 0.1.2.3", "is not public"},
		{"10.0.0.5 250.1.2.3", "is not public"},
		{"10.0.0.5 0.0.0.0", "this means any address"},
		{"10.0.0.5 224.0.0.1", "is not a unicast address"},
		{"10.0.0.5 255.255.255.255", "is not a unicast address"},
		{"fd00::5 fd00::6", "is not public"},
		{"fd00::5 ::1", "is not public"},
		{"fd00::5 64::1", "is not public"},
		{"fd00::5 ff02::1", "is not a unicast address"},
		{"fd00::5 fe80::1", "a link-local address belongs to one link"},
		{"fd00::5 198.51.100.7", "fd00::5 as 198.51.100.7: an IPv6 address cannot be seen as an IPv4 address"},
		{"10.0.0.5 2001:db8::10", "10.0.0.5 as 2001:db8::10: an IPv4 address cannot be seen as an IPv6 address"},
		{"10.0.0.5 198.51.100.0/24", "one address is seen as one address"},
		{"auto", "auto: the address that receivers see is missing; write e.g. egress auto as 192.0.2.10"},
		{"auto 10.0.0.0/8", "is not public"},
		{"auto 198.51.100.7/24", "write 198.51.100.0/24, or the address alone"},
		{"auto 0.0.0.0/0", "so large a prefix tells receivers nothing"},
		{"auto 2000::/3", "so large a prefix tells receivers nothing"},
		{"192.0.2.10 -" + y27 + y26, "192.0.2.10 is never used, since until (2026-01-01T00:00:00Z) is not after from (2027-01-01T00:00:00Z)"},
		{"192.0.2.10 -" + y27 + y27, "is never used"},
		{"auto 198.51.100.7" + y27 + y26, "auto as 198.51.100.7 is never used"},
		{"192.0.2.10 - -" + y26 + ";192.0.2.10 -" + y26 + " -", "the address 192.0.2.10 stands twice"},
		{"auto 198.51.100.7;auto 198.51.100.7", "auto as 198.51.100.7 stands twice"},
		{"auto 198.51.100.7;192.0.2.10", "either the kernel chooses the IPv4 address, or sockets are bound to one"},
		{"2001:db8::10;192.0.2.10;auto 2001:db8::11", "either the kernel chooses the IPv6 address"},
	} {
		if _, err := parseRegion(t, "eu", tt.region); err == nil || !strings.HasPrefix(err.Error(), "region eu: ") || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, want %q", tt.region, err, tt.want)
		}
	}
	for _, fine := range []string{
		"auto 198.51.100.7;2001:db8::10",
		"auto 198.51.100.7;auto 198.51.100.8;auto 2001:db8::10",
		// A public address that moves to another machine address of its NAT.
		"10.0.0.5 198.51.100.7 -" + y26 + ";10.0.0.6 198.51.100.7" + y26 + " -",
	} {
		if _, err := parseRegion(t, "eu", fine); err != nil {
			t.Errorf("%s: %v", fine, err)
		}
	}
}

func TestRegionsThatShareAnAddress(t *testing.T) {
	for _, tt := range []struct{ a, b, shared string }{
		{"192.0.2.10;192.0.2.11", "192.0.2.12;2001:db8::10", ""},
		{"192.0.2.10;192.0.2.11", "192.0.2.12;192.0.2.10", "192.0.2.10"},
		{"10.0.0.5 198.51.100.7", "10.0.0.5 198.51.100.8", "10.0.0.5"},
		{"10.0.0.5 198.51.100.7", "10.0.0.6 198.51.100.7", "10.0.0.5"},
		{"10.0.0.5 198.51.100.7", "198.51.100.7", "10.0.0.5"},
		{"auto 198.51.100.0/28", "10.0.0.6 198.51.100.7", "auto as 198.51.100.0/28"},
		{"auto 198.51.100.0/28", "auto 198.51.100.0/24", "auto as 198.51.100.0/28"},
		{"auto 198.51.100.0/28", "auto 198.51.100.16/28", ""},
	} {
		shared, found := mustParseRegion(t, tt.a).Shared(mustParseRegion(t, tt.b))
		if found != (tt.shared != "") || found && shared.String() != tt.shared {
			t.Errorf("%s and %s share %v (%v), want %q", tt.a, tt.b, shared, found, tt.shared)
		}
	}
}

// From until Until, by the clock and without anybody doing anything.
func TestAddressesAreUsedInTheirTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		change := start.Add(24 * time.Hour)
		r, err := NewRegion("eu", []Address{
			{Addr: netip.MustParseAddr("127.0.0.2"), Until: change},
			{Addr: netip.MustParseAddr("127.0.0.3"), From: change, Until: change.Add(time.Hour)},
		})
		if err != nil {
			t.Fatal(err)
		}
		from := func() string {
			rec, err := recording(t, r, nil, pub)
			if err != nil {
				return err.Error()
			}
			return strings.Join(rec.calls, " ")
		}
		for _, tt := range []struct {
			after time.Duration
			want  string
		}{
			{0, "127.0.0.2>" + pub},
			{24*time.Hour - 1, "127.0.0.2>" + pub},
			{24 * time.Hour, "127.0.0.3>" + pub},
			{25*time.Hour - 1, "127.0.0.3>" + pub},
			{25 * time.Hour, "region eu cannot be used: none of its IPv4 addresses is in use now: " +
				"127.0.0.2 was used until 2000-01-02T00:00:00Z, 127.0.0.3 was used until 2000-01-02T01:00:00Z"},
		} {
			time.Sleep(time.Until(start.Add(tt.after)))
			if got := from(); got != tt.want {
				t.Errorf("after %v: %s, want %s", tt.after, got, tt.want)
			}
		}
	})
}

func TestIdleFamilies(t *testing.T) {
	const y26, y27 = " 2026-01-01T00:00:00Z", " 2027-01-01T00:00:00Z"
	mid := at(t, "2026-06-01T00:00:00Z")
	for _, tt := range []struct{ region, v4, v6 string }{
		{"192.0.2.10;2001:db8::10", "", ""},
		{"192.0.2.10;2001:db8::10 - -" + y26, "", "2001:db8::10 was used until 2026-01-01T00:00:00Z"},
		{"192.0.2.10 -" + y27 + " -", "192.0.2.10 is used from 2027-01-01T00:00:00Z on", ""},
		{"192.0.2.10 -" + y27 + " -;192.0.2.11 - -" + y26, "192.0.2.10 is used from 2027-01-01T00:00:00Z on, 192.0.2.11 was used until 2026-01-01T00:00:00Z", ""},
		{"192.0.2.10 -" + y27 + " -;192.0.2.11", "", ""},
		{"192.0.2.11;192.0.2.10 -" + y27 + " -", "", ""},
		{"auto 198.51.100.7" + y27 + " -", "auto as 198.51.100.7 is used from 2027-01-01T00:00:00Z on", ""},
	} {
		idle := mustParseRegion(t, tt.region).Idle(mid)
		if idle[IPv4] != tt.v4 || idle[IPv6] != tt.v6 {
			t.Errorf("%s: %v", tt.region, idle)
		}
	}
}

// Where the kernel chooses, it does so in the families of the region, and nothing is
// bound; the other family is refused as ever.
func TestUnpinnedAddressesAreNotBound(t *testing.T) {
	rec, err := recording(t, mustParseRegion(t, "auto 198.51.100.7"), nil, pub6, pub)
	if err != nil || !slices.Equal(rec.calls, []string{"invalid IP>" + pub}) {
		t.Errorf("%q, %v", rec.calls, err)
	}
	_, err = recording(t, mustParseRegion(t, "auto 198.51.100.7"), nil, pub6)
	if err == nil || !strings.Contains(err.Error(), "has IPv6 addresses only, and the region has none of those") {
		t.Errorf("IPv6: %v", err)
	}
	c := newCanary(t, "127.0.0.9")
	if _, err := dial(t, &Dialer{Region: mustParseRegion(t, "auto 198.51.100.7"), Guard: guard(t, "127.0.0.9")}, c.addr.String()); err != nil {
		t.Fatal(err)
	}
	c.expectVisit(t, "127.0.0.1")
	if status := mustParseRegion(t, "auto 198.51.100.7").Status(); len(status) != 1 || !status[0].Up {
		t.Errorf("%+v", status)
	}
}
