package badger

import (
	"context"
	"iter"
	"slices"

	"github.com/caddyrelay/caddyrelay/relay"
)

// Progress implements [relay.Store]. It is answered from memory, in the order in which
// the subscriptions were first used.
func (s *Store) Progress(ctx context.Context) iter.Seq2[relay.Progress, error] {
	return func(yield func(relay.Progress, error) bool) {
		if s.gate.IsShut() {
			yield(relay.Progress{}, relay.ErrClosed)
			return
		}
		for _, p := range s.subs.progress() {
			if err := ctx.Err(); err != nil {
				yield(relay.Progress{}, err)
				return
			}
			if !yield(p, nil) {
				return
			}
		}
	}
}

func (t *table) progress() []relay.Progress {
	t.mu.RLock()
	defer t.mu.RUnlock()
	all := make([]relay.Progress, len(t.byID))
	for i, u := range t.byID {
		all[i] = u.current.progress
		all[i].Done = slices.Clone(all[i].Done)
	}
	return all
}
