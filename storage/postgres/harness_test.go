package postgres

import (
	"context"
	"net"
	"testing"

	"github.com/caddyrelay/caddyrelay/relay"
)

// solitary is a request of a test, with a group of its own.
type solitary struct{}

func (solitary) keys(func(*relay.Key)) {}
func (solitary) alone() bool           { return true }
func (solitary) settle(error)          {}
func (solitary) answer() chan error    { return make(chan error, 1) }

// killing cuts the connection of the committer.
type killing struct{ solitary }

func (killing) plan(_ context.Context, c *committer) error {
	_ = c.conn.PgConn().Conn().Close()
	return c.spoil(net.ErrClosed)
}

// abandon does to a store what kill -9 does: its connections end, and it says nothing.
func (s *Store) abandon() {
	s.stop()
	s.gate.Close()
	s.requests <- killing{}
	close(s.requests)
	<-s.stopped
	s.background.Wait()
	s.pool.Load().Close()
}

// holding freezes the committer while it has the row of the tail.
type holding struct {
	solitary
	held, release chan struct{}
}

func (h *holding) plan(ctx context.Context, c *committer) error {
	tx, err := c.conn.Begin(ctx)
	if err == nil {
		_, err = tx.Exec(ctx, lockTail)
	}
	close(h.held)
	<-h.release
	if err != nil {
		return c.spoil(err)
	}
	return c.spoil(tx.Commit(context.Background()))
}

// asking asks the server by the connection that writes.
type asking struct {
	solitary
	sql   string
	reply *string
}

func (a *asking) plan(ctx context.Context, c *committer) error {
	return c.conn.QueryRow(ctx, a.sql).Scan(a.reply)
}

// watching tells whether the relay has looked at the members since it entered.
type watching struct {
	solitary
	looked chan bool
}

func (w *watching) plan(_ context.Context, c *committer) error {
	w.looked <- c.place.looked.After(c.place.renewed)
	return nil
}

// awaitLook waits until the relay has looked at the members, as it does soon after it has
// entered: one that renews nothing asks the server for nothing of its own accord after that.
func awaitLook(t *testing.T, s *Store) {
	t.Helper()
	eventually(t, "the relay looks at the members", func() bool {
		w := &watching{looked: make(chan bool, 1)}
		s.requests <- w
		return <-w.looked
	})
}
