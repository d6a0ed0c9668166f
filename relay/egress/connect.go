package egress

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"syscall"
	"time"

	"github.com/caddyrelay/caddyrelay/relay/destination"
)

// leastShare is the least time that one of several addresses gets, unless the
// dial itself ends before; with a long list the last ones are then not tried. It
// is what net.Dialer grants.
const leastShare = 2 * time.Second

// connectFirst connects to the first of targets that can be connected to, each by
// connect, which gets until its deadline. They are tried one after the other, not at
// once: a receiver that counts connections should see one.
func connectFirst(ctx context.Context, host string, targets []netip.Addr, connect func(time.Time, netip.Addr) (net.Conn, error)) (net.Conn, error) {
	end, _ := ctx.Deadline()
	var (
		errs []error
		gone []*UnavailableError
	)
	for i, target := range targets {
		conn, err := connect(share(time.Now(), end, len(targets)-i), target)
		if err == nil {
			return conn, nil
		}
		if _, ok := errors.AsType[*destination.BlockedError](err); ok {
			return nil, err
		}
		if _, ok := errors.AsType[*movedError](err); ok {
			return nil, err
		}
		if unavailable, ok := errors.AsType[*UnavailableError](err); ok {
			gone = append(gone, unavailable)
		}
		errs = append(errs, err)
		// The clock is looked at too: where the last share ended with the dial, the
		// context may not have noticed yet.
		if ctx.Err() != nil || !time.Now().Before(end) {
			break
		}
	}
	if len(gone) == len(errs) {
		return nil, merge(gone)
	}
	return nil, &connectError{host: host, errs: errs}
}

// share returns when the first of n addresses must be connected to, so that each
// of the others gets as much of what is left.
func share(now, end time.Time, n int) time.Time {
	until := now.Add(max(end.Sub(now)/time.Duration(n), leastShare))
	if until.After(end) {
		return end
	}
	return until
}

// connectFrom connects to one address, from the source of its family. A [*movedError]
// says that this one cannot be used any more. If the source is there and does not get
// through, no other one is tried: it is the destination that does not answer. The guard
// is nil for a proxy.
func (d *Dialer) connectFrom(ctx context.Context, deadline time.Time, from sources, target netip.AddrPort, guard *destination.Guard) (net.Conn, error) {
	ctx, cancel := context.WithDeadline(ctx, deadline)
	defer cancel()
	family := FamilyOf(target.Addr())
	source := from.of(family)
	switch now := time.Now(); {
	case source == nil:
		return nil, d.Region.unavailable(family, now)
	case !source.Active(now):
		return nil, &movedError{source}
	}
	var conn net.Conn
	var err error
	if d.connect != nil {
		conn, err = d.connect(ctx, source.Addr, target)
	} else {
		conn, err = connectSocket(ctx, source.Addr, target, guard)
	}
	if err != nil && source.Pinned() && !answered(err) && missing(source.Addr) {
		return nil, &movedError{source}
	}
	return conn, err
}

// answered reports an error that only comes back over a working address, or that
// is the guard's.
func answered(err error) bool {
	_, blocked := errors.AsType[*destination.BlockedError](err)
	return blocked || errors.Is(err, syscall.ECONNREFUSED) || errors.Is(err, syscall.ECONNRESET)
}

// connectSocket makes one TCP connection to target, bound to source if that is
// valid.
func connectSocket(ctx context.Context, source netip.Addr, target netip.AddrPort, guard *destination.Guard) (net.Conn, error) {
	dialer := net.Dialer{LocalAddr: localAddr("tcp", source), ControlContext: control(source, guard)}
	return dialer.DialContext(ctx, "tcp", target.String())
}

// control returns what net.Dialer calls on each socket before it is bound and
// connected. It is the boundary: it sees the address that the kernel will get,
// after all that was resolved, sorted and chosen before.
func control(source netip.Addr, guard *destination.Guard) func(context.Context, string, string, syscall.RawConn) error {
	return func(_ context.Context, _, address string, conn syscall.RawConn) error {
		target, err := netip.ParseAddrPort(address)
		if err != nil {
			return fmt.Errorf("judging the address of a socket: %w", err)
		}
		if guard != nil {
			if err := guard.CheckAddr(target.Addr()); err != nil {
				return err
			}
		}
		if !source.IsValid() {
			return nil
		}
		return prepareBound(conn)
	}
}
