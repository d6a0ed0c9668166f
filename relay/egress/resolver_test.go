package egress

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

// nameServer answers each question for IPv4 addresses with the same one, and
// notes who asks.
type nameServer struct {
	addr netip.AddrPort
	mu   sync.Mutex
	// missing makes it answer that there is no such name.
	missing bool
	from    []netip.Addr
	names   []string // that it was asked for
}

func newNameServer(t *testing.T, address, answer string) *nameServer {
	t.Helper()
	conn, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(netip.MustParseAddr(address), 0)))
	if err != nil {
		t.Fatal(err)
	}
	s := &nameServer{addr: conn.LocalAddr().(*net.UDPAddr).AddrPort()}
	done := make(chan struct{})
	t.Cleanup(func() { conn.Close(); <-done })
	go func() {
		defer close(done)
		buf := make([]byte, 1500)
		for {
			n, from, err := conn.ReadFromUDPAddrPort(buf)
			if err != nil {
				return
			}
			if reply, err := s.reply(buf[:n], from.Addr().Unmap(), netip.MustParseAddr(answer)); err == nil {
				conn.WriteToUDPAddrPort(reply, from)
			}
		}
	}()
	return s
}

// askers returns where questions came from.
func (s *nameServer) askers() []netip.Addr {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.from)
}

func (s *nameServer) reply(question []byte, from, answer netip.Addr) ([]byte, error) {
	var m dnsmessage.Message
	if err := m.Unpack(question); err != nil {
		return nil, err
	}
	m.Response, m.Additionals = true, nil
	s.mu.Lock()
	defer s.mu.Unlock()
	s.from = append(s.from, from)
	if s.missing {
		m.RCode = dnsmessage.RCodeNameError
	}
	for _, q := range m.Questions {
		s.names = append(s.names, q.Name.String())
		if q.Type == dnsmessage.TypeA && !s.missing {
			m.Answers = append(m.Answers, dnsmessage.Resource{
				Header: dnsmessage.ResourceHeader{Name: q.Name, Class: q.Class, TTL: 60},
				Body:   &dnsmessage.AResource{A: answer.As4()},
			})
		}
	}
	return m.Pack()
}

func TestNamesAreAskedForFromTheRegion(t *testing.T) {
	s := newNameServer(t, "127.0.0.53", "127.0.0.9")
	c := newCanary(t, "127.0.0.9")
	r := region(t, "127.0.0.2")
	names, err := NewResolver(r, []netip.AddrPort{s.addr})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := dial(t, &Dialer{Region: r, Guard: guard(t, "127.0.0.9"), Resolver: names}, "hooks.example.com.:"+c.port()); err != nil {
		t.Fatal(err)
	}
	c.expectVisit(t, "127.0.0.2")
	askers := s.askers()
	if len(askers) == 0 {
		t.Error("the server was not asked")
	}
	for _, from := range askers {
		if from.String() != "127.0.0.2" {
			t.Errorf("it was asked from %v", from)
		}
	}
}

func TestNoLookupFromAnotherAddress(t *testing.T) {
	s := newNameServer(t, "127.0.0.53", "127.0.0.9")
	r := region(t, goneA)
	names, err := NewResolver(r, []netip.AddrPort{s.addr})
	if err != nil {
		t.Fatal(err)
	}
	_, err = dial(t, &Dialer{Region: r, Guard: guard(t), Resolver: names}, "hooks.example.com.:443")
	if unavailable, ok := errors.AsType[*UnavailableError](err); !ok || !strings.Contains(err.Error(), "names cannot be looked up: its address 203.0.113.77 is not on this machine") {
		t.Errorf("%v (%v)", err, unavailable)
	}
	if askers := s.askers(); len(askers) != 0 {
		t.Errorf("the server was asked from %v", askers)
	}
}

func TestTheNextServerIsAsked(t *testing.T) {
	silent, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 54)})
	if err != nil {
		t.Fatal(err)
	}
	dead := silent.LocalAddr().(*net.UDPAddr).AddrPort()
	silent.Close() // its port is closed: the kernel says so at once
	s := newNameServer(t, "127.0.0.53", "127.0.0.9")
	names, err := NewResolver(region(t), []netip.AddrPort{dead, s.addr})
	if err != nil {
		t.Fatal(err)
	}
	for range 4 {
		if got, err := names.LookupNetIP(t.Context(), "ip4", "hooks.example.com."); err != nil || len(got) != 1 || got[0].Unmap().String() != "127.0.0.9" {
			t.Errorf("%v %v", got, err)
		}
	}
}

