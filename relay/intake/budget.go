package intake

import (
	"net/netip"
	"sync"
	"sync/atomic"
)

// What requests may have of the memory, in bytes. It is charged before a body is read
// and given back with the answer, so that fifty thousand senders of slow or huge bodies
// cost no more than this.
const (
	// budgetMost is enough for all that two cores can take at once.
	budgetMost = 128 << 20
	// budgetLeast leaves room for some of the largest bodies.
	budgetLeast = 16 << 20
	// requestCost is charged for a request besides its body: goroutine, buffers, header
	// fields. About so much was measured in Caddy.
	requestCost = 16 << 10
)

// budgetSize is an eighth of what the process may have, within bounds.
func budgetSize(memoryLimit int64) int64 {
	return min(max(memoryLimit/8, budgetLeast), budgetMost)
}

// budget bounds the memory of the requests under way. Half of it is anyone's, by one
// atomic operation. What is beyond is shared: a sender may hold as much of it as is then
// still free (the dynamic threshold of switch buffers: Choudhury and Hahne, 1998). So
// one alone gets half of it, each of two a third, and there is always something left
// for the next.
type budget struct {
	size  int64
	used  atomic.Int64
	turns turns

	mu sync.Mutex
	// beyond is what each sender holds of the second half.
	beyond map[netip.Prefix]int64
}

func newBudget(size int64) *budget {
	return &budget{size: size, beyond: make(map[netip.Prefix]int64)}
}

// verdict is the answer of a budget.
type verdict int

const (
	granted verdict = iota
	// denied: there is no room at all.
	denied
	// excessive: there is room, but not for one who holds so much already.
	excessive
)

// hold is what one request has of a budget. Its release must follow.
type hold struct {
	budget *budget
	// remote is the address of the sender, as in [http.Request.RemoteAddr].
	remote string
	bytes  int64
	// beyond is the part of bytes that is counted for the sender.
	beyond int64
}

// take asks for more. What was refused is not held.
func (h *hold) take(bytes int64) verdict {
	b := h.budget
	if b.used.Add(bytes) > b.size/2 {
		if v := b.share(h, bytes); v != granted {
			b.used.Add(-bytes)
			return v
		}
	}
	h.bytes += bytes
	return granted
}

// share judges what goes beyond the half that is anyone's; bytes are in used already.
func (b *budget) share(h *hold, bytes int64) verdict {
	b.mu.Lock()
	defer b.mu.Unlock()
	free := b.size - b.used.Load()
	if free < 0 {
		return denied
	}
	sender := senderOf(h.remote)
	if b.beyond[sender]+bytes > free {
		return excessive
	}
	b.beyond[sender] += bytes
	h.beyond += bytes
	return granted
}

// release gives all back.
func (h *hold) release() {
	b := h.budget
	b.used.Add(-h.bytes)
	b.turns.served.Add(1)
	if h.beyond == 0 {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	sender := senderOf(h.remote)
	if b.beyond[sender] -= h.beyond; b.beyond[sender] == 0 {
		delete(b.beyond, sender)
	}
}

// senderOf tells senders apart by their address, in IPv6 by their network: a /64 is one
// machine's to choose from. All that come by a unix socket are one.
func senderOf(remote string) netip.Prefix {
	at, err := netip.ParseAddrPort(remote)
	if err != nil {
		return netip.Prefix{}
	}
	addr := at.Addr().Unmap()
	bits := addr.BitLen()
	if addr.Is6() {
		bits = 64
	}
	network, err := addr.WithZone("").Prefix(bits)
	if err != nil {
		return netip.Prefix{}
	}
	return network
}
