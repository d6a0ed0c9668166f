//go:build unix

package egress

import (
	"net/netip"
	"os"
	"syscall"
)

const (
	errAddrNotAvail = syscall.EADDRNOTAVAIL
	errNoFamily     = syscall.EAFNOSUPPORT // IPv6 is switched off
)

// bind binds a TCP socket to a free port of addr and closes it. The net package
// has no bind without a connect or a listen.
func bind(addr netip.Addr) error {
	domain, sockaddr := syscall.AF_INET6, syscall.Sockaddr(&syscall.SockaddrInet6{Addr: addr.As16()})
	if addr.Is4() {
		domain, sockaddr = syscall.AF_INET, &syscall.SockaddrInet4{Addr: addr.As4()}
	}
	// Not every Unix has SOCK_CLOEXEC; the lock keeps a fork from inheriting the
	// descriptor before the flag is set.
	syscall.ForkLock.RLock()
	fd, err := syscall.Socket(domain, syscall.SOCK_STREAM, 0)
	if err == nil {
		syscall.CloseOnExec(fd)
	}
	syscall.ForkLock.RUnlock()
	if err != nil {
		return os.NewSyscallError("socket", err)
	}
	defer func() { _ = syscall.Close(fd) }() // nothing was written
	return os.NewSyscallError("bind", syscall.Bind(fd, sockaddr))
}
