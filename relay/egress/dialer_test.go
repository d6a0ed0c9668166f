package egress

import (
	"cmp"
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddyrelay/caddyrelay/relay/destination"
)

func TestSocketsAreBoundToTheRegion(t *testing.T) {
	for _, source := range []string{"127.0.0.2", "127.0.0.3", "::1"} {
		t.Run(source, func(t *testing.T) {
			if Usable(netip.MustParseAddr(source)) != nil {
				t.Skip("this machine does not have " + source)
			}
			here := "127.0.0.9"
			if strings.Contains(source, ":") {
				here = "::1"
			}
			c := newCanary(t, here)
			d := &Dialer{Region: region(t, source), Guard: guard(t, here), Resolver: resolving(addrs(here))}
			for _, host := range []string{here, "hooks.example.com"} {
				local, err := dial(t, d, net.JoinHostPort(host, c.port()))
				if err != nil {
					t.Fatal(err)
				}
				if local.Addr().String() != source {
					t.Errorf("%s: bound to %v", host, local)
				}
				c.expectVisit(t, source)
			}
		})
	}
}

func TestWithoutAddressesTheKernelChooses(t *testing.T) {
	c := newCanary(t, "127.0.0.9")
	for _, r := range []*Region{nil, region(t)} {
		if _, err := dial(t, &Dialer{Region: r, Guard: guard(t, "127.0.0.9")}, c.addr.String()); err != nil {
			t.Fatal(err)
		}
		c.expectVisit(t, "127.0.0.1")
	}
}

// One forbidden answer refuses the attempt, wherever it stands, and nobody is
// connected to.
func TestMixedAnswersConnectToNobody(t *testing.T) {
	open, forbidden := newCanary(t, "127.0.0.9"), newCanary(t, "127.0.0.1")
	for _, answer := range [][]netip.Addr{
		addrs("127.0.0.9", "127.0.0.1"),
		addrs("127.0.0.1", "127.0.0.9"),
		addrs("127.0.0.9", "10.0.0.5"),
		addrs("127.0.0.9", "fd00:ec2::254"), // of a family that the region lacks
		addrs("127.0.0.9", "::ffff:169.254.169.254"),
		addrs("203.0.113.9"),
		addrs("::1"),
	} {
		d := &Dialer{Region: region(t, "127.0.0.2"), Guard: guard(t, "127.0.0.9"), Resolver: resolving(answer)}
		_, err := dial(t, d, "hooks.example.com:"+open.port())
		var blocked *destination.BlockedError
		if !errors.As(err, &blocked) || blocked.Host != "hooks.example.com" {
			t.Errorf("%v: %v", answer, err)
		}
	}
	open.expectSilence(t)
	forbidden.expectSilence(t)
}

// A name that is public when it is looked at and private when it is dialled never
// connects: the dial judges its own lookup and makes no other.
func TestRebindingConnectsToNobody(t *testing.T) {
	open, forbidden := newCanary(t, "127.0.0.9"), newCanary(t, "127.0.0.1")
	names := resolving(addrs("127.0.0.9"), addrs("127.0.0.1"))
	d := &Dialer{Region: region(t, "127.0.0.2"), Guard: guard(t, "127.0.0.9"), Resolver: names}
	if _, err := dial(t, d, "rebind.example.com:"+open.port()); err != nil {
		t.Fatal(err)
	}
	open.expectVisit(t, "127.0.0.2")
	if len(names.asked) != 1 {
		t.Errorf("a dial looked the name up %d times", len(names.asked))
	}
	var blocked *destination.BlockedError
	if _, err := dial(t, d, "rebind.example.com:"+forbidden.port()); !errors.As(err, &blocked) {
		t.Errorf("the second answer: %v", err)
	}
	forbidden.expectSilence(t)
}

// The boundary: the socket's own address is judged, whatever was judged before.
func TestSocketsAreJudgedThemselves(t *testing.T) {
	c := newCanary(t, "127.0.0.1")
	d := &Dialer{Region: region(t, "127.0.0.2"), Guard: guard(t)}
	source := netip.MustParseAddr("127.0.0.2")
	_, err := connectSocket(t.Context(), source, c.addr, d.Guard)
	var blocked *destination.BlockedError
	if !errors.As(err, &blocked) || blocked.Addr != c.addr.Addr() {
		t.Errorf("connecting: %v", err)
	}
	c.expectSilence(t)

	// The control: without the judgement the canary is reached.
	dialer := net.Dialer{LocalAddr: localAddr("tcp", source)}
	conn, err := dialer.DialContext(t.Context(), "tcp", c.addr.String())
	if err != nil {
		t.Fatal(err)
	}
	conn.Close()
	c.expectVisit(t, "127.0.0.2")
}

