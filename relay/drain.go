package relay

import (
	"context"
	"sync"
)

// gate counts attempts in flight, lets no new ones begin once it is shut, and tells when
// the last one has ended.
type gate struct {
	mu    sync.Mutex
	count int
	shut  bool
	empty chan struct{} // closed when shut and count is 0
}

func newGate() *gate { return &gate{empty: make(chan struct{})} }

func (g *gate) enter() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.shut {
		return false
	}
	g.count++
	return true
}

func (g *gate) leave() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.count--
	if g.shut && g.count == 0 {
		close(g.empty)
	}
}

func (g *gate) shutDown() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.shut {
		return
	}
	g.shut = true
	if g.count == 0 {
		close(g.empty)
	}
}

func (g *gate) isShut() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.shut
}

// enter asks to begin an attempt; leave must follow if it is granted.
func (r *Relay) enter() bool { return !r.stalled.Load() && r.gate.enter() }

func (r *Relay) leave() { r.gate.leave() }

// paused reports whether no attempts may begin at all.
func (r *Relay) paused() bool { return r.stalled.Load() || r.gate.isShut() }

// setStalled stops attempts while their results cannot be stored, or lets them go on.
func (r *Relay) setStalled(stalled bool) {
	if r.stalled.Swap(stalled) && !stalled {
		r.wakeAll()
	}
}

// Drain stops making attempts and waits for those in flight. When ctx ends it cuts
// them: a cut attempt is made again later and is not counted as failed. Events go on
// being accepted until Close; they are delivered after the next start.
func (r *Relay) Drain(ctx context.Context) {
	r.gate.shutDown()
	select {
	case <-r.gate.empty:
	case <-ctx.Done():
		r.cut(errDraining)
		<-r.gate.empty
	}
}
