package postgres

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"runtime"
	"slices"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"go.uber.org/zap"

	"github.com/caddyrelay/caddyrelay/relay"
)

// request is something to be written. Its methods are called by the committer only, in the
// order in which they stand here.
type request interface {
	// keys are the idempotency keys that it has to know.
	keys(add func(*relay.Key))
	// alone reports whether it reads what others may write, so that it has a group of its
	// own.
	alone() bool
	// plan adds what is to be written to the committer's group, or says why nothing is
	// written. It changes the committer's state only once it cannot fail.
	plan(ctx context.Context, c *committer) error
	// settle is called when the group is committed, or with the error.
	settle(err error)
	// answer is the channel that is sent on at the end.
	answer() chan error
}

// committer is the only writer. It gathers requests into groups.
type committer struct {
	s          *Store
	conn       *pgx.Conn
	epoch      int64
	partitions partitions
	// renewed is when the lease was last renewed.
	renewed time.Time
	// doubtful is set by the server's word that a commit is not where it should be.
	doubtful atomic.Bool

	// broken is the error that every request gets, once there is one.
	broken error

	// The group under way and who waits for it.
	group   group
	waiting []waiter
	// known are idempotency keys that were looked up or added: nil for those that are new.
	known map[hash]*known

	// State as it will be after the group.
	tail      tail
	touched   []*sub
	fresh     []*sub // not in the table yet
	freshName map[string]*sub
}

type waiter struct {
	request request
	err     error // the request's own, from plan
}

// Bounds of a group: rows, and bytes. A request that is larger than that alone has a group
// of its own.
const (
	groupRows   = 4000
	groupWeight = 4 << 20
)

// run takes requests until the channel is closed.
func (c *committer) run() {
	defer close(c.s.stopped)
	renew := time.NewTicker(c.s.times.renew / 2)
	defer renew.Stop()
	for {
		var gathered []request
		select {
		case r, ok := <-c.s.requests:
			if !ok {
				c.end()
				return
			}
			// Those who were just answered come again at once, if they are let.
			runtime.Gosched()
			gathered = c.gather(r)
		case <-renew.C:
			if time.Since(c.renewed) < c.s.times.renew {
				continue
			}
		}
		c.take(gathered)
		if c.broken != nil && !c.mend() {
			c.end()
			return
		}
	}
}

// gather returns r and what else waits.
func (c *committer) gather(r request) []request {
	all := []request{r}
	for len(all) < queueLength {
		select {
		case more, ok := <-c.s.requests:
			if !ok {
				return all
			}
			all = append(all, more)
		default:
			return all
		}
	}
	return all
}

// take plans and commits requests. Without any it renews the lease.
func (c *committer) take(requests []request) {
	if err := c.bounded(func(ctx context.Context) error { return c.lookUp(ctx, requests) }); err != nil {
		c.fail(err)
	}
	for i, r := range requests {
		alone := r.alone()
		if alone || i > 0 && (c.group.rows() >= groupRows || c.group.weight >= groupWeight) {
			c.flush()
		}
		err := c.broken
		if err == nil {
			err = c.bounded(func(ctx context.Context) error { return r.plan(ctx, c) })
		}
		c.waiting = append(c.waiting, waiter{r, err})
		if alone {
			c.flush()
		}
	}
	if len(c.waiting) > 0 || len(requests) == 0 {
		c.flush()
	}
	clear(c.known)
}

// bounded runs what speaks with the server.
func (c *committer) bounded(fn func(ctx context.Context) error) error {
	ctx, cancel := context.WithTimeout(context.Background(), c.s.times.commit)
	defer cancel()
	return fn(ctx)
}

// flush commits the group, publishes the state after it, and answers.
func (c *committer) flush() {
	if c.broken == nil {
		if err := c.bounded(c.commit); err != nil {
			c.fail(err)
		} else {
			c.publish()
		}
	}
	c.group = newGroup()
	// All are settled before the first is answered, and in commit order.
	for i := range c.waiting {
		if w := &c.waiting[i]; c.broken != nil {
			w.err = c.broken
		}
		c.waiting[i].request.settle(c.waiting[i].err)
	}
	for i, w := range c.waiting {
		w.request.answer() <- w.err
		c.waiting[i] = waiter{}
	}
	c.waiting = c.waiting[:0]
}

// fail ends all writing until the state was read from the database again: what of the group
// was committed is not known.
func (c *committer) fail(err error) {
	if c.broken != nil {
		return
	}
	switch {
	case isFenced(err):
		err = &TakenOverError{c.newOwner()}
	case pgconn.Timeout(err):
		// Time goes on for a relay that is frozen: whether another one took over meanwhile
		// is found out by the next connection.
		err = fmt.Errorf("the database has not answered within %s, or this relay stood still: %w", c.s.times.commit, err)
	}
	c.broken = fmt.Errorf("%w: committing a group: %w", relay.ErrBroken, err)
	if isCode(err, "53100") { // disk_full
		c.broken = fmt.Errorf("%w: %w", relay.ErrFull, c.broken)
	}
	c.s.setFailure(c.broken)
	c.s.log.Error("the store has failed and takes no more writes until it is opened again", zap.Error(err))
}

// empty reports whether the group changes nothing.
func (c *committer) empty() bool { return c.group.rows() == 0 && len(c.touched) == 0 }

// commitTries is how often a group is sent that the server could not serialize.
const commitTries = 5

