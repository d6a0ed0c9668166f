package postgres

import (
	"context"

	"github.com/jackc/pgx/v5"

	"github.com/caddyrelay/caddyrelay/relay"
)

const (
	selectOpen = `select first, last, record from exceptions
		where subscription = $1 and open and first > $2 order by first, replay limit $3`
	// selectCovering finds the exceptions that cover a position: its own, then a span that
	// begins before it, then a replay.
	selectCovering = `
		(select first, last, record, 0 as rank from exceptions where subscription = $1 and not replay and first = $2)
		union all
		(select first, last, record, 1 from exceptions
			where subscription = $1 and not replay and first < $2 and last > first and last >= $2 order by first desc limit 1)
		union all
		(select first, last, record, 2 from exceptions
			where subscription = $1 and replay and first <= $2 and last >= $2 order by first desc limit 1)
		order by rank limit 1`
)

// Open implements [relay.Store].
func (s *Store) Open(ctx context.Context, subscription string, after uint64, limit int) (open []relay.Exception, err error) {
	u := s.subs.get(subscription)
	if u == nil || limit <= 0 || after>>63 != 0 {
		return nil, s.check(ctx)
	}
	err = s.read(ctx, func(ctx context.Context, conn *pgx.Conn) error {
		// One more than the limit, so that the cut is seen.
		open, err = readExceptions(ctx, conn, selectOpen, u.id, int64(after), limit+1)
		return err
	})
	if err != nil {
		return nil, err
	}
	return relay.CutOpen(open, limit), nil
}

func readExceptions(ctx context.Context, conn *pgx.Conn, sql string, args ...any) (all []relay.Exception, err error) {
	rows, err := conn.Query(ctx, sql, args...)
	if err != nil {
		return nil, err
	}
	var first, last int64
	var record []byte
	_, err = pgx.ForEachRow(rows, []any{&first, &last, &record}, func() error {
		x, err := decodeException(first, last, record)
		all = append(all, x)
		return err
	})
	return all, err
}

// Exception implements [relay.Store].
func (s *Store) Exception(ctx context.Context, subscription string, pos uint64) (found relay.Exception, ok bool, err error) {
	u := s.subs.get(subscription)
	if u == nil || pos>>63 != 0 {
		return relay.Exception{}, false, s.check(ctx)
	}
	err = s.read(ctx, func(ctx context.Context, conn *pgx.Conn) error {
		all, err := readExceptions(ctx, conn, "select first, last, record from ("+selectCovering+") c", u.id, int64(pos))
		if len(all) > 0 {
			found, ok = all[0], true
		}
		return err
	})
	return found, ok, err
}
