package postgres

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/caddyrelay/caddyrelay/relay"
)

// writeTries is how often a group is planned that could not be written, and of which nothing
// was.
const writeTries = 5

// errAgain means that nothing was written, and that the same may be tried again.
var errAgain = errors.New("the group has to be planned again")

// write plans the first of these requests, as many as make a group, and commits it. It
// returns how many these were.
func (c *committer) write(ctx context.Context, requests []request) (n int, err error) {
	for try, repeated := 1, false; ; try++ {
		n, err = c.writeOnce(ctx, requests)
		if err == nil || c.broken != nil {
			return n, err
		}
		again, mended := c.repeatable(ctx, err)
		switch {
		case mended != nil:
			return 0, mended
		case !again || try == writeTries:
			return 0, err
		}
		c.undo()
		c.forget()
		repeated = repeated || isRepeated(err)
		c.group.again = repeated
	}
}

// repeatable reports whether an error is one after which nothing was written for sure, so
// that a group may be planned anew, and prepares that.
func (c *committer) repeatable(ctx context.Context, err error) (bool, error) {
	switch {
	case isFenced(err), isWithoutDay(err), isRepeated(err), errors.Is(err, errGone), errors.Is(err, errAgain), isCode(err, "40001", "40P01", "55P03"):
	default:
		return false, nil
	}
	if err := c.unlock(ctx); err != nil {
		return false, err
	}
	switch {
	case isFenced(err): // somebody has come
		c.place.solo, c.place.epoch = false, unknownEpoch
	case isWithoutDay(err): // another relay has dropped it
		return true, c.loadDays(ctx)
	case errors.Is(err, errGone):
		return true, c.enter(ctx)
	case isCode(err, "55P03"): // lock_timeout
		return true, c.endHolders(ctx)
	}
	return true, nil
}

func (c *committer) writeOnce(ctx context.Context, requests []request) (n int, err error) {
	if _, govern := requests[0].(*governRequest); govern || !c.place.solo {
		err = c.lock(ctx, requests)
	} else {
		err = c.seek(ctx, requests)
	}
	if err != nil {
		return 0, err
	}
	if n, err = c.plan(ctx, requests); err != nil {
		return n, err
	}
	if err := c.makeRoom(ctx); err != nil {
		return 0, err
	}
	if err := c.send(ctx); err != nil {
		return 0, err
	}
	c.publish()
	for _, w := range c.waiting {
		if f, ok := w.request.(finisher); ok && w.err == nil {
			f.finish(ctx, c)
		}
	}
	return n, nil
}

// finisher is a request with something to be done once its group is committed.
type finisher interface {
	finish(ctx context.Context, c *committer)
}

// plan plans requests until the group is full.
func (c *committer) plan(ctx context.Context, requests []request) (int, error) {
	for i, r := range requests {
		if i > 0 && (r.alone() || requests[i-1].alone() || c.group.rows() >= groupRows || c.group.weight >= groupWeight) {
			return i, nil
		}
		err := r.plan(ctx, c)
		switch {
		case c.broken != nil:
			return 0, c.broken
		case c.strange:
			c.strange, c.place.solo, c.place.epoch = false, false, unknownEpoch
			return 0, errAgain
		}
		c.waiting = append(c.waiting, waiter{r, err})
	}
	return len(requests), nil
}

// seek finds out which of the requests' idempotency keys were stored before: one question
// for all of them.
func (c *committer) seek(ctx context.Context, requests []request) error {
	if c.sought {
		return nil
	}
	c.sought = true
	if hashes := hashesOf(requests); len(hashes) > 0 {
		return c.loadKeys(ctx, hashes)
	}
	return nil
}

func hashesOf(requests []request) [][]byte {
	var asked map[hash]bool
	for _, r := range requests {
		r.keys(func(k *relay.Key) {
			if asked == nil {
				asked = make(map[hash]bool)
			}
			asked[k.Hash()] = true
		})
	}
	hashes := make([][]byte, 0, len(asked))
	for h := range maps.Keys(asked) {
		hashes = append(hashes, slices.Clone(h[:]))
	}
	return hashes
}

const lockTail = `select last, ordinal, live, epoch, rev from tail for update`

