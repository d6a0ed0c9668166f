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

// connectFirst connects to the first of targets that can be connected to. They
// are tried one after the other, not at once: a receiver that counts connections
// should see one.
func (d *Dialer) connectFirst(ctx context.Context, from sources, host string, port uint16, targets []netip.Addr) (net.Conn, error) {
	end, _ := ctx.Deadline()
	var (
		errs []error
		gone []*UnavailableError
	)
	for i, target := range targets {
		deadline := share(time.Now(), end, len(targets)-i)
		conn, err := d.connectWithin(ctx, deadline, from, netip.AddrPortFrom(target, port))
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

// connectWithin connects to one target, from the source of its family. A [*movedError]
// says that this one cannot be used any more. If the source is there and does not get
// through, no other one is tried: it is the destination that does not answer.
func (d *Dialer) connectWithin(ctx context.Context, deadline time.Time, from sources, target netip.AddrPort) (net.Conn, error) {
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
	connect := d.connect
	if connect == nil {
		connect = d.connectSocket
	}
	conn, err := connect(ctx, source.Addr, target)
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
func (d *Dialer) connectSocket(ctx context.Context, source netip.Addr, target netip.AddrPort) (net.Conn, error) {
	dialer := net.Dialer{LocalAddr: localAddr("tcp", source), ControlContext: d.control(source)}
	return dialer.DialContext(ctx, "tcp", target.String())
}

// control returns what net.Dialer calls on each socket before it is bound and
// connected. It is the boundary: it sees the address that the kernel will get,
// after all that was resolved, sorted and chosen before.
func (d *Dialer) control(source netip.Addr) func(context.Context, string, string, syscall.RawConn) error {
	return func(_ context.Context, _, address string, conn syscall.RawConn) error {
		target, err := netip.ParseAddrPort(address)
		if err != nil {
			return fmt.Errorf("judging the address of a socket: %w", err)
		}
		if err := d.Guard.CheckAddr(target.Addr()); err != nil {
			return err
		}
		if !source.IsValid() {
			return nil
		}
		return prepareBound(conn)
	}
}
