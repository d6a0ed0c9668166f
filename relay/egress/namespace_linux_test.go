package egress

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/caddyrelay/caddyrelay/relay/destination"
)

// inNamespace is set in the process that TestNetworkNamespace starts.
const inNamespace = "CADDYRELAY_TEST_IN_NAMESPACE"

// TestNetworkNamespace runs itself again in a network namespace, in which
// addresses can come and go and public ones can be had: nothing leaves it. The
// namespace ends with the process. It needs root and ip, of iproute2.
func TestNetworkNamespace(t *testing.T) {
	if os.Getenv(inNamespace) == "" {
		if os.Getuid() != 0 {
			t.Skip("needs root to make a network namespace")
		}
		if _, err := exec.LookPath("ip"); err != nil {
			lacks := t.Skip
			if os.Getenv("CI") != "" { // .ci/run installs it
				lacks = t.Fatal
			}
			lacks("needs the command ip, of iproute2")
		}
		self, err := os.Executable()
		if err != nil {
			t.Fatal(err)
		}
		cmd := exec.CommandContext(t.Context(), self, "-test.run=^TestNetworkNamespace$", "-test.v")
		cmd.Env = append(os.Environ(), inNamespace+"=1", "HTTP_PROXY=http://127.0.0.1:4001", "NO_PROXY=", "no_proxy=", "http_proxy=")
		cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET}
		out, err := cmd.CombinedOutput()
		if errors.Is(err, syscall.EPERM) {
			t.Skip("needs to be allowed to make a network namespace")
		}
		t.Logf("%s", out)
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(string(out), "--- PASS: TestNetworkNamespace/") {
			t.Error("no test ran in the namespace")
		}
		return
	}
	ip(t, "link set lo up")
	for _, addr := range []string{"10.77.0.2/32", "10.77.0.3/32", "10.77.0.9/32", "10.77.0.10/32", "169.254.169.254/32", "93.184.215.14/32"} {
		ip(t, "addr add "+addr+" dev lo")
	}
	t.Run("removed and restored", testRemovedAndRestored)
	t.Run("removed after a delivery", testRemovedAfterADelivery)
	t.Run("removed under a connection", testRemovedUnderAConnection)
	t.Run("watch", testWatch)
	t.Run("family mismatch", testFamilyMismatch)
	t.Run("rebinding to metadata", testRebindingToMetadata)
	t.Run("proxy of the environment", testProxyOfTheEnvironment)
	t.Run("no free port", testNoFreePort) // last: it takes the ports away
}

// ip runs the command of that name.
func ip(t *testing.T, args string) {
	t.Helper()
	if out, err := exec.CommandContext(t.Context(), "ip", strings.Fields(args)...).CombinedOutput(); err != nil {
		t.Fatalf("ip %s: %v: %s", args, err, out)
	}
}

func testRemovedAndRestored(t *testing.T) {
	c := newCanary(t, "10.77.0.9")
	r := region(t, "10.77.0.2", "10.77.0.3")
	d := &Dialer{Region: r, Guard: guard(t, "10.77.0.9")}
	up := func() string {
		var up []string
		for _, s := range r.Status() {
			if s.Up {
				up = append(up, s.Address.String())
			}
		}
		return strings.Join(up, " ")
	}

	local, err := dial(t, d, c.addr.String())
	if err != nil {
		t.Fatal(err)
	}
	first, second := local.Addr(), netip.MustParseAddr("10.77.0.2")
	if first == second {
		second = netip.MustParseAddr("10.77.0.3")
	}
	c.expectVisit(t, first.String())

	ip(t, "addr del "+first.String()+"/32 dev lo")
	if _, err := dial(t, d, c.addr.String()); err != nil {
		t.Fatal(err)
	}
	c.expectVisit(t, second.String())
	if up() != second.String() {
		t.Errorf("up are %q", up())
	}

	ip(t, "addr del "+second.String()+"/32 dev lo")
	_, err = dial(t, d, c.addr.String())
	unavailable, ok := errors.AsType[*UnavailableError](err)
	if !ok || unavailable.Family != IPv4 || !slices.Equal(unavailable.Addresses, addrs("10.77.0.2", "10.77.0.3")) {
		t.Errorf("with both removed: %v", err)
	}
	c.expectSilence(t)
	if up() != "" {
		t.Errorf("up are %q", up())
	}

	ip(t, "addr add "+second.String()+"/32 dev lo")
	if _, err := dial(t, d, c.addr.String()); err != nil {
		t.Fatal(err)
	}
	c.expectVisit(t, second.String())
	ip(t, "addr add "+first.String()+"/32 dev lo")
	if _, err := dial(t, d, c.addr.String()); err != nil {
		t.Fatal(err)
	}
	c.expectVisit(t, first.String())
}

