package postgres

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/caddyrelay/caddyrelay/relay"
)

// InUseError means that another relay uses the schema and is alive, and that one of both
// wants it for itself alone.
type InUseError struct {
	// Owner is what the other relay calls itself.
	Owner string
}

func (e *InUseError) Error() string {
	return fmt.Sprintf("another relay uses this schema: %s; stop it first, "+
		"or use a schema of its own, e.g. storage postgres <dsn> { schema other }", e.Owner)
}

// TakenOverError means that another relay has taken the schema from this one, which had it
// for itself alone and was silent for too long. What it still has in memory is out of date.
type TakenOverError struct {
	// Owner is what the other relay calls itself.
	Owner string
}

func (e *TakenOverError) Error() string {
	who := e.Owner
	if who == "" {
		who = "one that has ended since"
	}
	return fmt.Sprintf("another relay has taken over this schema: %s; this one stores nothing more until it is restarted", who)
}

// errGone means that this relay is no member any more.
var errGone = errors.New("the others take this relay for dead")

// errBusy means that somebody else has the row of the tail at present.
var errBusy = errors.New("the row of the tail is locked")

// enterPause is how long is waited before the members are looked at again.
const enterPause = 50 * time.Millisecond

// enter makes this relay a member, or finds that it still is one, and reads the state. One
// that wants the schema for itself waits for those that have died.
func (c *committer) enter(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, c.s.times.lease+c.s.times.commit)
	defer cancel()
	seen := make(map[int32]time.Time)
	for {
		other, err := c.tryEnter(ctx)
		if err == nil && other == nil {
			return nil
		}
		if err != nil && !errors.Is(err, errBusy) {
			return err
		}
		if other != nil {
			if at, ok := seen[other.number]; ok && !at.Equal(other.seen) {
				return &InUseError{other.id}
			}
			seen[other.number] = other.seen
		}
		select {
		case <-time.After(enterPause):
		case <-ctx.Done():
			return fmt.Errorf("waiting for the relays that use the schema: %w", ctx.Err())
		}
	}
}

// tryEnter returns a member that is in the way, if there is one.
func (c *committer) tryEnter(ctx context.Context) (other *member, err error) {
	err = pgx.BeginFunc(ctx, c.conn, func(tx pgx.Tx) error {
		t, err := scanTail(tx.QueryRow(ctx, lockTail))
		if err != nil {
			return err
		}
		members, err := readMembers(ctx, c.conn, &c.s.times)
		if err != nil {
			return fmt.Errorf("reading the members: %w", err)
		}
		if before := c.s.committed(); t.ordinal < before.ordinal {
			return &LostError{before.ordinal - t.ordinal}
		}
		if other, err = c.takePlace(ctx, members, &t); err != nil || other != nil {
			return err
		}
		return c.load(ctx, t)
	})
	switch {
	case isCode(err, "40001", "40P01"):
		return nil, errBusy
	case isCode(err, "55P03"): // lock_timeout
		if err := c.endHolders(ctx); err != nil {
			return nil, err
		}
		return nil, errBusy
	}
	return other, err
}

// takePlace puts this relay among the members, unless one of them is in the way.
func (c *committer) takePlace(ctx context.Context, members []member, t *tail) (other *member, err error) {
	p, times := &c.place, &c.s.times
	p.members = members
	if p.self() != nil {
		// The connection is new, nothing else. But what was sent by the old one may be under way
		// yet, and would put back what is written from now on: it has the epoch of before.
		if err := c.conn.QueryRow(ctx, "update tail set epoch = epoch + 1 returning epoch").Scan(&t.epoch); err != nil {
			return nil, err
		}
		_, err := c.conn.Exec(ctx, returnMember, p.me, times.lease)
		return nil, err
	}
	alone := !c.s.shared
	var dead []int32
	for i := range members {
		m := &members[i]
		switch {
		case !alone && !m.alone:
		case p.me != 0 && alone:
			return nil, &TakenOverError{m.id}
		case !m.dead:
			return m, nil
		default:
			dead = append(dead, m.number)
		}
	}
	if p.me != 0 && alone {
		return nil, &TakenOverError{}
	}
	var number int32
	if err := c.conn.QueryRow(ctx, "update tail set epoch = epoch + 1, members = members + 1 returning members, epoch").Scan(&number, &t.epoch); err != nil {
		return nil, err
	}
	if _, err := c.conn.Exec(ctx, deleteMembers, dead); err != nil {
		return nil, err
	}
	if _, err := c.conn.Exec(ctx, insertMember, number, c.s.id, alone, times.lease); err != nil {
		return nil, err
	}
	p.me = number
	return nil, c.loadMembers(ctx)
}