// commit writes the group. A group that changes nothing renews the lease, if it is time.
func (c *committer) commit(ctx context.Context) error {
	if c.empty() && time.Since(c.renewed) < c.s.times.renew {
		return nil
	}
	if err := c.makeRoom(ctx); err != nil {
		return err
	}
	for try := 1; ; try++ {
		began := time.Now()
		err := c.send(ctx)
		if err == nil {
			c.renewed = began
			return nil
		}
		// Only these are sure to have changed nothing, and may succeed when repeated.
		if try == commitTries || !isCode(err, "40001", "40P01") {
			return err
		}
	}
}

// send sends the group's statements together. Without a BEGIN they are one transaction,
// which ends with the last of them.
func (c *committer) send(ctx context.Context) error {
	b := &pgx.Batch{}
	if !c.group.synced {
		// The row in the log of the server is written later: what is lost with a crash is
		// done again.
		b.Queue("select set_config('synchronous_commit', 'off', true)")
	}
	lease := c.s.times.lease
	if c.empty() {
		b.Queue(renewLease, c.epoch, lease)
	} else {
		b.Queue(moveTail, c.epoch, lease, int64(c.tail.last), int64(c.tail.ordinal), c.tail.live)
	}
	if err := c.queueSubscriptions(b); err != nil {
		return err
	}
	if err := c.group.queue(b); err != nil {
		return err
	}
	c.doubtful.Store(false)
	if len(c.fresh) > 0 {
		c.s.subs.expect(c.fresh)
	}
	if err := c.conn.SendBatch(ctx, b).Close(); err != nil {
		return err
	}
	if c.group.synced && c.doubtful.Load() {
		return errors.New("the server has committed without waiting for its standby, as it was told by somebody who cancelled the wait")
	}
	return nil
}

// notice hears what the server says beside its answers.
func (c *committer) notice(_ *pgconn.PgConn, n *pgconn.Notice) {
	if n.Routine == "SyncRepWaitForLSN" {
		c.doubtful.Store(true)
	}
}

// queueSubscriptions writes those that are new, and the progress of those that changed.
func (c *committer) queueSubscriptions(b *pgx.Batch) error {
	var ids []int32
	var names, records []string
	var heads []int64
	add := func(u *sub) error {
		record, err := encodeProgress(&u.next)
		ids = append(ids, u.id)
		names = append(names, column(u.name))
		heads = append(heads, int64(u.next.Head))
		records = append(records, record)
		return err
	}
	for _, u := range c.fresh {
		if err := add(u); err != nil {
			return err
		}
	}
	if len(ids) > 0 {
		b.Queue(insertSubscriptions, ids, names, heads, records)
	}
	ids, names, heads, records = nil, nil, nil, nil
	for _, u := range c.touched {
		if c.freshName[u.name] != nil {
			continue
		}
		if err := add(u); err != nil {
			return err
		}
	}
	if len(ids) > 0 {
		b.Queue(updateSubscriptions, ids, heads, records)
	}
	return nil
}

const (
	insertSubscriptions = `insert into subscriptions (id, name, head, progress)
		select s.id, s.name, s.head, s.progress::json
		from unnest($1::integer[], $2::text[], $3::bigint[], $4::text[]) as s (id, name, head, progress)`
	updateSubscriptions = `update subscriptions u set head = s.head, progress = s.progress::json
		from unnest($1::integer[], $2::bigint[], $3::text[]) as s (id, head, progress) where u.id = s.id`
)

// publish makes what the group changed visible to readers.
func (c *committer) publish() {
	t := &c.s.subs
	t.mu.Lock()
	for _, u := range c.fresh {
		t.add(u)
	}
	t.coming = nil
	for _, u := range c.touched {
		u.current = u.next
		u.touched = false
	}
	t.mu.Unlock()
	c.s.mu.Lock()
	c.s.tail = c.tail
	c.s.mu.Unlock()
	clear(c.touched)
	clear(c.freshName)
	c.touched, c.fresh = c.touched[:0], c.fresh[:0]
}

// sub returns the subscription of that name, or makes it.
func (c *committer) sub(name string) *sub {
	if u := c.find(name); u != nil {
		return u
	}
	u := &sub{
		id:   int32(len(c.s.subs.all()) + len(c.fresh) + 1),
		name: name,
		next: relay.Progress{Subscription: name},
	}
	c.fresh = append(c.fresh, u)
	c.freshName[name] = u
	c.touch(u)
	return u
}

// find returns the subscription of that name, or nil.
func (c *committer) find(name string) *sub {
	if u := c.s.subs.get(name); u != nil {
		return u
	}
	return c.freshName[name]
}

// byID returns a subscription that may be of this group.
func (c *committer) byID(id int32) (*sub, error) {
	all := c.s.subs.all()
	if n := int(id) - len(all) - 1; n >= 0 && n < len(c.fresh) {
		return c.fresh[n], nil
	}
	return named(all, id)
}

// touch notes that u.next has changed.
func (c *committer) touch(u *sub) {
	if !u.touched {
		u.touched = true
		c.touched = append(c.touched, u)
	}
}

// lookUp finds out which of the requests' idempotency keys were stored before: one question
// for all of them.
func (c *committer) lookUp(ctx context.Context, requests []request) error {
	var asked map[hash]bool
	for _, r := range requests {
		r.keys(func(k *relay.Key) {
			if asked == nil {
				asked = make(map[hash]bool)
			}
			asked[k.Hash()] = true
		})
	}
	if len(asked) == 0 || c.broken != nil {
		return nil
	}
	hashes := make([][]byte, 0, len(asked))
	for h := range maps.Keys(asked) {
		hashes = append(hashes, slices.Clone(h[:]))
	}
	return c.loadKeys(ctx, hashes)
}