func testRemovedAfterADelivery(t *testing.T) {
	r := newReceiverAt(t, "10.77.0.9:0", (*httptest.Server).Start, ok)
	client := newClient(t, &Dialer{Region: region(t, "10.77.0.2"), Guard: guard(t, "10.77.0.9")}, TransportOptions{})
	if _, _, err := post(t, client, r.URL); err != nil {
		t.Fatal(err)
	}
	ip(t, "addr del 10.77.0.2/32 dev lo")
	client.CloseIdleConnections()
	_, _, err := post(t, client, r.URL)
	if _, ok := errors.AsType[*UnavailableError](err); !ok {
		t.Errorf("after the removal: %v", err)
	}
	ip(t, "addr add 10.77.0.2/32 dev lo")
	if _, _, err := post(t, client, r.URL); err != nil {
		t.Fatal(err)
	}
	from := r.senders()
	if len(from) != 2 || from[0].Addr().String() != "10.77.0.2" || from[1].Addr() != from[0].Addr() || from[0] == from[1] {
		t.Errorf("reached from %v", from)
	}
}

// A connection that was kept alive is silent once its address is gone. It does not
// move to another address, and the region knows why.
func testRemovedUnderAConnection(t *testing.T) {
	r := newReceiverAt(t, "10.77.0.9:0", (*httptest.Server).Start, ok)
	d := &Dialer{Region: region(t, "10.77.0.2", "10.77.0.3"), Guard: guard(t, "10.77.0.9")}
	client := newClient(t, d, TransportOptions{})
	if _, _, err := post(t, client, r.URL); err != nil {
		t.Fatal(err)
	}
	source := r.senders()[0].Addr()
	if err := d.Region.Lost(source); err != nil {
		t.Errorf("before the removal: %v", err)
	}
	ip(t, "addr del "+source.String()+"/32 dev lo")
	client.Timeout = 300 * time.Millisecond
	if _, _, err := post(t, client, r.URL); err == nil {
		t.Error("a delivery was made without its address")
	}
	if _, ok := errors.AsType[*UnavailableError](d.Region.Lost(source)); !ok {
		t.Error("the region does not know that its address is gone")
	}
	if from := r.senders(); len(from) != 1 {
		t.Errorf("reached from %v", from)
	}
	ip(t, "addr add "+source.String()+"/32 dev lo")
}

// The kernel tells of addresses that go and come, also where it is not asked.
func testWatch(t *testing.T) {
	r := region(t, "10.77.0.2", "10.77.0.3")
	changed := make(chan AddressStatus)
	ctx, cancel := context.WithCancel(t.Context())
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		(&Watch{Regions: []*Region{r}, Changed: func(_ *Region, s AddressStatus) { changed <- s }}).Run(ctx)
	}()
	events := addressEvents(ctx)
	for range 2 {
		ip(t, "addr del 10.77.0.3/32 dev lo")
		<-events
		if s := <-changed; s.Addr != r.Addresses[1].Addr || s.Up || s.Err == nil {
			t.Errorf("after the removal: %+v", s)
		}
		if !r.state[1].down.Load() || r.state[0].down.Load() {
			t.Error("the region does not know which address is gone")
		}
		ip(t, "addr add 10.77.0.3/32 dev lo")
		<-events
		if s := <-changed; s.Addr != r.Addresses[1].Addr || !s.Up || s.Err != nil {
			t.Errorf("after the return: %+v", s)
		}
	}
	cancel()
	<-stopped
}

func testFamilyMismatch(t *testing.T) {
	if err := exec.CommandContext(t.Context(), "ip", "-6", "addr", "add", "fd77::2/128", "dev", "lo", "nodad").Run(); err != nil {
		t.Skip("this machine has no IPv6")
	}
	ip(t, "-6 addr add fd77::9/128 dev lo nodad")
	// The kernel makes the local routes to new IPv6 addresses in its own time.
	for _, addr := range []string{"fd77::2", "fd77::9"} {
		for {
			out, _ := exec.CommandContext(t.Context(), "ip", "-6", "route", "get", addr).Output()
			if strings.HasPrefix(string(out), "local ") {
				break
			}
			time.Sleep(10 * time.Millisecond)
		}
	}
	four, six := newCanary(t, "10.77.0.9"), newCanary(t, "fd77::9")
	open := guard(t, "10.77.0.9", "fd77::9")

	d := &Dialer{Region: region(t, "10.77.0.2"), Guard: open, Resolver: resolving(addrs("fd77::9"))}
	for _, host := range []string{"six.example.com", "fd77::9"} {
		_, err := dial(t, d, net.JoinHostPort(host, six.port()))
		unavailable, ok := errors.AsType[*UnavailableError](err)
		if !ok || unavailable.Family != IPv6 || len(unavailable.Addresses) != 0 {
			t.Errorf("%s: %v", host, err)
		}
	}
	six.expectSilence(t)

	d.Resolver = resolving(addrs("fd77::9", "10.77.0.9"))
	if _, err := dial(t, d, "both.example.com:"+four.port()); err != nil {
		t.Error(err)
	}
	four.expectVisit(t, "10.77.0.2")

	d.Region = region(t, "10.77.0.2", "fd77::2")
	if _, err := dial(t, d, "both.example.com:"+six.port()); err != nil {
		t.Error(err)
	}
	six.expectVisit(t, "fd77::2")
}

