package postgres

import (
	"context"
	"slices"

	"github.com/caddyrelay/caddyrelay/relay"
)

// Commit implements [relay.Store].
func (s *Store) Commit(ctx context.Context, updates []relay.Update) error {
	return s.submit(ctx, &commitRequest{updates, make(chan error, 1)})
}

// commitRequest is a list of updates on its way.
type commitRequest struct {
	updates []relay.Update
	done    chan error
}

func (r *commitRequest) keys(func(*relay.Key)) {}
func (r *commitRequest) alone() bool           { return false }
func (r *commitRequest) settle(error)          {}
func (r *commitRequest) answer() chan error    { return r.done }

// plan implements request.
func (r *commitRequest) plan(_ context.Context, c *committer) error {
	for i := range r.updates {
		c.update(&r.updates[i])
	}
	return nil
}

// update puts one update into the group.
func (c *committer) update(u *relay.Update) {
	s := c.sub(u.Progress.Subscription)
	c.touch(s)
	head := s.next.Head
	s.next = u.Progress
	s.next.Head = head
	s.next.Done = slices.Clone(u.Progress.Done)
	c.group.apply(s.id, u)
}
