package storagetest

import (
	"time"

	"github.com/caddyrelay/caddyrelay/relay"
)

// Freeze stops a member: calls of its store wait, its engine is told nothing, and its lease
// is not renewed. When [Lease] is over, others take over what it carries.
func (s *ClusterStore) Freeze() { s.silence(make(chan struct{}), nil) }

// CutOff is like Freeze, but calls of the store fail at once.
func (s *ClusterStore) CutOff() { s.silence(nil, relay.ErrBroken) }

func (s *ClusterStore) silence(frozen chan struct{}, cut error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.frozen, s.cut = frozen, cut
	s.silent.CompareAndSwap(0, s.cluster.clock().UnixNano())
	s.lease = time.AfterFunc(Lease, s.Lapse)
}

// Lapse ends the lease of a member that is frozen or cut off, as if its time were over.
func (s *ClusterStore) Lapse() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.alive || s.frozen == nil && s.cut == nil {
		return
	}
	s.alive = false
	s.silent.Store(s.cluster.clock().Add(-Lease).UnixNano())
	if names := s.cluster.remove(s); len(names) > 0 {
		s.tell(notice{kind: lost, names: names})
	}
}

// Thaw ends what Freeze or CutOff began. A member whose lease has ended joins anew, and is
// told first what it has lost.
func (s *ClusterStore) Thaw() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.lease.Stop(); s.frozen != nil {
		close(s.frozen)
	}
	s.frozen, s.cut = nil, nil
	s.tell(notice{kind: awake})
	if !s.alive && s.member != nil && !s.closed {
		s.cluster.enter(s)
	}
}

// Err implements [relay.Store].
func (s *ClusterStore) Err() error {
	s.mu.RLock()
	cut := s.cut
	s.mu.RUnlock()
	if cut != nil {
		return cut
	}
	return s.Memory.Err()
}