func testRebindingToMetadata(t *testing.T) {
	public, metadata := newCanary(t, "93.184.215.14"), newCanary(t, "169.254.169.254")
	answer := []([]netip.Addr){addrs("93.184.215.14"), addrs("169.254.169.254"), addrs("93.184.215.14", "169.254.169.254")}
	d := &Dialer{Region: region(t, "10.77.0.2"), Guard: guard(t), Resolver: resolving(answer...)}
	if _, err := dial(t, d, "rebind.example.com:"+public.port()); err != nil {
		t.Fatal(err)
	}
	public.expectVisit(t, "10.77.0.2")
	for range 2 {
		_, err := dial(t, d, "rebind.example.com:"+metadata.port())
		if _, ok := errors.AsType[*destination.BlockedError](err); !ok {
			t.Errorf("%v", err)
		}
	}
	public.expectSilence(t)
	metadata.expectSilence(t)

	// The control: who does not ask the guard gets there.
	if _, err := dial(t, &Dialer{Guard: guard(t, "169.254.0.0/16")}, metadata.addr.String()); err != nil {
		t.Fatal(err)
	}
	metadata.expectVisit(t, "169.254.169.254")
}

func testProxyOfTheEnvironment(t *testing.T) {
	proxy := newReceiverAt(t, "127.0.0.1:4001", (*httptest.Server).Start, ok) // HTTP_PROXY points here
	public := newReceiverAt(t, "93.184.215.14:0", (*httptest.Server).Start, ok)
	d := &Dialer{Region: region(t, "10.77.0.2"), Guard: guard(t, "127.0.0.1")}
	if _, _, err := post(t, newClient(t, d, TransportOptions{}), public.URL); err != nil {
		t.Error(err)
	}
	if len(public.senders()) != 1 || len(proxy.senders()) != 0 {
		t.Errorf("the receiver was reached from %v, the proxy from %v", public.senders(), proxy.senders())
	}

	// The control: a transport that minds the environment goes to the proxy.
	transport := NewTransport(d, TransportOptions{}).newPool(sources{unbound, unbound}).other
	transport.Proxy = http.ProxyFromEnvironment
	defer transport.CloseIdleConnections()
	if _, _, err := post(t, &http.Client{Transport: transport}, public.URL); err != nil {
		t.Error(err)
	}
	if len(public.senders()) != 1 || len(proxy.senders()) != 1 {
		t.Errorf("the receiver was reached from %v, the proxy from %v", public.senders(), proxy.senders())
	}
}

// With all ephemeral ports taken connecting fails with EADDRNOTAVAIL, as it does
// without the address; but the address is there, and the attempt counts.
func testNoFreePort(t *testing.T) {
	one, two := newCanary(t, "10.77.0.9"), newCanary(t, "10.77.0.10")
	if err := os.WriteFile("/proc/sys/net/ipv4/ip_local_port_range", []byte("40000 40003"), 0o644); err != nil {
		t.Skip("the range of ephemeral ports cannot be set: ", err)
	}
	d := &Dialer{Region: region(t, "10.77.0.2"), Guard: guard(t, "10.77.0.0/24")}
	var conns []net.Conn
	defer func() {
		for _, conn := range conns {
			conn.Close()
		}
	}()
	fill := func(c *canary) error {
		for range 10 {
			conn, err := d.DialContext(t.Context(), "tcp", c.addr.String())
			if err != nil {
				return err
			}
			conns = append(conns, conn)
		}
		return fmt.Errorf("ten connections from four ports")
	}
	err := fill(one)
	if _, ok := errors.AsType[*UnavailableError](err); ok || !errors.Is(err, syscall.EADDRNOTAVAIL) {
		t.Errorf("with no free port: %v", err)
	}
	held := len(conns)
	if held == 0 {
		t.Fatal("no connection was made")
	}
	// A port is only taken towards one destination.
	if fill(two); len(conns) == held {
		t.Error("with all ports taken towards one destination another cannot be reached")
	}
}
