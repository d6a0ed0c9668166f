package integration

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"sync"
	"testing"

	"golang.org/x/sys/unix"
)

// host is a machine with a network of its own. It ends with the test.
type host struct {
	t  *testing.T
	ns *os.File
}

func newHost(t *testing.T) *host {
	t.Helper()
	h := &host{t: t}
	onThread(t, func() {
		err := unix.Unshare(unix.CLONE_NEWNET)
		if err == nil {
			h.ns, err = os.Open("/proc/thread-self/ns/net")
		}
		if err != nil {
			t.Fatalf("making a network: %v", err)
		}
	})
	t.Cleanup(func() { _ = h.ns.Close() })
	h.ip("link set lo up")
	return h
}

// onThread calls f on a thread of its own, which ends with it. It may change what belongs
// to the thread, and fail the test.
func onThread(t *testing.T, f func()) {
	t.Helper()
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread()
		f()
	}()
	<-done
	if t.Failed() {
		t.FailNow()
	}
}

// in calls f on this host: sockets that it makes belong to it, and so do the commands
// that it starts.
func (h *host) in(f func()) {
	h.t.Helper()
	onThread(h.t, func() {
		if err := unix.Setns(int(h.ns.Fd()), unix.CLONE_NEWNET); err != nil {
			h.t.Fatalf("going to another host: %v", err)
		}
		f()
	})
}

// ip runs the command of that name on this host.
func (h *host) ip(args string) {
	h.t.Helper()
	h.in(func() { ip(h.t, args) })
}

// cable connects this machine with h, by interfaces of these names.
func (h *host) cable(here, there string) {
	h.t.Helper()
	ip(h.t, fmt.Sprintf("link add %s type veth peer name %s", here, there))
	move := exec.CommandContext(h.t.Context(), "ip", "link", "set", there, "netns", "/proc/self/fd/3")
	move.ExtraFiles = []*os.File{h.ns}
	if out, err := move.CombinedOutput(); err != nil {
		h.t.Fatalf("moving an interface: %v: %s", err, out)
	}
}

// set writes a setting of the network of this host.
func (h *host) set(name, value string) {
	h.t.Helper()
	h.in(func() {
		if err := os.WriteFile("/proc/sys/net/"+name, []byte(value), 0o600); err != nil {
			h.t.Fatal(err)
		}
	})
}

// hasIPv6 reports whether the kernel has it.
func hasIPv6() bool {
	_, err := os.Stat("/proc/net/if_inet6")
	return err == nil
}

// way is what the header of a packet says of where it comes from and goes to.
type way struct{ src, dst netip.Addr }

// recorder notes every packet of IPv4 and IPv6 that comes in on an interface.
type recorder struct {
	t  *testing.T
	fd int

	mu      sync.Mutex
	packets map[way]int
}

// record begins to note what comes in on an interface of the host.
func (h *host) record(name string) *recorder {
	h.t.Helper()
	r := &recorder{t: h.t, packets: make(map[way]int)}
	h.in(func() {
		var err error
		index := interfaceIndex(h.t, name)
		if r.fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0); err != nil {
			h.t.Fatalf("a socket that sees packets: %v", err)
		}
		if err := unix.Bind(r.fd, &unix.SockaddrLinklayer{Protocol: everyProtocol, Ifindex: index}); err != nil {
			h.t.Fatal(err)
		}
		_ = unix.SetsockoptInt(r.fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 64<<20)
		_ = unix.SetsockoptTimeval(r.fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Usec: 100_000})
	})
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		r.read(stop)
	}()
	h.t.Cleanup(func() {
		close(stop)
		<-stopped
		_ = unix.Close(r.fd)
	})
	return r
}

func (r *recorder) read(stop chan struct{}) {
	packet := make([]byte, 128) // the rest is cut off
	for {
		select {
		case <-stop:
			return
		default:
		}
		n, from, err := unix.Recvfrom(r.fd, packet, 0)
		if err != nil {
			continue // the timeout
		}
		link, ok := from.(*unix.SockaddrLinklayer)
		if !ok || link.Pkttype == unix.PACKET_OUTGOING {
			continue
		}
		if w, ok := parseWay(packet[:n]); ok {
			r.mu.Lock()
			r.packets[w]++
			r.mu.Unlock()
		}
	}
}

// everyProtocol is ETH_P_ALL in the byte order of the network.
var everyProtocol = binary.NativeEndian.Uint16([]byte{0, unix.ETH_P_ALL})

// parseWay reads the header of a packet (RFC 791, RFC 8200); ARP has none.
func parseWay(p []byte) (way, bool) {
	switch {
	case len(p) >= 20 && p[0]>>4 == 4:
		return way{netip.AddrFrom4([4]byte(p[12:16])), netip.AddrFrom4([4]byte(p[16:20]))}, true
	case len(p) >= 40 && p[0]>>4 == 6:
		return way{netip.AddrFrom16([16]byte(p[8:24])), netip.AddrFrom16([16]byte(p[24:40]))}, true
	}
	return way{}, false
}

// ways returns what was noted so far, and how many packets the kernel could not hand over.
func (r *recorder) ways() (map[way]int, uint32) {
	r.t.Helper()
	lost, err := unix.GetsockoptTpacketStats(r.fd, unix.SOL_PACKET, unix.PACKET_STATISTICS)
	if err != nil {
		r.t.Fatal(err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	all := make(map[way]int, len(r.packets))
	for w, n := range r.packets {
		all[w] = n
	}
	return all, lost.Drops
}

// interfaceIndex asks on the thread's own network.
func interfaceIndex(t *testing.T, name string) int {
	t.Helper()
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	request, err := unix.NewIfreq(name)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.IoctlIfreq(fd, unix.SIOCGIFINDEX, request); err != nil {
		t.Fatal(err)
	}
	return int(request.Uint32())
}
