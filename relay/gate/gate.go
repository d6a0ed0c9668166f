// Package gate lets what is about to be closed wait for those who use it.
package gate

import "sync"

// Gate counts those inside, and lets none in once it is shut. Its zero value is open. It is
// no [sync.RWMutex], since a call may come from within another: a writer that waits would
// lock that one out for ever.
type Gate struct {
	mu     sync.Mutex
	shut   bool
	inside int
	empty  chan struct{} // nil while open; closed once shut and the last has left
}

// Enter reports whether one may go in; who may must [Gate.Leave].
func (g *Gate) Enter() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.shut {
		return false
	}
	g.inside++
	return true
}

// Leave undoes an [Gate.Enter] that was granted.
func (g *Gate) Leave() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.inside--
	if g.shut && g.inside == 0 {
		close(g.empty)
	}
}

// IsShut reports whether none are let in any more.
func (g *Gate) IsShut() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.shut
}

// Shut lets none in from now on, and does not wait. It returns a channel that is closed once
// the last has left, and whether the gate was open before.
func (g *Gate) Shut() (empty <-chan struct{}, first bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.shut {
		return g.empty, false
	}
	g.shut = true
	g.empty = make(chan struct{})
	if g.inside == 0 {
		close(g.empty)
	}
	return g.empty, true
}

// Close shuts the gate and waits for those inside. It returns false at once if the gate was
// shut before.
func (g *Gate) Close() bool {
	empty, first := g.Shut()
	if first {
		<-empty
	}
	return first
}