// The control of the first layer: a guard with holes lets the same answers through.
func TestCanariesCanBeReached(t *testing.T) {
	c := newCanary(t, "127.0.0.1")
	d := &Dialer{Region: region(t, "127.0.0.2"), Guard: guard(t, "0.0.0.0/0"), Resolver: resolving(addrs("127.0.0.1"))}
	if _, err := dial(t, d, "hooks.example.com:"+c.port()); err != nil {
		t.Fatal(err)
	}
	c.expectVisit(t, "127.0.0.2")
}

func TestLiteralHostsAreJudged(t *testing.T) {
	c := newCanary(t, "127.0.0.1")
	names := resolving(nil)
	d := &Dialer{Guard: guard(t), Resolver: names}
	for _, host := range []string{"127.0.0.1", "[::ffff:127.0.0.1]", "[::1]", "[::1%lo]", "0.0.0.0", "[::]"} {
		_, err := dial(t, d, host+":"+c.port())
		var blocked *destination.BlockedError
		if !errors.As(err, &blocked) {
			t.Errorf("%s: %v", host, err)
		}
	}
	c.expectSilence(t)
	if len(names.asked) != 0 {
		t.Errorf("literals were looked up: %v", names.asked)
	}
}

// recorder stands in for the kernel where no connection may be made.
type recorder struct {
	fail  map[string]error // by target or by source
	calls []string
}

func (r *recorder) connect(_ context.Context, source netip.Addr, target netip.AddrPort) (net.Conn, error) {
	r.calls = append(r.calls, source.String()+">"+target.Addr().String())
	if err := cmp.Or(r.fail[source.String()], r.fail[target.Addr().String()]); err != nil {
		return nil, &net.OpError{Op: "dial", Net: "tcp", Addr: net.TCPAddrFromAddrPort(target), Err: err}
	}
	client, server := net.Pipe()
	server.Close()
	return client, nil
}

func recording(t *testing.T, r *Region, fail map[string]error, answer ...string) (*recorder, error) {
	t.Helper()
	rec := &recorder{fail: fail}
	d := &Dialer{Region: r, Guard: guard(t), Resolver: resolving(addrs(answer...)), connect: rec.connect}
	conn, err := d.DialContext(t.Context(), "tcp", "hooks.example.com:443")
	if err == nil {
		conn.Close()
	}
	return rec, err
}

// Addresses that no machine has (RFC 5737, RFC 3849) and one that every machine
// has as sources; public ones as targets, to which nothing is sent.
const (
	goneA, goneB, gone6 = "203.0.113.77", "203.0.113.78", "2001:db8::77"
	here                = "127.0.0.2"
	pub, pubB, pub6     = "93.184.215.14", "93.184.215.15", "2606:2800::1"
)

