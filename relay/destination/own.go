package destination

import (
	"net"
	"net/netip"
	"sync"
	"time"
)

// ownLifetime is how long a list of this machine's addresses is used: reading it costs
// less than connecting once, but there may be many connections in a second.
const ownLifetime = time.Second

// OwnAddresses returns the addresses of this machine's interfaces, for
// [Rules.Own]. The list is read at most once a second, and must not be changed.
// If it cannot be read the one before it goes on; the next call tries again.
//
// It does not know the public address of a machine behind a 1:1 NAT, which
// [Rules.Regional] is for.
func OwnAddresses() []netip.Addr {
	return own.addresses()
}

var own = ownList{read: net.InterfaceAddrs}

type ownList struct {
	read func() ([]net.Addr, error)

	mu    sync.Mutex
	list  []netip.Addr
	until time.Time
}

func (o *ownList) addresses() []netip.Addr {
	o.mu.Lock()
	defer o.mu.Unlock()
	now := time.Now()
	if now.Before(o.until) {
		return o.list
	}
	found, err := o.read()
	if err != nil {
		return o.list
	}
	list := make([]netip.Addr, 0, len(found))
	for _, a := range found {
		network, ok := a.(*net.IPNet)
		if !ok {
			continue
		}
		if addr, ok := netip.AddrFromSlice(network.IP); ok {
			list = append(list, addr.Unmap())
		}
	}
	o.list, o.until = list, now.Add(ownLifetime)
	return list
}