// load reads the state that is in the database.
func (c *committer) load(ctx context.Context, t tail) error {
	began := time.Now()
	subs, err := loadSubscriptions(ctx, c.conn)
	if err != nil {
		return fmt.Errorf("reading the subscriptions: %w", err)
	}
	if err := c.loadDays(ctx); err != nil {
		return err
	}
	p := &c.place
	p.news = p.news[:0]
	for _, u := range subs {
		if old := c.s.subs.get(u.name); old != nil {
			u.told = old.told
		}
		c.note(u)
	}
	p.renewed, p.looked = began, began
	p.epoch, p.seen, p.free = t.epoch, t.rev, make(map[string]time.Time)
	p.settle()
	c.s.subs.replace(subs)
	c.s.setTail(t)
	c.s.setPlace(p.me)
	c.undo()
	c.forget()
	nudge(c.s.hints)
	return nil
}

// leave gives the place back, with all that this member carries, so that others need not
// wait for the end of its lease.
func (c *committer) leave(ctx context.Context) error {
	b := &pgx.Batch{}
	b.Queue("begin")
	b.Queue("update tail set epoch = epoch + 1, rev = rev + 1")
	b.Queue(`update subscriptions set owner = 0, wanted = 0, spare = false, epoch = epoch + 1, rev = (select rev from tail) where owner = $1`, c.place.me)
	b.Queue(deleteMembers, []int32{c.place.me})
	b.Queue(notify, c.s.channel(), c.place.payload(hintLook))
	b.Queue("commit")
	return c.conn.SendBatch(ctx, b).Close()
}

// expectEarlier waits for a relay of an earlier version, which knows no members and has the
// schema for itself.
func expectEarlier(ctx context.Context, tx pgx.Tx) error {
	var owner string
	var alive bool
	err := tx.QueryRow(ctx, `select owner, owner <> '' and coalesce(until > clock_timestamp(), false) and
		exists (select 1 from pg_stat_activity a where a.pid = backend and (a.backend_start is null or a.backend_start = connected))
		from tail for update`).Scan(&owner, &alive)
	if err == nil && alive {
		err = &InUseError{owner + " (of an earlier version, which shares with no others)"}
	}
	return err
}

// LostError means that the database has less than was acknowledged: it was restored from a
// backup, or a standby took its place that had not got everything.
type LostError struct {
	// Events is how many acknowledged events are missing at least.
	Events uint64
}

func (e *LostError) Error() string {
	return fmt.Sprintf("the database lacks the last %d events that were acknowledged: it was restored, or a standby was promoted that had not got them "+
		"(synchronous_standby_names prevents that); restart the relay to go on without them", e.Events)
}

func loadSubscriptions(ctx context.Context, conn *pgx.Conn) (all []*sub, err error) {
	rows, err := conn.Query(ctx, "select "+subscriptionColumns+" from subscriptions order by id")
	if err != nil {
		return nil, err
	}
	err = scanSubscriptions(rows, func(id int32, name string, r record) error {
		if int(id) != len(all)+1 {
			return fmt.Errorf("the subscriptions are not complete: %q has the number %d and follows %d others; restore a backup", name, id, len(all))
		}
		all = append(all, &sub{id: id, name: name, current: r, next: r})
		return nil
	})
	return all, err
}

const (
	subscriptionColumns = "id, name, head, progress, owner, epoch, wanted, spare, rev"
	selectChanged       = "select " + subscriptionColumns + " from subscriptions where rev > $1 order by id"
)

func scanSubscriptions(rows pgx.Rows, found func(id int32, name string, r record) error) error {
	var id int32
	var name string
	var head, epoch int64
	var raw []byte
	var r record
	_, err := pgx.ForEachRow(rows, []any{&id, &name, &head, &raw, &r.owner, &epoch, &r.wanted, &r.spare, &r.rev}, func() error {
		r.Progress = relay.Progress{Subscription: name, Head: uint64(head), Epoch: uint64(epoch)}
		if err := decodeProgress(raw, &r.Progress); err != nil {
			return fmt.Errorf("the progress of %q: %w", name, err)
		}
		return found(id, name, r)
	})
	return err
}