func TestWhichAddressesAreConnected(t *testing.T) {
	prefer6 := region(t, here, "::1")
	prefer6.Prefer = IPv6
	refused, notAvail := syscall.ECONNREFUSED, syscall.EADDRNOTAVAIL
	for _, tt := range []struct {
		name   string
		region *Region
		answer []string
		fail   map[string]error
		calls  string
		want   string // in the error; empty if it succeeds
		held   bool
	}{
		{"one", region(t, here), []string{pub}, nil, here + ">" + pub, "", false},
		{"only the family of the region", region(t, here), []string{pub6, pub}, nil, here + ">" + pub, "", false},
		{"each family from its own", region(t, here, "::1"), []string{pub6, pub}, map[string]error{pub6: refused}, "::1>" + pub6 + " " + here + ">" + pub, "", false},
		{"the preferred family first", prefer6, []string{pub, pub6}, nil, "::1>" + pub6, "", false},
		{"the same answer twice", region(t, here), []string{pub, "::ffff:" + pub}, map[string]error{pub: refused}, here + ">" + pub, "connection refused", false},
		{"the next one if refused", region(t, here), []string{pub, pubB}, map[string]error{pub: refused}, here + ">" + pub + " " + here + ">" + pubB, "", false},
		{"all refused", region(t, here), []string{pub, pubB}, map[string]error{here: refused}, here + ">" + pub + " " + here + ">" + pubB, "connecting to hooks.example.com: dial tcp " + pub + ":443: connection refused; dial tcp " + pubB + ":443: connection refused", false},
		{"none of the family", region(t, here), []string{pub6}, nil, "", "region eu cannot be used: hooks.example.com has IPv6 addresses only, and the region has none of those", true},
		{"none of the other family", region(t, "::1"), []string{pub}, nil, "", "hooks.example.com has IPv4 addresses only", true},
		{"gone", region(t, goneA), []string{pub}, map[string]error{goneA: notAvail}, goneA + ">" + pub, "region eu cannot be used: its address 203.0.113.77 is not on this machine", true},
		{"gone, all targets", region(t, goneA), []string{pub, pubB}, map[string]error{goneA: notAvail}, goneA + ">" + pub, "its address 203.0.113.77 is not", true},
		{"gone while connecting", region(t, goneA), []string{pub}, map[string]error{goneA: os.ErrDeadlineExceeded}, goneA + ">" + pub, "is not on this machine", true},
		{"all gone", region(t, goneA, goneB), []string{pub}, map[string]error{goneA: notAvail, goneB: notAvail}, "?", "are not on this machine", true},
		{"all gone in both families", region(t, goneA, gone6), []string{pub, pub6}, map[string]error{goneA: notAvail, gone6: notAvail}, "?", "its addresses 203.0.113.77, 2001:db8::77 are not on this machine", true},
		{"refused, and then gone", region(t, goneA), []string{pub}, map[string]error{pub: refused}, goneA + ">" + pub, "connection refused", false},
		{"no free port", region(t, here), []string{pub}, map[string]error{here: notAvail}, here + ">" + pub, "cannot assign requested address", false},
		{"refused in one family, gone in the other", region(t, here, gone6), []string{pub6, pub}, map[string]error{here: refused, gone6: notAvail}, "?", "its address 2001:db8::77 is not on this machine; dial tcp " + pub + ":443: connection refused", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			rec, err := recording(t, tt.region, tt.fail, tt.answer...)
			if calls := strings.Join(rec.calls, " "); calls != tt.calls && tt.calls != "?" {
				t.Errorf("connected %q, want %q", calls, tt.calls)
			}
			if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
				t.Errorf("error %v, want %q", err, tt.want)
			}
			var unavailable *UnavailableError
			if errors.As(err, &unavailable) != tt.held {
				t.Errorf("held: %v, want %v (%v)", !tt.held, tt.held, err)
			}
		})
	}
}

// If the first source is gone the next one of the region is used, and none that is
// not the region's.
func TestTheNextSourceOfTheRegion(t *testing.T) {
	rec, err := recording(t, region(t, goneA, here), map[string]error{goneA: syscall.EADDRNOTAVAIL}, pub)
	if err != nil || rec.calls[len(rec.calls)-1] != here+">"+pub {
		t.Errorf("%v %v", rec.calls, err)
	}
	for _, call := range rec.calls {
		if source, _, _ := strings.Cut(call, ">"); !slices.Contains([]string{goneA, here}, source) {
			t.Errorf("connected from %s", source)
		}
	}
}

func TestUnavailableTellsWhat(t *testing.T) {
	_, err := recording(t, region(t, goneA), map[string]error{goneA: syscall.EADDRNOTAVAIL}, pub)
	unavailable, _ := errors.AsType[*UnavailableError](err)
	if unavailable == nil || unavailable.Region != "eu" || unavailable.Family != IPv4 || !slices.Equal(unavailable.Addresses, addrs(goneA)) {
		t.Errorf("%+v", unavailable)
	}
	_, err = recording(t, region(t, goneA, gone6), map[string]error{goneA: syscall.EADDRNOTAVAIL, gone6: syscall.EADDRNOTAVAIL}, pub, pub6)
	unavailable, _ = errors.AsType[*UnavailableError](err)
	if unavailable == nil || unavailable.Family != "" || !slices.Equal(unavailable.Addresses, addrs(goneA, gone6)) {
		t.Errorf("%+v", unavailable)
	}
}