// lock begins a transaction that has the row of the tail, brings the state up to date with
// what other members have written, and looks up the requests' idempotency keys.
func (c *committer) lock(ctx context.Context, requests []request) error {
	c.forget()
	b := &pgx.Batch{}
	b.Queue("begin")
	b.Queue(lockTail).QueryRow(func(row pgx.Row) (err error) { c.tail, err = scanTail(row); return err })
	b.Queue(selectChanged, c.place.seen).Query(c.learn)
	if hashes := hashesOf(requests); len(hashes) > 0 {
		b.Queue(selectKeys, hashes).Query(c.scanKeys)
	}
	c.locked = true
	if err := c.conn.SendBatch(ctx, b).Close(); err != nil {
		return err
	}
	c.s.setTail(c.tail)
	c.place.seen = c.tail.rev
	if c.tail.epoch == c.place.epoch {
		return nil
	}
	if err := c.loadMembers(ctx); err != nil {
		return err
	}
	if c.place.self() == nil {
		return errGone
	}
	c.place.epoch = c.tail.epoch
	return nil
}

func scanTail(row pgx.Row) (t tail, err error) {
	var last, ordinal int64
	err = row.Scan(&last, &ordinal, &t.live, &t.epoch, &t.rev)
	t.last, t.ordinal = relay.Seq(last), uint64(ordinal)
	return t, err
}

// unlock ends the transaction without writing, if there is one.
func (c *committer) unlock(ctx context.Context) error {
	if !c.locked {
		return nil
	}
	c.locked = false
	_, err := c.conn.Exec(ctx, "rollback")
	return err
}

// makeRoom makes the partitions that the group needs: apart from it, and before, since what
// is made and not used does no harm.
func (c *committer) makeRoom(ctx context.Context) error {
	missing := c.missing()
	if len(missing) == 0 {
		return nil
	}
	locked := c.locked
	if err := c.unlock(ctx); err != nil {
		return err
	}
	for _, m := range missing {
		if err := c.makePartition(ctx, m.table, m.day); err != nil {
			return err
		}
	}
	if locked {
		return errAgain
	}
	return nil
}

// empty reports whether the group changes nothing.
func (c *committer) empty() bool {
	written := c.locked && c.group.written
	return c.group.rows() == 0 && len(c.touched) == 0 && !written
}

const (
	// fence lets nothing be written under another epoch than that of the members who are known.
	fence    = `epoch = case when epoch = $1 then epoch else -1 end`
	moveTail = `update tail set ` + fence + `, last = $2, ordinal = $3, live = $4`
	// putTail is for who has the lock.
	putTail = `update tail set epoch = $1, last = $2, ordinal = $3, live = $4, rev = $5`
	notify  = `select pg_notify($1, $2)`
)

