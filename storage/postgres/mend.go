package postgres

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"go.uber.org/zap"

	"github.com/caddyrelay/caddyrelay/relay"
)

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

// connect opens the connection that writes, takes the lease and reads the state.
func (c *committer) connect(ctx context.Context) error {
	o := c.s.current()
	config, err := o.writerConfig()
	if err != nil {
		return err
	}
	config.OnNotice = func(conn *pgconn.PgConn, n *pgconn.Notice) { c.notice(conn, n) }
	if c.conn, err = pgx.ConnectConfig(ctx, config); err != nil {
		return explainConnect(err)
	}
	if err := c.begin(ctx); err != nil {
		c.disconnect()
		return err
	}
	return nil
}

func (c *committer) disconnect() {
	if c.conn == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	_ = c.conn.Close(ctx)
	c.conn = nil
}

// begin prepares a new connection.
func (c *committer) begin(ctx context.Context) error {
	o := c.s.current()
	if err := o.checkServer(ctx, c.conn); err != nil {
		return err
	}
	me, err := o.migrate(ctx, c.conn)
	if err != nil {
		return err
	}
	if c.epoch != 0 && me != c.s.identity {
		return fmt.Errorf("%w: it is another store than before: the schema %s was made anew", ErrOtherSchema, o.Schema)
	}
	epoch, end, err := acquire(ctx, c.conn, &o, c.epoch)
	if err != nil {
		return err
	}
	if before := c.s.committed(); end.ordinal < before.ordinal {
		return &LostError{before.ordinal - end.ordinal}
	}
	subs, err := loadSubscriptions(ctx, c.conn)
	if err != nil {
		return fmt.Errorf("reading the subscriptions: %w", err)
	}
	parts, err := loadPartitions(ctx, c.conn, o.Schema)
	if err != nil {
		return fmt.Errorf("reading the partitions: %w", err)
	}
	c.epoch, c.tail, c.partitions, c.renewed = epoch, end, parts, time.Now()
	c.group, c.touched, c.fresh = newGroup(), nil, nil
	c.known, c.freshName = make(map[hash]*known), make(map[string]*sub)
	c.s.identity = me
	c.s.subs.replace(subs)
	c.s.mu.Lock()
	c.s.tail = end
	c.s.mu.Unlock()
	return nil
}

func loadSubscriptions(ctx context.Context, conn *pgx.Conn) (all []*sub, err error) {
	rows, err := conn.Query(ctx, "select id, name, head, progress from subscriptions order by id")
	if err != nil {
		return nil, err
	}
	var id int32
	var name string
	var head int64
	var record []byte
	_, err = pgx.ForEachRow(rows, []any{&id, &name, &head, &record}, func() error {
		u := &sub{id: id, name: name, current: relay.Progress{Subscription: name, Head: uint64(head)}}
		if int(id) != len(all)+1 {
			return fmt.Errorf("the subscriptions are not complete: %q has the number %d and follows %d others; restore a backup", name, id, len(all))
		}
		if err := decodeProgress(record, &u.current); err != nil {
			return fmt.Errorf("the progress of %q: %w", name, err)
		}
		u.next = u.current
		all = append(all, u)
		return nil
	})
	return all, err
}

// mend connects anew, however often it takes, while everybody gets the error that broke the
// store. It reports false if the store is closed meanwhile.
func (c *committer) mend() bool {
	c.disconnect()
	for delay := c.s.times.mendFirst; ; delay = min(2*delay, c.s.times.mendMost) {
		if c.isFinal() {
			delay = time.Hour // nothing helps but a restart
		}
		if !c.refuse(delay) {
			return false
		}
		if c.isFinal() {
			continue
		}
		ctx, cancel := context.WithTimeout(context.Background(), c.s.times.lease)
		err := c.connect(ctx)
		cancel()
		if err == nil {
			c.reopened()
			return true
		}
		c.s.log.Error("the store could not be opened again", zap.Error(err))
		if isFinal(err) {
			c.broken = fmt.Errorf("%w: %w", relay.ErrBroken, err)
			c.s.setFailure(c.broken)
		}
	}
}

func (c *committer) isFinal() bool { return isFinal(c.broken) }

// isFinal reports whether an error is one that this store cannot get over: what the engine
// has in memory is not what is in the database.
func isFinal(err error) bool {
	_, taken := errors.AsType[*TakenOverError](err)
	_, lost := errors.AsType[*LostError](err)
	return taken || lost
}

// refuse answers requests with the error for some time. It reports false if there will be no
// more of them.
func (c *committer) refuse(d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	for {
		select {
		case r, ok := <-c.s.requests:
			if !ok {
				return false
			}
			r.settle(c.broken)
			r.answer() <- c.broken
		case <-timer.C:
			return true
		}
	}
}

// reopened lets the store be used again. Events of the group that failed may turn out to be
// stored; nobody was told so, and they are delivered like others.
func (c *committer) reopened() {
	// Its connections are as dead as the one that writes, most likely.
	c.s.pool.Load().Reset()
	c.s.mu.Lock()
	reopened := c.s.reopened
	c.s.mu.Unlock()
	for _, fn := range reopened {
		fn()
	}
	c.broken = nil
	c.s.setFailure(nil)
	c.s.log.Info("the store is open again and takes events", zap.String("database", c.s.location))
}

// newOwner asks who has the lease now.
func (c *committer) newOwner() (owner string) {
	_ = c.bounded(func(ctx context.Context) error {
		return c.conn.QueryRow(ctx, "select owner from tail").Scan(&owner)
	})
	return owner
}

// end gives the lease back, so that the next one need not wait.
func (c *committer) end() {
	if c.conn != nil && c.broken == nil {
		ctx, cancel := context.WithTimeout(context.Background(), closePatience)
		defer cancel()
		if _, err := c.conn.Exec(ctx, dropLease, c.epoch); err != nil {
			c.s.log.Warn("the lease could not be given back; the next relay waits for its end", zap.Error(err))
		}
	}
	c.disconnect()
}
