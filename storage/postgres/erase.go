package postgres

import (
	"context"

	"github.com/caddyrelay/caddyrelay/relay"
)

// Erase implements [relay.Store]. What is overwritten stays in the files of the server until
// it cleans up (VACUUM), and in its log and backups for as long as those are kept.
func (s *Store) Erase(ctx context.Context, seq relay.Seq, updates []relay.Update) error {
	return s.submit(ctx, &eraseRequest{seq: seq, updates: updates, done: make(chan error, 1)})
}

// eraseRequest takes an event's data away.
type eraseRequest struct {
	seq     relay.Seq
	updates []relay.Update
	done    chan error
}

func (r *eraseRequest) keys(func(*relay.Key)) {}
func (r *eraseRequest) alone() bool           { return true }
func (r *eraseRequest) settle(error)          {}
func (r *eraseRequest) answer() chan error    { return r.done }

const (
	eraseEvent = `update events set erased = coalesce(erased, $2), data = null, size = 0, order_keys = null where seq = $1`
	// An answer often repeats what was sent, and an error may quote it.
	eraseAttempts = `update attempts set excerpt = null, record = (record::jsonb - 'error')::json where seq = $1 and (excerpt is not null or record ->> 'error' is not null)`
	// Ordering keys are made of the data.
	eraseKeys = `update exceptions x set record = (x.record::jsonb - 'key')::json
		from events e, unnest(e.subscriptions, e.positions) as p (subscription, pos)
		where e.seq = $1 and x.subscription = p.subscription and x.first = p.pos and x.last = p.pos and not x.replay and not x.open`
)

// plan implements request. The statements stand behind the updates in the group.
func (r *eraseRequest) plan(ctx context.Context, c *committer) error {
	e, err := c.event(ctx, r.seq)
	if err != nil && !isUnreadable(err) {
		return err
	}
	for i := range r.updates {
		c.update(&r.updates[i])
	}
	if e != nil {
		c.tail.live -= min(c.tail.live, int64(e.Size))
	}
	c.group.add(eraseEvent, int64(r.seq), c.s.clock().UTC())
	c.group.add(eraseAttempts, int64(r.seq))
	c.group.add(eraseKeys, int64(r.seq))
	return nil
}
