package integration

import (
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"testing"
)

// tunnel passes connections on to a receiver, until it is told to swallow what the present
// ones carry, as a firewall does that has forgotten them: nobody is told.
type tunnel struct {
	net.Listener
	to string

	mu    sync.Mutex
	pairs []*atomic.Bool
}

func newTunnel(t *testing.T, to *receiver) *tunnel {
	t.Helper()
	listener, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", freePort(t)))
	if err != nil {
		t.Fatal(err)
	}
	u := &tunnel{Listener: listener, to: to.address}
	var open sync.WaitGroup
	t.Cleanup(func() { _ = listener.Close(); to.down(); open.Wait() })
	open.Go(func() {
		for {
			near, err := listener.Accept()
			if err != nil {
				return
			}
			far, err := net.Dial("tcp", u.to)
			if err != nil {
				_ = near.Close()
				continue
			}
			swallow := new(atomic.Bool)
			u.mu.Lock()
			u.pairs = append(u.pairs, swallow)
			u.mu.Unlock()
			open.Go(func() { pass(far, near, swallow) })
			open.Go(func() { pass(near, far, swallow) })
		}
	})
	return u
}

// pass copies until one side ends; then both do.
func pass(to, from net.Conn, swallow *atomic.Bool) {
	defer to.Close()
	defer from.Close()
	buf := make([]byte, 32<<10)
	for {
		n, err := from.Read(buf)
		if err != nil {
			return
		}
		if swallow.Load() {
			continue
		}
		if _, err := to.Write(buf[:n]); err != nil {
			return
		}
	}
}

// forget swallows what the present connections carry, and returns how many there were.
func (u *tunnel) forget() int {
	u.mu.Lock()
	defer u.mu.Unlock()
	for _, swallow := range u.pairs {
		swallow.Store(true)
	}
	return len(u.pairs)
}

// F21: nobody can know that a kept connection is dead of which nothing is heard. The first
// attempt over it runs into its timeout, is charged, since what became of it is unknown,
// and the next one has a connection of its own.
func TestHalfOpenConnectionCostsOneAttempt(t *testing.T) {
	t.Parallel()
	a := newAuthority(t)
	for proto, newEndpoint := range map[string]func() *receiver{
		"HTTP/1.1": func() *receiver { return newReceiver(t) },
		"HTTP/2.0": func() *receiver { return newTLSReceiver(t, a, "h2") },
	} {
		t.Run(proto, func(t *testing.T) {
			t.Parallel()
			r := newEndpoint()
			u := newTunnel(t, r)
			scheme := "http"
			if r.tls != nil {
				scheme = "https"
			}
			c := run(t, fmt.Sprintf("subscription crm %s://%s {\nallow_ips 127.0.0.1\ntimeout 2s\nretry 10ms 10ms 10ms 10ms\n}", scheme, u.Addr()), a.trusted())
			c.wantDelivery(c.accept("order.paid", `1`).ID, "crm", stateDelivered, "")
			if n := u.forget(); n != 1 {
				t.Fatalf("%d connections were made; want 1", n)
			}
			d := c.wantDelivery(c.accept("order.paid", `2`).ID, "crm", stateDelivered, "")
			if d.AttemptCount != 2 || len(d.Attempts) != 2 {
				t.Fatalf("%+v; want two attempts", d)
			}
			if first, second := d.Attempts[0], d.Attempts[1]; first.ErrorKind != "timeout" || first.LocalAddress == second.LocalAddress {
				t.Errorf("%+v, %+v; want a timeout, and then another connection", first, second)
			}
			for _, got := range r.wantExactly(2) {
				if got.proto != proto {
					t.Errorf("it came over %s", got.proto)
				}
			}
		})
	}
}
