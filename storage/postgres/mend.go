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

// connect opens the connection that writes, enters among the members and reads the state.
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
	wideArrays(c.conn.TypeMap())
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
	if c.place.me != 0 && me != c.s.identity {
		return fmt.Errorf("%w: it is another store than before: the schema %s was made anew", ErrOtherSchema, o.Schema)
	}
	c.s.identity = me
	return c.enter(ctx)
}

// mend connects anew, however often it takes, while everybody gets the error that broke the
// store. It reports false if the store is closed meanwhile.
func (c *committer) mend() bool {
	c.s.setUntil(time.Time{})
	c.disconnect()
	c.locked = false
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
		c.place.returned = time.Now()
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
	c.tell()
	c.s.reopening.Store(true)
	for _, fn := range reopened {
		fn()
	}
	c.s.reopening.Store(false)
	c.broken = nil
	c.s.setFailure(nil)
	c.s.log.Info("the store is open again and takes events", zap.String("database", c.s.location))
}

// end gives the place back, so that others need not wait.
func (c *committer) end() {
	if c.conn != nil && c.broken == nil {
		ctx, cancel := context.WithTimeout(context.Background(), closePatience)
		defer cancel()
		if err := c.leave(ctx); err != nil {
			c.s.log.Warn("the lease could not be given back; other relays wait for its end", zap.Error(err))
		}
	}
	c.disconnect()
}
