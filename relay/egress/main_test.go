package egress

import (
	"context"
	"net"
	"net/netip"
	"slices"
	"sync"
	"testing"

	"go.uber.org/goleak"

	"github.com/caddyrelay/caddyrelay/relay/destination"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m)
}

// canary is a listener that knows, without waiting, whether anyone has come.
type canary struct {
	net.Listener
	addr netip.AddrPort
}

func newCanary(t *testing.T, address string) *canary {
	t.Helper()
	l, err := net.Listen("tcp", net.JoinHostPort(address, "0"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return &canary{l, l.Addr().(*net.TCPAddr).AddrPort()}
}

func (c *canary) port() string {
	_, port, _ := net.SplitHostPort(c.Addr().String())
	return port
}

// visitor accepts a connection, closes it, and returns where it came from.
func (c *canary) visitor(t *testing.T) netip.AddrPort {
	t.Helper()
	conn, err := c.Accept()
	if err != nil {
		t.Fatal(err)
	}
	conn.Close()
	return conn.RemoteAddr().(*net.TCPAddr).AddrPort()
}

// expectSilence fails if anyone has connected. Connections are accepted in the
// order in which they came: it makes one itself, and that has to be the first.
func (c *canary) expectSilence(t *testing.T) {
	t.Helper()
	conn, err := net.Dial("tcp", c.addr.String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if from := c.visitor(t); from != conn.LocalAddr().(*net.TCPAddr).AddrPort() {
		t.Errorf("the canary at %v was reached from %v", c.addr, from)
	}
}

// expectVisit fails if nobody has connected, or not from source.
func (c *canary) expectVisit(t *testing.T, source string) {
	t.Helper()
	conn, err := net.Dial("tcp", c.addr.String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	marker := conn.LocalAddr().(*net.TCPAddr).AddrPort()
	from := c.visitor(t)
	if from == marker {
		t.Errorf("the canary at %v was not reached", c.addr)
		return
	}
	if from.Addr().String() != source {
		t.Errorf("the canary at %v was reached from %v, want %s", c.addr, from, source)
	}
	if from := c.visitor(t); from != marker {
		t.Errorf("the canary at %v was reached twice, also from %v", c.addr, from)
	}
}

// answers is a resolver that gives one answer after the other, the last one for
// ever.
type answers struct {
	mu    sync.Mutex
	list  [][]netip.Addr
	asked []string
}

func resolving(list ...[]netip.Addr) *answers { return &answers{list: list} }

func (a *answers) LookupNetIP(_ context.Context, network, host string) ([]netip.Addr, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if network != "ip" {
		return nil, net.UnknownNetworkError(network)
	}
	a.asked = append(a.asked, host)
	answer := a.list[0]
	if len(a.list) > 1 {
		a.list = a.list[1:]
	}
	return slices.Clone(answer), nil
}

func addrs(texts ...string) []netip.Addr {
	list := make([]netip.Addr, len(texts))
	for i, text := range texts {
		list[i] = netip.MustParseAddr(text)
	}
	return list
}

// bound makes addresses that sockets are bound to.
func bound(texts ...string) []Address {
	list := make([]Address, len(texts))
	for i, addr := range addrs(texts...) {
		list[i].Addr = addr
	}
	return list
}

func region(t *testing.T, texts ...string) *Region {
	t.Helper()
	r, err := NewRegion("eu", bound(texts...))
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// guard makes a guard that lets the prefixes through.
func guard(t testing.TB, allow ...string) *destination.Guard {
	t.Helper()
	var rules destination.Rules
	for _, word := range allow {
		p, err := destination.ParsePrefix(word)
		if err != nil {
			t.Fatal(err)
		}
		rules.AllowIPs = append(rules.AllowIPs, p)
	}
	g, err := destination.New(rules)
	if err != nil {
		t.Fatal(err)
	}
	return g
}

// dial connects and closes; it returns the local address, or the error.
func dial(t *testing.T, d *Dialer, address string) (netip.AddrPort, error) {
	t.Helper()
	conn, err := d.DialContext(t.Context(), "tcp", address)
	if err != nil {
		return netip.AddrPort{}, err
	}
	conn.Close()
	return conn.LocalAddr().(*net.TCPAddr).AddrPort(), nil
}
