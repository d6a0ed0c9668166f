package egress

import (
	"errors"
	"net"
	"net/netip"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/caddyrelay/caddyrelay/relay/destination"
)

func TestProbeSendsNothingUnlessAsked(t *testing.T) {
	c := newCanary(t, "127.0.0.9")
	d := &Dialer{Region: region(t, "127.0.0.2", "127.0.0.3"), Guard: guard(t, "127.0.0.9"), Resolver: resolving(addrs("127.0.0.9"))}
	paths, err := d.Probe(t.Context(), "https", "hooks.example.com", c.addr.Port(), false)
	if err != nil || len(paths) != 2 {
		t.Fatalf("%+v, %v", paths, err)
	}
	for i, from := range []string{"127.0.0.2", "127.0.0.3"} {
		if p := paths[i]; p.From.Addr.String() != from || p.Source.String() != from || p.To != c.addr || p.Route != nil || p.Reach != nil || p.Took != 0 {
			t.Errorf("%+v", p)
		}
	}
	c.expectSilence(t)
}

func TestProbeConnectsFromEachAddress(t *testing.T) {
	c := newCanary(t, "127.0.0.9")
	d := &Dialer{Region: region(t, "127.0.0.2", "127.0.0.3"), Guard: guard(t, "127.0.0.9")}
	paths, err := d.Probe(t.Context(), "http", "127.0.0.9", c.addr.Port(), true)
	if err != nil || len(paths) != 2 || paths[0].Reach != nil || paths[1].Reach != nil || paths[0].Took <= 0 {
		t.Fatalf("%+v, %v", paths, err)
	}
	if a, b := c.visitor(t).Addr().String(), c.visitor(t).Addr().String(); a != "127.0.0.2" || b != "127.0.0.3" {
		t.Errorf("the connections came from %s and %s", a, b)
	}

	c.Close()
	paths, err = d.Probe(t.Context(), "http", "127.0.0.9", c.addr.Port(), true)
	if err != nil || len(paths) != 2 || paths[0].Route != nil || !errors.Is(paths[0].Reach, syscall.ECONNREFUSED) {
		t.Errorf("%+v, %v", paths, err)
	}
}

func TestProbeWithoutAddressesShowsTheKernelsChoice(t *testing.T) {
	c := newCanary(t, "127.0.0.9")
	unpinned, err := NewRegion("pods", []Address{{Public: netip.MustParsePrefix("203.0.113.0/28")}})
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range []*Region{nil, region(t), unpinned} {
		d := &Dialer{Region: r, Guard: guard(t, "127.0.0.9")}
		paths, err := d.Probe(t.Context(), "https", "127.0.0.9", c.addr.Port(), true)
		if err != nil || len(paths) != 1 || paths[0].Source.String() != "127.0.0.1" || (paths[0].From == nil) != (r != unpinned) {
			t.Fatalf("%+v, %v", paths, err)
		}
		c.expectVisit(t, "127.0.0.1")
	}
}

func TestProbeIsJudgedLikeADial(t *testing.T) {
	c := newCanary(t, "127.0.0.9")
	region := region(t, "127.0.0.2")
	blocked := &Dialer{Region: region, Guard: guard(t), Resolver: resolving(addrs("127.0.0.9"))}
	_, err := blocked.Probe(t.Context(), "https", "hooks.example.com", c.addr.Port(), true)
	if _, ok := errors.AsType[*destination.BlockedError](err); !ok {
		t.Errorf("%v", err)
	}
	only6 := &Dialer{Region: region, Guard: guard(t, "::1"), Resolver: resolving(addrs("::1"))}
	_, err = only6.Probe(t.Context(), "https", "hooks.example.com", 443, true)
	if unavailable, ok := errors.AsType[*UnavailableError](err); !ok || !strings.Contains(err.Error(), "hooks.example.com has IPv6 addresses only") {
		t.Errorf("%v %v", err, unavailable)
	}
	if _, err := (&Dialer{Region: region}).Probe(t.Context(), "https", "127.0.0.9", 443, true); err == nil {
		t.Error("no guard, and no error")
	}
	c.expectSilence(t)
}

