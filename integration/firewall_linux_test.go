package integration

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// TestTheDocumentedFirewall: with the rules of the documentation only the relay's user
// sends from the addresses of regions, and the application's user sends nothing outside.
func TestTheDocumentedFirewall(t *testing.T) {
	need(t, "nft", "nftables")
	inANetworkNamespace(t, func(t *testing.T) { t.Run("rules", testTheDocumentedFirewall) })
}

// Users of the test: no process of any machine needs to know them.
const (
	relayUser, appUser, otherUser = 64201, 64202, 64203
)

func testTheDocumentedFirewall(t *testing.T) {
	ip(t, "link set lo up")
	outside := newHost(t)
	outside.cable("uplink", "net")
	ip(t, "addr add 192.0.2.99/24 dev uplink")
	ip(t, "addr add 192.0.2.10/32 dev uplink")
	ip(t, "link set uplink up")
	outside.ip("addr add 192.0.2.1/24 dev net")
	outside.ip("link set net up")
	var far *receiver
	outside.in(func() { far = newReceiverOn(t, fmt.Sprintf("192.0.2.1:%d", freePort(t))) })
	near := newReceiver(t) // as the intake: on the loopback

	for _, rules := range []bool{false, true} {
		if rules {
			applyFirewall(t)
			applyFirewall(t) // loading it again replaces it
		}
		for _, tt := range []struct {
			who          string
			user         int
			source, dest string
			allowed      bool
		}{
			{"the relay from an egress address", relayUser, "192.0.2.10", far.address, true},
			{"the relay from elsewhere", relayUser, "", far.address, true},
			{"an application to the intake", appUser, "", near.address, true},
			{"an application to the outside", appUser, "", far.address, false},
			{"an application from an egress address", appUser, "192.0.2.10", far.address, false},
			{"somebody else from an egress address", otherUser, "192.0.2.10", far.address, false},
			{"somebody else", otherUser, "", far.address, true},
		} {
			err := dialAs(t, tt.user, tt.source, tt.dest)
			if allowed := tt.allowed || !rules; (err == nil) != allowed {
				t.Errorf("rules: %v; %s: %v", rules, tt.who, err)
			}
		}
	}
}

// applyFirewall loads the block of the documentation, with the users of the test.
func applyFirewall(t *testing.T) {
	t.Helper()
	page, err := os.ReadFile("../docs/egress.md")
	if err != nil {
		t.Fatal(err)
	}
	_, after, found := strings.Cut(string(page), "\n```nft\n")
	rules, _, closed := strings.Cut(after, "\n```\n")
	if !found || !closed {
		t.Fatal("the documentation has no rules")
	}
	for name, user := range map[string]int{`"caddy"`: relayUser, `"app"`: appUser, `"www-data"`: appUser + 10} {
		if !strings.Contains(rules, name) {
			t.Fatalf("the rules do not name %s", name)
		}
		rules = strings.ReplaceAll(rules, name, fmt.Sprint(user))
	}
	cmd := exec.CommandContext(t.Context(), "nft", "-f", "-")
	cmd.Stdin = strings.NewReader(rules + "\n")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("nft: %v: %s", err, out)
	}
}

// dialAs connects as a user, from an address if one is given.
func dialAs(t *testing.T, user int, source, dest string) (err error) {
	t.Helper()
	onThread(t, func() {
		// Of this thread alone, which the socket is made on; Go's own Setuid is of all.
		if _, _, errno := unix.RawSyscall(unix.SYS_SETRESUID, uintptr(user), uintptr(user), uintptr(user)); errno != 0 {
			t.Fatal(errno)
		}
		dialer := net.Dialer{Timeout: patience}
		if source != "" {
			dialer.LocalAddr = net.TCPAddrFromAddrPort(netip.AddrPortFrom(netip.MustParseAddr(source), 0))
		}
		var conn net.Conn
		if conn, err = dialer.Dial("tcp", dest); err == nil {
			conn.Close()
		}
	})
	return err
}
