package postgres

import "sync"

// gate counts the calls under way, and lets none in once it is shut. It is not a
// sync.RWMutex, since a call may come from within another (from stored, or between two
// results of Progress): a waiting writer would lock that one out for ever.
type gate struct {
	mu    sync.Mutex
	shut  bool
	calls int
	empty chan struct{} // closed when shut and the last call has left
}

// enter reports whether the call may go on; if so it must leave.
func (g *gate) enter() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.shut {
		return false
	}
	g.calls++
	return true
}

func (g *gate) leave() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.calls--
	if g.shut && g.calls == 0 {
		close(g.empty)
	}
}

func (g *gate) isShut() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.shut
}

// close shuts the gate and waits for the calls under way. It reports false if the gate was
// shut before.
func (g *gate) close() bool {
	g.mu.Lock()
	if g.shut {
		g.mu.Unlock()
		return false
	}
	g.shut = true
	g.empty = make(chan struct{})
	if g.calls == 0 {
		close(g.empty)
	}
	g.mu.Unlock()
	<-g.empty
	return true
}