// What is not on this machine, or not in use, is no way.
func TestProbeLeavesOutWhatIsNotInUse(t *testing.T) {
	r, err := NewRegion("eu", []Address{
		{Addr: netip.MustParseAddr("192.0.2.77")},
		{Addr: netip.MustParseAddr("127.0.0.2"), From: time.Now().Add(time.Hour)},
		{Addr: netip.MustParseAddr("127.0.0.3"), Until: time.Now().Add(-time.Hour)},
	})
	if err != nil {
		t.Fatal(err)
	}
	d := &Dialer{Region: r, Guard: guard(t, "127.0.0.9")}
	paths, err := d.Probe(t.Context(), "https", "127.0.0.9", 443, true)
	if unavailable, ok := errors.AsType[*UnavailableError](err); !ok || !slices.Equal(unavailable.Addresses, addrs("192.0.2.77")) {
		t.Errorf("%+v %v", paths, err)
	}
}

func TestProbeThroughAProxy(t *testing.T) {
	c := newCanary(t, "127.0.0.9")
	f := newForwarder(t, "http")
	d := &Dialer{Region: region(t, "127.0.0.2"), Guard: guard(t, "127.0.0.9"), Proxy: through(f.url("http"))}
	paths, err := d.Probe(t.Context(), "https", "127.0.0.9", c.addr.Port(), true)
	if err != nil || len(paths) != 1 || paths[0].To.String() != f.addr || paths[0].Route != nil || paths[0].Reach != nil {
		t.Fatalf("%+v, %v", paths, err)
	}
	from, asked := f.notes()
	if !slices.Equal(from, []string{"127.0.0.2"}) || len(asked) != 1 {
		t.Errorf("the proxy was asked %q from %q", asked, from)
	}
}

func TestInterfaceOf(t *testing.T) {
	interfaces, err := net.Interfaces()
	if err != nil {
		t.Fatal(err)
	}
	i := slices.IndexFunc(interfaces, func(i net.Interface) bool { return i.Flags&net.FlagLoopback != 0 })
	if got := InterfaceOf(netip.MustParseAddr("127.0.0.1")); i < 0 || got != interfaces[i].Name {
		t.Errorf("127.0.0.1 is on %q", got)
	}
	if got := InterfaceOf(netip.MustParseAddr("192.0.2.77")); got != "" {
		t.Errorf("192.0.2.77 is on %q", got)
	}
}

func TestEphemeralPorts(t *testing.T) {
	n, err := EphemeralPorts()
	if errors.Is(err, errors.ErrUnsupported) {
		t.Skip("needs Linux")
	}
	if err != nil || n < 1 || n > 65535 {
		t.Errorf("%d, %v", n, err)
	}
}

func TestGaps(t *testing.T) {
	now := time.Date(2026, 11, 22, 10, 0, 0, 0, time.UTC)
	at := func(hours int) time.Time { return now.Add(time.Duration(hours) * time.Hour) }
	v4 := func(text string, from, until time.Time) Address {
		return Address{Addr: netip.MustParseAddr(text), From: from, Until: until}
	}
	var never time.Time
	for name, c := range map[string]struct {
		addresses []Address
		want      []Gap
	}{
		"none":         {nil, nil},
		"for ever":     {[]Address{v4("192.0.2.1", never, never)}, nil},
		"seamless":     {[]Address{v4("192.0.2.1", never, at(5)), v4("192.0.2.2", at(5), never)}, nil},
		"overlap":      {[]Address{v4("192.0.2.1", never, at(9)), v4("192.0.2.2", at(5), never)}, nil},
		"between":      {[]Address{v4("192.0.2.1", never, at(5)), v4("192.0.2.2", at(7), never)}, []Gap{{IPv4, at(5), at(7)}}},
		"end":          {[]Address{v4("192.0.2.1", never, at(5)), v4("2001:db8::1", never, never)}, []Gap{{IPv4, at(5), never}}},
		"now":          {[]Address{v4("192.0.2.1", never, at(-5)), v4("192.0.2.2", at(1), never)}, []Gap{{IPv4, now, at(1)}}},
		"past":         {[]Address{v4("192.0.2.1", never, at(-5)), v4("192.0.2.2", at(-1), never)}, nil},
		"two families": {[]Address{v4("2001:db8::1", never, at(3)), v4("192.0.2.1", never, at(1)), v4("192.0.2.2", at(2), at(4))}, []Gap{{IPv4, at(1), at(2)}, {IPv6, at(3), never}, {IPv4, at(4), never}}},
	} {
		r, err := NewRegion("eu", c.addresses)
		if err != nil {
			t.Fatal(err)
		}
		if got := r.Gaps(now); !slices.Equal(got, c.want) {
			t.Errorf("%s: %v; want %v", name, got, c.want)
		}
	}
}
