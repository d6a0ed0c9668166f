package storagetest

import (
	"context"

	"github.com/caddyrelay/caddyrelay/relay"
)

// takes reports whether an update is the member's to make. The caller holds the lock.
func (s *ClusterStore) takes(u *relay.Update) bool {
	name := u.Progress.Subscription
	now := s.content.sub(name).progress.Epoch
	return u.Progress.Epoch == now && (now == 0 || s.cluster.owners[name] == s)
}

// tellOthers tells the other members of subscriptions that this one has changed.
func (s *ClusterStore) tellOthers(names []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.cluster.changed(s, names)
}

// Append implements [relay.Store].
func (s *ClusterStore) Append(ctx context.Context, b relay.Batch, stored func([]*relay.Event)) ([]relay.Receipt, error) {
	if err := s.pass(ctx); err != nil {
		return nil, err
	}
	return s.Memory.Append(ctx, b, func(events []*relay.Event) {
		var names []string
		for _, e := range events {
			for _, p := range e.Deliveries {
				names = append(names, p.Subscription)
			}
		}
		s.tellOthers(names)
		if stored != nil {
			stored(events)
		}
	})
}

// Place implements [relay.Store].
func (s *ClusterStore) Place(ctx context.Context, seq relay.Seq, to relay.Target, placed func(*relay.Event)) error {
	if err := s.pass(ctx); err != nil {
		return err
	}
	return s.Memory.Place(ctx, seq, to, func(e *relay.Event) {
		s.tellOthers([]string{to.Subscription})
		placed(e)
	})
}

// Erase implements [relay.Store].
func (s *ClusterStore) Erase(ctx context.Context, seq relay.Seq, updates []relay.Update) error {
	if err := s.pass(ctx); err != nil {
		return err
	}
	defer s.tellOthers(namesOf(updates))
	return s.Memory.Erase(ctx, seq, updates)
}

// Commit implements [relay.Store].
func (s *ClusterStore) Commit(ctx context.Context, updates []relay.Update) error {
	if err := s.pass(ctx); err != nil {
		return err
	}
	defer s.tellOthers(namesOf(updates))
	return s.Memory.Commit(ctx, updates)
}

func namesOf(updates []relay.Update) (names []string) {
	for i := range updates {
		names = append(names, updates[i].Progress.Subscription)
	}
	return names
}

// SwapNote implements [relay.Notes].
func (s *ClusterStore) SwapNote(ctx context.Context, name string, old, value []byte) (bool, error) {
	if err := s.pass(ctx); err != nil {
		return false, err
	}
	return s.Memory.SwapNote(ctx, name, old, value)
}

// Trim implements [relay.Store]: the first of the members does it.
func (s *ClusterStore) Trim(ctx context.Context, p relay.TrimPolicy) (relay.Trimmed, error) {
	if err := s.pass(ctx); err != nil {
		return relay.Trimmed{}, err
	}
	s.mu.RLock()
	others := len(s.cluster.members) > 0 && s.cluster.members[0] != s
	s.mu.RUnlock()
	if others {
		return relay.Trimmed{}, nil
	}
	return s.Memory.Trim(ctx, p)
}
