package http1

import (
	"cmp"
	"sync"
	"time"
)

// pool holds the connections that no request uses, for each destination the one last used
// at the end: what is not needed grows old at the beginning.
type pool struct {
	mu    sync.Mutex
	conns map[string][]*conn
	sweep *time.Timer // nil while nothing is idle
	// cleared says that all were closed, and no request has begun since.
	cleared bool
}

// fresh is how long after its last answer a connection is taken to be open by a request that
// may be repeated: to ask the kernel costs as much as a tenth of a request, and the request
// finds out too.
const fresh = time.Second

// take returns a connection that is open as far as can be known, or nil. If the request is
// repeatable, that may turn out to be wrong.
func (p *pool) take(address string, repeatable bool) *conn {
	for {
		c := p.pop(address)
		if c == nil || !c.spent() && (repeatable && time.Since(c.since) < fresh || c.alive()) {
			return c
		}
		_ = c.Close()
	}
}

func (p *pool) pop(address string) *conn {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.cleared = false
	list := p.conns[address]
	if len(list) == 0 {
		return nil
	}
	c := list[len(list)-1]
	list[len(list)-1] = nil
	p.conns[address] = list[:len(list)-1]
	return c
}

// put keeps a connection for the next request, or closes it if enough are kept, or none
// shall be.
func (p *pool) put(c *conn) {
	most := cmp.Or(c.transport.MaxIdlePerHost, DefaultMaxIdlePerHost)
	timeout := cmp.Or(c.transport.IdleTimeout, DefaultIdleTimeout)
	c.since = time.Now()
	p.mu.Lock()
	list := p.conns[c.address]
	kept := len(list) < most && !p.cleared
	if kept {
		if p.conns == nil {
			p.conns = make(map[string][]*conn)
		}
		p.conns[c.address] = append(list, c)
		if p.sweep == nil {
			p.sweep = time.AfterFunc(timeout, func() { p.expire(timeout) })
		}
	}
	p.mu.Unlock()
	if !kept {
		_ = c.Close()
	}
}

// expire closes what has been idle for so long, and comes again while anything is left.
func (p *pool) expire(timeout time.Duration) {
	p.mu.Lock()
	var old []*conn
	now := time.Now()
	next := time.Duration(-1)
	for address, list := range p.conns {
		n := 0
		for n < len(list) && now.Sub(list[n].since) >= timeout {
			n++
		}
		old = append(old, list[:n]...)
		if n == len(list) {
			delete(p.conns, address)
			continue
		}
		p.conns[address] = append([]*conn(nil), list[n:]...)
		if wait := timeout - now.Sub(list[n].since); next < 0 || wait < next {
			next = wait
		}
	}
	p.sweep = nil
	if next >= 0 {
		p.sweep = time.AfterFunc(next, func() { p.expire(timeout) })
	}
	p.mu.Unlock()
	for _, c := range old {
		_ = c.Close()
	}
}

// clear closes all, and then what comes back until the next request begins: who clears a
// pool seldom uses it again.
func (p *pool) clear() {
	p.mu.Lock()
	p.cleared = true
	all := p.conns
	p.conns = nil
	if p.sweep != nil {
		p.sweep.Stop()
		p.sweep = nil
	}
	p.mu.Unlock()
	for _, list := range all {
		for _, c := range list {
			_ = c.Close()
		}
	}
}
