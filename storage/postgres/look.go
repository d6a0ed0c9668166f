package postgres

import (
	"context"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/caddyrelay/caddyrelay/relay"
)

// look renews the lease, and finds out who else is there and what they have changed. Then it
// does what is to be done about who carries what.
func (c *committer) look() {
	if c.broken != nil {
		return
	}
	if err := c.bounded(c.lookOnce); err != nil {
		if c.ranOut(err) == nil {
			c.fail(err)
		}
		return
	}
	// Once more, since what was given back may be to be taken.
	for range 2 {
		if !c.s.shared || !c.governs() {
			break
		}
		if c.take([]request{&governRequest{done: make(chan error, 1)}}); c.broken != nil {
			return
		}
	}
	c.tell()
	c.askBack()
	if c.s.shared {
		// Whoever reads this may begin attempts: all that was lost is told by now.
		c.s.setUntil(c.place.renewed.Add(c.s.times.carried()))
	}
}

// lookOnce asks for what look needs. It is one question.
func (c *committer) lookOnce(ctx context.Context) error {
	p, times := &c.place, &c.s.times
	began := time.Now()
	b := &pgx.Batch{}
	renewing, member := began.Sub(p.renewed) >= times.renew, true
	if renewing {
		b.Queue("select set_config('synchronous_commit', 'off', true)")
		b.Queue(renewMember, p.me, times.lease).Exec(func(tag pgconn.CommandTag) error { member = tag.RowsAffected() == 1; return nil })
	}
	var t tail
	b.Queue(`select last, ordinal, live, epoch, rev from tail`).QueryRow(func(row pgx.Row) (err error) { t, err = scanTail(row); return err })
	b.Queue(selectMembers, times.vanished).Query(func(rows pgx.Rows) (err error) { p.members, err = scanMembers(rows); return err })
	if !p.solo {
		b.Queue(selectChanged, p.seen).Query(c.learn)
	}
	if err := c.conn.SendBatch(ctx, b).Close(); err != nil {
		return err
	}
	if !p.solo {
		c.tail = t
		c.s.setTail(t)
		p.seen = t.rev
	}
	if t.epoch != p.epoch {
		p.solo, p.epoch = false, unknownEpoch
	}
	c.s.setMembers(p.members)
	p.looked = time.Now()
	if renewing {
		p.renewed = began
	}
	if !member || p.self() == nil {
		return c.enter(ctx)
	}
	return nil
}

// learn takes subscriptions that others have changed.
func (c *committer) learn(rows pgx.Rows) error {
	return scanSubscriptions(rows, func(id int32, name string, r record) error {
		u, err := c.s.subs.learn(id, name, r)
		if err == nil {
			c.note(u)
		}
		return err
	})
}

// note says that the engine is to be told of a subscription.
func (c *committer) note(u *sub) {
	if !u.news {
		u.news = true
		c.place.news = append(c.place.news, u)
	}
}

// tell tells the engine what has changed, once there is one.
func (c *committer) tell() {
	m := c.s.engine()
	if m == nil || len(c.place.news) == 0 {
		return
	}
	var lost []string
	var gained, changed []relay.Progress
	for _, u := range c.place.news {
		u.news = false
		mine := u.current.owner == c.place.me
		if u.told != 0 && (!mine || u.told != u.current.Epoch) {
			lost, u.told = append(lost, u.name), 0
		}
		if mine && u.told == 0 {
			gained, u.told = append(gained, u.current.copied()), u.current.Epoch
		} else {
			changed = append(changed, u.current.copied())
		}
	}
	c.place.news = c.place.news[:0]
	c.s.setTold(gained, lost)
	if len(lost) > 0 {
		c.s.setUntil(time.Time{}) // until the next look
		nudge(c.s.hints)
		m.Lost(lost)
	}
	if len(gained) > 0 {
		m.Carry(gained)
	}
	if len(changed) > 0 {
		m.Learn(changed)
	}
}

// askBack asks the engine for what others would like to have, again and again.
func (c *committer) askBack() {
	m := c.s.engine()
	if m == nil || c.place.solo || time.Since(c.place.asked) < c.s.times.renew {
		return
	}
	var names []string
	for _, u := range c.s.subs.all() {
		if r := &u.current; u.told != 0 && r.owner == c.place.me && r.wanted != c.place.me && c.place.alive(r.wanted) {
			names = append(names, u.name)
		}
	}
	if len(names) > 0 {
		c.place.asked = time.Now()
		slices.Sort(names)
		m.Yield(names)
	}
}

// gone reports whether what a member carries may be taken over: it has no row any more, or
// its lease has ended. Where this relay itself was cut off from the database, the others
// may have been so, too: they get the time to come back.
func (c *committer) gone(number int32) bool {
	m := c.place.member(number)
	return m == nil || m.dead && (c.place.returned.IsZero() || time.Since(c.place.returned) >= c.s.times.vanished)
}
