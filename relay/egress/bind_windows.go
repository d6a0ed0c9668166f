package egress

import (
	"net"
	"net/netip"
	"syscall"
)

// The errors of Winsock by their numbers: package syscall gives the names other ones.
const (
	errAddrNotAvail = syscall.Errno(10049) // WSAEADDRNOTAVAIL
	errNoFamily     = syscall.Errno(10047) // WSAEAFNOSUPPORT
)

// bind binds a UDP socket to a free port of addr and closes it: the net package
// has no bind of a TCP socket without a connect or a listen, and listening, if
// only for a moment, would ask the user about the firewall.
func bind(addr netip.Addr) error {
	conn, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(addr, 0)))
	if err != nil {
		return err
	}
	return conn.Close()
}
