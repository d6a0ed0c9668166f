//go:build unix

package http1

import (
	"net"
	"syscall"

	"golang.org/x/sys/unix"
)

// rawOf returns the socket below a connection, or nil.
func rawOf(c net.Conn) syscall.RawConn {
	if wrapped, ok := c.(interface{ Socket() net.Conn }); ok {
		c = wrapped.Socket()
	}
	socket, ok := c.(syscall.Conn)
	if !ok {
		return nil
	}
	raw, err := socket.SyscallConn()
	if err != nil {
		return nil
	}
	return raw
}

// alive looks whether the other side has closed an idle connection, or sent what nobody
// asked for. It does not wait.
func (c *conn) alive() bool {
	if c.raw == nil {
		return true // the request will find out
	}
	// An old deadline would keep it from looking.
	c.until = never
	if c.SetReadDeadline(never) != nil {
		return false
	}
	var one [1]byte
	quiet := false
	err := c.raw.Read(func(fd uintptr) bool {
		_, _, err := unix.Recvfrom(int(fd), one[:], unix.MSG_PEEK|unix.MSG_DONTWAIT)
		quiet = err == unix.EAGAIN || err == unix.EINTR
		return true
	})
	return err == nil && quiet
}
