package postgres

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"
	"go.uber.org/zap"

	"github.com/caddyrelay/caddyrelay/relay"
)

// A server whose disk is full refuses single statements (SQLSTATE 53100, disk_full): of their
// group nothing was written, and the connection is as good as before. What brings new rows is
// refused from then on, without asking, until there is room for a whole group; outcomes of
// attempts are tried, since they may fit into what the tables have already.

// submitNew is submit for what the store grows by.
func (s *Store) submitNew(ctx context.Context, r request) error {
	if err := s.fullness(); err != nil && !s.gate.IsShut() {
		return err
	}
	return s.submit(ctx, r)
}

// fullness says that the server has no room, or returns nil.
func (s *Store) fullness() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.full
}

func (s *Store) setFullness(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.full = err
}

// ranOut takes an error of a group that was not written since there is no room, and returns
// what its requests are answered. It returns nil for all others.
func (c *committer) ranOut(err error) error {
	if c.broken != nil || !isCode(err, "53100") {
		return nil
	}
	if err := c.bounded(c.unlock); err != nil {
		return nil
	}
	c.undo()
	c.forget()
	full := fmt.Errorf("%w: the disk of the database server is full: %w", relay.ErrFull, err)
	if c.s.fullness() == nil {
		c.s.log.Error("the disk of the database server is full: events are refused until there is room, and deliveries are made as long as their outcomes fit; nothing that was accepted is lost",
			zap.Error(err))
	}
	c.s.setFullness(full)
	c.probed = time.Now()
	return full
}

// lookForRoom finds out now and then whether a server that was full has room again.
func (c *committer) lookForRoom() {
	if c.broken != nil || c.s.fullness() == nil || time.Since(c.probed) < c.s.times.mendMost {
		return
	}
	switch err := c.bounded(c.probe); {
	case err == nil:
		c.s.setFullness(nil)
		c.s.log.Info("the database server has room again; events are taken", zap.String("database", c.s.location))
	case !isCode(err, "53100"):
		c.fail(err)
	}
	c.probed = time.Now()
}

// probe writes as much as a group may have into a table that nobody ever sees.
func (c *committer) probe(ctx context.Context) error {
	const rows = 64
	table := pgx.Identifier{"room" + strconv.Itoa(int(c.place.me))}.Sanitize()
	tx, err := c.conn.Begin(ctx)
	if err != nil {
		return err
	}
	_, err = tx.Exec(ctx, fmt.Sprintf(`create unlogged table %s (fill bytea);
		alter table %[1]s alter column fill set storage external;
		insert into %[1]s select convert_to(repeat('x', %d), 'UTF8') from generate_series(1, %d)`, table, groupWeight/rows, rows),
		pgx.QueryExecModeSimpleProtocol)
	if undone := tx.Rollback(ctx); err == nil {
		err = undone
	}
	return err
}