type failing struct{ err error }

func (f failing) LookupNetIP(context.Context, string, string) ([]netip.Addr, error) {
	return nil, f.err
}

func TestFailedLookupsAreOfDNS(t *testing.T) {
	for _, names := range []Resolver{
		failing{&net.DNSError{Err: "no such host", Name: "hooks.example.com", IsNotFound: true}},
		failing{errors.New("broken")},
		failing{context.DeadlineExceeded},
		resolving(nil),
	} {
		_, err := dial(t, &Dialer{Guard: guard(t), Resolver: names}, "hooks.example.com:443")
		if dns, ok := errors.AsType[*net.DNSError](err); !ok || dns.Name != "hooks.example.com" {
			t.Errorf("%v: %v", names, err)
		}
	}
}

type hanging struct{}

func (hanging) LookupNetIP(ctx context.Context, _, _ string) ([]netip.Addr, error) {
	<-ctx.Done()
	return nil, ctx.Err()
}

func TestOneTimeoutForAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		_, err := dial(t, &Dialer{Guard: guard(t), Resolver: hanging{}}, "hooks.example.com:443")
		if dns, ok := errors.AsType[*net.DNSError](err); !ok || !dns.Timeout() || time.Since(start) != DefaultConnectTimeout {
			t.Errorf("lookup: %v after %v", err, time.Since(start))
		}

		start = time.Now()
		var ends []time.Duration
		d := &Dialer{
			Region:         region(t, here),
			Guard:          guard(t),
			Resolver:       resolving(addrs(pub, pubB, "93.184.215.16", "93.184.215.17")),
			ConnectTimeout: 9 * time.Second,
			connect: func(ctx context.Context, _ netip.Addr, _ netip.AddrPort) (net.Conn, error) {
				<-ctx.Done()
				ends = append(ends, time.Since(start))
				return nil, &net.OpError{Op: "dial", Err: ctx.Err()}
			},
		}
		_, err = dial(t, d, "hooks.example.com:443")
		want := []time.Duration{2250 * time.Millisecond, 4500 * time.Millisecond, 6750 * time.Millisecond, 9 * time.Second}
		if !slices.Equal(ends, want) {
			t.Errorf("the addresses were given up after %v, want %v", ends, want)
		}
		if timeout, ok := errors.AsType[net.Error](err); !ok || !timeout.Timeout() || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%v is no timeout", err)
		}

		start, ends = time.Now(), nil
		d.ConnectTimeout = 3 * time.Second
		dial(t, d, "hooks.example.com:443")
		if want := []time.Duration{2 * time.Second, 3 * time.Second}; !slices.Equal(ends, want) {
			t.Errorf("the addresses were given up after %v, want %v", ends, want)
		}
	})
}

func TestCancelledDialsTryNoFurther(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	calls := 0
	d := &Dialer{
		Guard:    guard(t),
		Resolver: resolving(addrs(pub, pubB)),
		connect: func(ctx context.Context, _ netip.Addr, _ netip.AddrPort) (net.Conn, error) {
			calls++
			cancel()
			return nil, ctx.Err()
		},
	}
	if _, err := d.DialContext(ctx, "tcp", "hooks.example.com:443"); !errors.Is(err, context.Canceled) || calls != 1 {
		t.Errorf("%v after %d calls", err, calls)
	}
}

func TestDialsThatMakeNoSense(t *testing.T) {
	for _, tt := range []struct{ network, address, want string }{
		{"udp", "93.184.215.14:443", "unknown network udp"},
		{"tcp4", "93.184.215.14:443", "unknown network tcp4"},
		{"tcp", "93.184.215.14", "missing port in address"},
		{"tcp", "93.184.215.14:https", `"https" is no port`},
		{"tcp", "93.184.215.14:0", `"0" is no port`},
		{"tcp", "93.184.215.14:65536", `"65536" is no port`},
	} {
		if _, err := (&Dialer{Guard: guard(t)}).DialContext(t.Context(), tt.network, tt.address); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s %s: %v", tt.network, tt.address, err)
		}
	}
	if _, err := (&Dialer{}).DialContext(t.Context(), "tcp", "127.0.0.1:80"); err == nil || !strings.Contains(err.Error(), "without a destination guard") {
		t.Errorf("without a guard: %v", err)
	}
}