func TestResolversThatCannotBeAsked(t *testing.T) {
	for _, tt := range []struct {
		servers []netip.AddrPort
		want    string
	}{
		{nil, "region eu: no server to resolve names with"},
		{[]netip.AddrPort{{}}, "is no DNS server; write e.g. 192.0.2.53:53"},
		{[]netip.AddrPort{netip.MustParseAddrPort("192.0.2.53:53"), netip.MustParseAddrPort("192.0.2.53:53")}, "the resolver 192.0.2.53:53 stands twice"},
		{[]netip.AddrPort{netip.MustParseAddrPort("0.0.0.0:53")}, "the resolver 0.0.0.0 cannot be asked: it is not the address of a server"},
		{[]netip.AddrPort{netip.MustParseAddrPort("224.0.0.251:5353")}, "the resolver 224.0.0.251 cannot be asked: it is not the address of a server"},
		{[]netip.AddrPort{netip.MustParseAddrPort("[2001:db8::53]:53")}, "the resolver 2001:db8::53 cannot be asked: the region has no IPv6 address"},
	} {
		if _, err := NewResolver(region(t, "127.0.0.2"), tt.servers); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%v: %v, want %q", tt.servers, err, tt.want)
		}
	}
}

// silence is a server that takes questions and never answers.
func silence(t *testing.T) netip.AddrPort {
	t.Helper()
	conn, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 54)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn.LocalAddr().(*net.UDPAddr).AddrPort()
}

// A server that says nothing has its share of the time, for both families at once; the one
// that answered is asked first from then on.
func TestASilentServerDoesNotTakeAllTheTime(t *testing.T) {
	s := newNameServer(t, "127.0.0.53", "127.0.0.9")
	names, err := NewResolver(region(t, "127.0.0.2"), []netip.AddrPort{silence(t), s.addr})
	if err != nil {
		t.Fatal(err)
	}
	for i := range 3 {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		if i == 0 {
			cancel()
			ctx, cancel = context.WithTimeout(t.Context(), 5*time.Second) // of which 2.5 for the first
		}
		got, err := names.LookupNetIP(ctx, "ip", "hooks.example.com")
		if err != nil || len(got) != 1 {
			t.Errorf("%v %v", got, err)
		}
		cancel()
	}
	if n := names.(*resolver).last.Load(); n != 1 {
		t.Errorf("server %d is asked first", n)
	}
}

// Names are asked for as they stand, and errors name the server that was asked.
func TestSearchDomainsOfTheSystemAreNotUsed(t *testing.T) {
	s := newNameServer(t, "127.0.0.53", "127.0.0.9")
	s.mu.Lock()
	s.missing = true
	s.mu.Unlock()
	names, err := NewResolver(region(t, "127.0.0.2"), []netip.AddrPort{s.addr})
	if err != nil {
		t.Fatal(err)
	}
	_, err = names.LookupNetIP(t.Context(), "ip", "hooks.example.com")
	dns, ok := errors.AsType[*net.DNSError](err)
	if !ok || !dns.IsNotFound || dns.Name != "hooks.example.com" || dns.Server != s.addr.String() {
		t.Errorf("%+v", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, name := range s.names {
		if name != "hooks.example.com." {
			t.Errorf("it was asked for %s", name)
		}
	}
	if len(s.names) != 2 {
		t.Errorf("it was asked for %q; want once for each family", s.names)
	}
}

func TestLookupsAreBounded(t *testing.T) {
	silent := silence(t)
	names, err := NewResolver(region(t, "127.0.0.2"), []netip.AddrPort{silent})
	if err != nil {
		t.Fatal(err)
	}
	slots := names.(*resolver).slots
	for range cap(slots) {
		slots <- struct{}{}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = names.LookupNetIP(ctx, "ip", "hooks.example.com")
	if dns, ok := errors.AsType[*net.DNSError](err); !ok || !strings.Contains(dns.Err, "too many names") || !dns.IsTimeout {
		t.Errorf("%v", err)
	}
}
