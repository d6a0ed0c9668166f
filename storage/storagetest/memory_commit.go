package storagetest

import (
	"context"
	"slices"

	"github.com/caddyrelay/caddyrelay/relay"
)

// Commit implements [relay.Store].
func (m *Memory) Commit(ctx context.Context, updates []relay.Update) error {
	m.writing.Lock()
	defer m.writing.Unlock()
	return m.write(ctx, func(c *content) error {
		if left := m.apply(c, updates); left != nil {
			return &relay.NotCarriedError{Subscriptions: left}
		}
		return nil
	})
}

// apply applies updates, and returns the subscriptions of those that it has left out.
func (m *Memory) apply(c *content, updates []relay.Update) (left []string) {
	for i := range updates {
		u := &updates[i]
		if m.takes == nil || m.takes(u) {
			c.update(u)
		} else {
			left = append(left, u.Progress.Subscription)
		}
	}
	return left
}

func (c *content) update(u *relay.Update) {
	s := c.sub(u.Progress.Subscription)
	head := s.progress.Head
	s.progress = u.Progress
	s.progress.Head = head
	s.progress.Done = slices.Clone(u.Progress.Done)
	// Drop comes first, so that an update can move a replay and at the same time say
	// what became of the delivery at its old beginning.
	for _, from := range u.Drop {
		delete(s.at, from)
		delete(s.replays, from)
	}
	for _, e := range u.Put {
		if e.Kind == relay.Replay {
			s.replays[e.From] = e
		} else {
			s.at[e.From] = e
		}
	}
	for _, a := range u.Attempts {
		d := delivery{a.Seq, u.Progress.Subscription}
		c.attempts[d] = slices.DeleteFunc(c.attempts[d], func(old relay.Attempt) bool {
			return old.Number == a.Number || old.Number == relay.Forgotten(a.Number)
		})
		at, _ := slices.BinarySearchFunc(c.attempts[d], a.Number, func(old relay.Attempt, n int) int { return old.Number - n })
		a.Excerpt = slices.Clone(a.Excerpt)
		c.attempts[d] = slices.Insert(c.attempts[d], at, a.Attempt)
	}
}
