package badger

import (
	"errors"
	"fmt"
	"sync"

	"github.com/caddyrelay/caddyrelay/relay"
)

var errMergeHeld = errors.New("merging of tables is held")

// holdMerge makes the store refuse everything while a merging is held, and be as before when
// that is over.
func (s *Store) holdMerge(missing error) {
	s.mu.Lock()
	switch {
	case missing != nil:
		s.fail = fmt.Errorf("%w: %w: %w", relay.ErrBroken, errMergeHeld, missing)
	case errors.Is(s.fail, errMergeHeld):
		s.fail = nil
	}
	over := s.fail == nil
	s.mu.Unlock()
	if over {
		s.tellReopened()
		return
	}
	if d := s.db.Load(); d != nil {
		s.holdDrop(d)
	}
}

// drop is a drop of records, during which nobody reads: Badger holds its lock until it has merged
// tables.
type drop struct {
	over chan struct{}
	// held is closed if the merging is, so that it may never be over.
	held chan struct{}
	once sync.Once
}

// drops notes that records are being dropped, until the function is called that it returns.
func (d *database) drops() (done func()) {
	under := &drop{over: make(chan struct{}), held: make(chan struct{})}
	d.dropping.Store(under)
	return func() {
		d.dropping.Store(nil)
		close(under.over)
	}
}

// holdDrop lets nobody wait for a drop of records that waits for a merging which is held: neither
// who wants to read, nor whose requests the committer does not come to.
func (s *Store) holdDrop(d *database) {
	under, held := d.dropping.Load(), s.failure()
	if under == nil || !errors.Is(held, errMergeHeld) {
		return
	}
	under.once.Do(func() {
		close(under.held)
		go s.refuse(under, held)
	})
}

// refuse answers requests in the place of the committer, until the drop is over.
func (s *Store) refuse(under *drop, held error) {
	for {
		select {
		case <-under.over:
			return
		case r, ok := <-s.requests:
			if !ok {
				return // only Close goes on, and it does not wait for this
			}
			r.settle(held)
			r.answer() <- held
		}
	}
}

// waitForDrop waits while records are being dropped, which locks readers out, unless that may
// never be over.
func (s *Store) waitForDrop(d *database) error {
	under := d.dropping.Load()
	if under == nil {
		return nil
	}
	select {
	case <-under.over:
		return nil
	case <-under.held:
		return s.away()
	}
}
