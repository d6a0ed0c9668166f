package postgres

import (
	"context"
	"slices"

	"github.com/caddyrelay/caddyrelay/relay"
)

// Commit implements [relay.Store].
func (s *Store) Commit(ctx context.Context, updates []relay.Update) error {
	r := &commitRequest{updates: updates, done: make(chan error, 1)}
	if err := s.submit(ctx, r); err != nil {
		return err
	}
	if len(r.left) > 0 {
		return &relay.NotCarriedError{Subscriptions: r.left}
	}
	return nil
}

// commitRequest is a list of updates on its way.
type commitRequest struct {
	updates []relay.Update
	done    chan error

	left []string // what this relay does not carry
}

func (r *commitRequest) keys(func(*relay.Key)) {}
func (r *commitRequest) alone() bool           { return false }
func (r *commitRequest) settle(error)          {}
func (r *commitRequest) answer() chan error    { return r.done }

// plan implements request.
func (r *commitRequest) plan(_ context.Context, c *committer) error {
	r.left = nil
	for i := range r.updates {
		if u := &r.updates[i]; !c.update(u) {
			r.left = append(r.left, u.Progress.Subscription)
		}
	}
	return nil
}

// update puts one update into the group. It reports false for one of a subscription that
// this relay does not carry, or not any more since the update was made.
func (c *committer) update(u *relay.Update) bool {
	s := c.sub(u.Progress.Subscription)
	head, epoch := s.next.Head, s.next.Epoch
	if c.s.shared && epoch != 0 && (s.next.owner != c.place.me || u.Progress.Epoch != epoch) {
		return false
	}
	c.touch(s)
	s.next.Progress = u.Progress
	s.next.Head, s.next.Epoch = head, epoch
	s.next.Done = slices.Clone(u.Progress.Done)
	c.group.apply(s.id, u)
	return true
}
