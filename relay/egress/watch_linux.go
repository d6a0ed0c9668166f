package egress

import (
	"context"
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// addressEvents returns a channel on which something is received soon after an address or
// an interface of this machine has changed (rtnetlink(7)), or nil if the kernel does not
// tell. It works until ctx ends.
func addressEvents(ctx context.Context) <-chan struct{} {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.NETLINK_ROUTE)
	if err != nil {
		return nil
	}
	groups := &unix.SockaddrNetlink{
		Family: unix.AF_NETLINK,
		Groups: unix.RTMGRP_LINK | unix.RTMGRP_IPV4_IFADDR | unix.RTMGRP_IPV6_IFADDR,
	}
	if err := unix.Bind(fd, groups); err != nil {
		_ = unix.Close(fd)
		return nil
	}
	socket := os.NewFile(uintptr(fd), "netlink")
	stop := context.AfterFunc(ctx, func() { _ = socket.Close() })
	events := make(chan struct{}, 1)
	go func() {
		defer stop()
		// What the messages say is of no interest: the kernel is asked about each address.
		for message := make([]byte, 8<<10); ; {
			_, err := socket.Read(message)
			if err != nil && !errors.Is(err, unix.ENOBUFS) { // that is: there were too many
				return
			}
			select {
			case events <- struct{}{}:
			default: // one is waiting already
			}
		}
	}()
	return events
}
