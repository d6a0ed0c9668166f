package postgres

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5/pgxpool"
	"go.uber.org/zap"
)

// Configure changes how connections are made from now on: another password or host of the
// same database, another number of connections. The connection that writes stays until it
// fails, and reads under way end as they began.
func (s *Store) Configure(dsn string, maxConns int) error {
	if maxConns == 0 {
		maxConns = DefaultConns
	}
	o := s.current()
	if o.DSN == dsn && o.MaxConns == maxConns {
		return nil
	}
	o.DSN, o.MaxConns = dsn, maxConns
	pool, err := o.newPool()
	if err != nil {
		return fmt.Errorf("changing the connections of the store: %w", err)
	}
	s.mu.Lock()
	s.options = o
	s.mu.Unlock()
	nudge(s.configured)
	old := s.pool.Swap(pool)
	s.retired.Go(old.Close) // it waits for those under way
	s.log.Info("connections to the database are made anew", zap.String("database", s.location))
	return nil
}

// current returns the options as they are now.
func (s *Store) current() Options {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.options
}

func (o *Options) newPool() (*pgxpool.Pool, error) {
	config, err := o.poolConfig()
	if err != nil {
		return nil, err
	}
	return pgxpool.NewWithConfig(context.Background(), config)
}
