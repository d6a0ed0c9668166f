package relay

import (
	"context"
	"errors"
	"sync"
	"time"
)

// settleDelay is how long outcomes wait for company. They need no sync of their own: a
// lost outcome is a repeated attempt. Under load they share the transaction, and the
// sync, of the events accepted meanwhile.
const settleDelay = 10 * time.Millisecond

// commitRetry is the pause after a commit failed.
const commitRetry = time.Second

// settler writes the outcomes of all lanes to the store, in groups.
type settler struct {
	engine *Relay
	kick   chan struct{}
	done   chan struct{}

	mu    sync.Mutex
	lanes []*lane

	// flushing makes flushes follow each other, so that a flush that returns has written
	// everything that was settled before it was called.
	flushing sync.Mutex
}

func newSettler(r *Relay) *settler {
	return &settler{engine: r, kick: make(chan struct{}, 1), done: make(chan struct{})}
}

// add notes that a lane has outcomes to write. The caller holds the lane's lock.
func (s *settler) add(l *lane) {
	if l.outbox.listed {
		return
	}
	l.outbox.listed = true
	s.mu.Lock()
	s.lanes = append(s.lanes, l)
	s.mu.Unlock()
	select {
	case s.kick <- struct{}{}:
	default:
	}
}

// run flushes until stop is closed.
func (s *settler) run(stop <-chan struct{}) {
	defer close(s.done)
	for {
		select {
		case <-stop:
			return
		case <-s.kick:
		}
		select {
		case <-stop:
			return
		case <-time.After(settleDelay):
		}
		s.flush(stop)
	}
}

// flush writes what was settled so far. It tries until it succeeds, the store is closed
// or stop is; meanwhile no attempts begin, since their results could not be kept.
func (s *settler) flush(stop <-chan struct{}) {
	s.flushing.Lock()
	defer s.flushing.Unlock()
	s.mu.Lock()
	lanes := s.lanes
	s.lanes = nil
	s.mu.Unlock()
	if len(lanes) == 0 {
		return
	}
	var updates []Update
	for _, l := range lanes {
		l.mu.Lock()
		updates = append(updates, l.updates()...)
		l.mu.Unlock()
	}
	for {
		err := s.engine.store.Commit(context.Background(), updates)
		if err == nil {
			break
		}
		s.engine.setStalled(true)
		s.engine.storeFailed("commit", err)
		if errors.Is(err, ErrClosed) {
			return
		}
		select {
		case <-stop:
			return
		case <-time.After(commitRetry):
		}
	}
	for _, l := range lanes {
		l.mu.Lock()
		l.outbox.flushing = nil
		l.mu.Unlock()
	}
	s.engine.setStalled(false)
}
