package egress

import (
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// prepareBound is called on a socket before it is bound to an address. Without
// this option bind(2) takes a port that no other socket of the address has, and
// some 28,000 connections are all that an address can hold; with it the port is
// chosen by connect(2), and is only taken towards one destination.
func prepareBound(conn syscall.RawConn) error {
	var failed error
	err := conn.Control(func(fd uintptr) {
		failed = unix.SetsockoptInt(int(fd), unix.IPPROTO_IP, unix.IP_BIND_ADDRESS_NO_PORT, 1)
	})
	if err != nil {
		return err
	}
	return os.NewSyscallError("setsockopt", failed)
}