// send sends the group's statements together. Without a BEGIN they are one transaction,
// which ends with the last of them.
func (c *committer) send(ctx context.Context) error {
	if c.empty() {
		return c.unlock(ctx)
	}
	b := &pgx.Batch{}
	if !c.group.synced {
		// The row in the log of the server is written later: what is lost with a crash is
		// done again.
		b.Queue("select set_config('synchronous_commit', 'off', true)")
	}
	if c.locked {
		c.tail.rev++
		b.Queue(putTail, c.tail.epoch, int64(c.tail.last), int64(c.tail.ordinal), c.tail.live, c.tail.rev)
	} else {
		b.Queue(moveTail, c.place.epoch, int64(c.tail.last), int64(c.tail.ordinal), c.tail.live)
	}
	if err := c.queueSubscriptions(b); err != nil {
		return err
	}
	if err := c.group.queue(b); err != nil {
		return err
	}
	if c.locked {
		if c.group.hint {
			b.Queue(notify, c.s.channel(), c.place.payload(hintLook))
		}
		b.Queue("commit")
	}
	c.doubtful.Store(false)
	if len(c.fresh) > 0 {
		c.s.subs.expect(c.fresh)
	}
	c.conn.PgConn().Frontend().Send(width(c.group.weight))
	if err := c.conn.SendBatch(ctx, b).Close(); err != nil {
		return err
	}
	c.locked = false
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

// publish makes what the group changed visible to readers, and tells the engine what others
// have changed before it.
func (c *committer) publish() {
	c.tell()
	t := &c.s.subs
	t.mu.Lock()
	for _, u := range c.fresh {
		t.add(u)
	}
	t.coming = nil
	for _, u := range c.touched {
		if u.current.owner != u.next.owner || u.current.Epoch != u.next.Epoch {
			c.note(u)
		}
		u.current = u.next
		u.touched = false
	}
	t.mu.Unlock()
	c.s.setTail(c.tail)
	clear(c.touched)
	clear(c.freshName)
	c.touched, c.fresh = c.touched[:0], c.fresh[:0]
	c.group = newGroup()
	c.place.epoch, c.place.seen = c.tail.epoch, c.tail.rev
	c.place.settle()
}

const (
	insertSubscriptions = `insert into subscriptions (id, name, head, progress, owner, epoch, wanted, spare, rev)
		select s.id, s.name, s.head, s.progress::json, s.owner, s.epoch, s.wanted, s.spare, $9
		from unnest($1::integer[], $2::text[], $3::bigint[], $4::text[], $5::integer[], $6::bigint[], $7::integer[], $8::boolean[])
		as s (id, name, head, progress, owner, epoch, wanted, spare)`
	updateSubscriptions = `update subscriptions u set head = s.head, progress = s.progress::json
		from unnest($1::integer[], $2::bigint[], $3::text[]) as s (id, head, progress) where u.id = s.id`
	// moveSubscriptions says what others have to know, too. Alone one does without: an index
	// is to be changed with each row.
	moveSubscriptions = `update subscriptions u set head = s.head, progress = s.progress::json,
		owner = s.owner, epoch = s.epoch, wanted = s.wanted, spare = s.spare, rev = $8
		from unnest($1::integer[], $2::bigint[], $3::text[], $4::integer[], $5::bigint[], $6::integer[], $7::boolean[])
		as s (id, head, progress, owner, epoch, wanted, spare) where u.id = s.id`
)

// subColumns are subscriptions by columns.
type subColumns struct {
	ids            []int32
	names, records []string
	heads, epochs  []int64
	owners, wanted []int32
	spare          []bool
}

func (s *subColumns) add(u *sub) error {
	record, err := encodeProgress(&u.next.Progress)
	s.ids, s.names, s.records = append(s.ids, u.id), append(s.names, column(u.name)), append(s.records, record)
	s.heads, s.epochs = append(s.heads, int64(u.next.Head)), append(s.epochs, int64(u.next.Epoch))
	s.owners, s.wanted, s.spare = append(s.owners, u.next.owner), append(s.wanted, u.next.wanted), append(s.spare, u.next.spare)
	return err
}

// queueSubscriptions writes those that are new, and the progress of those that changed.
func (c *committer) queueSubscriptions(b *pgx.Batch) error {
	var fresh, changed subColumns
	for _, u := range c.touched {
		to := &changed
		if c.freshName[u.name] != nil {
			to = &fresh
		}
		if err := to.add(u); err != nil {
			return err
		}
		// Whoever makes the deliveries is to know of what has come.
		if c.locked && u.next.owner != c.place.me && u.next.Head != u.current.Head {
			c.group.hint = true
		}
	}
	if s := &fresh; len(s.ids) > 0 {
		b.Queue(insertSubscriptions, s.ids, s.names, s.heads, s.records, s.owners, s.epochs, s.wanted, s.spare, c.tail.rev)
	}
	switch s := &changed; {
	case len(s.ids) == 0:
	case c.locked:
		b.Queue(moveSubscriptions, s.ids, s.heads, s.records, s.owners, s.epochs, s.wanted, s.spare, c.tail.rev)
	default:
		b.Queue(updateSubscriptions, s.ids, s.heads, s.records)
	}
	return nil
}

// endHolders ends the connections of members that have the row of the tail locked and say
// nothing: otherwise a relay that is frozen would stop the others.
func (c *committer) endHolders(ctx context.Context) error {
	_, err := c.conn.Exec(ctx, endHolders, c.s.times.commit/6)
	if err != nil {
		return fmt.Errorf("ending the connection of a relay that is frozen: %w", err)
	}
	return nil
}

const endHolders = `select pg_terminate_backend(a.pid) from pg_stat_activity a join members m on a.pid = m.backend and a.backend_start = m.connected
	where a.pid <> pg_backend_pid() and a.wait_event_type = 'Client' and a.xact_start < clock_timestamp() - $1::interval`

// payload is what a notification says: who sent it, and what it is about.
func (p *place) payload(kind string) string { return strconv.Itoa(int(p.me)) + " " + kind }

// hintPause is the least time between two looks that were asked for by hints.
const hintPause = 10 * time.Millisecond
