package postgres

import (
	"context"
	"iter"
	"math"

	"github.com/jackc/pgx/v5"

	"github.com/caddyrelay/caddyrelay/relay"
)

// Progress implements [relay.Store], in the order in which the subscriptions were first used.
// It is answered from memory, unless there are others who may have changed something just now.
func (s *Store) Progress(ctx context.Context) iter.Seq2[relay.Progress, error] {
	return func(yield func(relay.Progress, error) bool) {
		if s.gate.IsShut() {
			yield(relay.Progress{}, relay.ErrClosed)
			return
		}
		all, err := s.progress(ctx)
		if err != nil {
			yield(relay.Progress{}, err)
			return
		}
		for _, p := range all {
			if err := ctx.Err(); err != nil {
				yield(relay.Progress{}, err)
				return
			}
			if !yield(p, nil) {
				return
			}
		}
	}
}

func (s *Store) progress(ctx context.Context) (all []relay.Progress, err error) {
	if !s.others() || s.reopening.Load() {
		return s.subs.progress(), nil
	}
	err = s.read(ctx, func(ctx context.Context, conn *pgx.Conn) error {
		subs, err := loadSubscriptions(ctx, conn)
		all = make([]relay.Progress, len(subs))
		for i, u := range subs {
			all[i] = u.current.Progress
		}
		return err
	})
	return all, err
}

// upTo returns a subscription and the highest position that can be read. Where there are
// others, that is what the database has; otherwise what is not committed as far as is known
// here is not shown.
func (s *Store) upTo(name string) (*sub, uint64) {
	u, head := s.subs.head(name)
	if s.others() {
		return u, math.MaxInt64
	}
	return u, head
}

// selectEntries reads a part of a log, from which the size of each event is known before its
// data is read.
const selectEntries = `select l.pos, ` + eventColumns + `, e.data
	from (select pos, seq, sum(size) over (order by pos) as total, row_number() over (order by pos) as place
		from (select pos, seq, size from log where subscription = $1 and pos > $2 and pos <= $3 order by pos limit $4) part) l
	join events e on e.seq = l.seq
	where l.place = 1 or l.total <= $5
	order by l.pos`

// Read implements [relay.Store].
func (s *Store) Read(ctx context.Context, subscription string, after uint64, limit, maxBytes int) (entries []relay.Entry, err error) {
	u, head := s.upTo(subscription)
	if u == nil || limit <= 0 || after >= head {
		return nil, s.check(ctx)
	}
	err = s.read(ctx, func(ctx context.Context, conn *pgx.Conn) error {
		entries = nil
		rows, err := conn.Query(ctx, selectEntries, u.id, int64(after), int64(head), limit, maxBytes)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var pos int64
			var row eventRow
			if err := rows.Scan(append(append([]any{&pos}, row.columns()...), &row.data)...); err != nil {
				return err
			}
			e, err := row.event(s.identity.tag, s.find)
			if err != nil {
				if len(entries) > 0 {
					return nil
				}
				return &relay.UnreadableError{Pos: uint64(pos), Seq: relay.Seq(row.seq), Err: err}
			}
			entries = append(entries, relay.Entry{Pos: uint64(pos), Event: e})
		}
		return rows.Err()
	})
	if isDamaged(err) {
		return s.readAround(ctx, u, after, head)
	}
	if err != nil {
		return nil, err
	}
	return entries, nil
}

// readAround reads a single entry, since the server cannot read some of those asked for.
func (s *Store) readAround(ctx context.Context, u *sub, after, head uint64) (entries []relay.Entry, err error) {
	var next []relay.LogEntry
	err = s.read(ctx, func(ctx context.Context, conn *pgx.Conn) (err error) {
		next, err = readLog(ctx, conn, "select pos, seq from log where subscription = $1 and pos > $2 and pos <= $3 order by pos limit 1",
			u.id, int64(after), int64(head))
		if err != nil || len(next) == 0 {
			return err
		}
		e, err := readEvent(ctx, conn, next[0].Seq, s.identity.tag, s.find)
		if isUnreadable(err) {
			return &relay.UnreadableError{Pos: next[0].Pos, Seq: next[0].Seq, Err: err}
		}
		entries = []relay.Entry{{Pos: next[0].Pos, Event: e}}
		return err
	})
	if err != nil {
		return nil, err
	}
	return entries, nil
}

// Log implements [relay.Store].
func (s *Store) Log(ctx context.Context, subscription string, before uint64, limit int) (entries []relay.LogEntry, err error) {
	u, head := s.upTo(subscription)
	if u == nil || limit <= 0 {
		return nil, s.check(ctx)
	}
	below := min(head, math.MaxInt64-1) + 1
	if before > 0 {
		below = min(below, before)
	}
	err = s.read(ctx, func(ctx context.Context, conn *pgx.Conn) (err error) {
		entries, err = readLog(ctx, conn, "select pos, seq from log where subscription = $1 and pos < $2 order by pos desc limit $3",
			u.id, int64(below), limit)
		return err
	})
	return entries, err
}

func readLog(ctx context.Context, conn *pgx.Conn, sql string, args ...any) (entries []relay.LogEntry, err error) {
	rows, err := conn.Query(ctx, sql, args...)
	if err != nil {
		return nil, err
	}
	var pos, seq int64
	_, err = pgx.ForEachRow(rows, []any{&pos, &seq}, func() error {
		entries = append(entries, relay.LogEntry{Pos: uint64(pos), Seq: relay.Seq(seq)})
		return nil
	})
	return entries, err
}

const selectAttempts = `select a.number, a.record, a.excerpt, (select e.erased is not null from events e where e.seq = a.seq)
	from attempts a where a.seq = $1 and a.subscription = $2 order by a.number`

// Attempts implements [relay.Store].
func (s *Store) Attempts(ctx context.Context, seq relay.Seq, subscription string) (attempts []relay.Attempt, err error) {
	u := s.subs.get(subscription)
	if u == nil || !storable(seq) {
		return nil, s.check(ctx)
	}
	err = s.read(ctx, func(ctx context.Context, conn *pgx.Conn) error {
		attempts = nil // it may come here again
		rows, err := conn.Query(ctx, selectAttempts, int64(seq), u.id)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var number int32
			var record, excerpt []byte
			var erased *bool
			if err := rows.Scan(&number, &record, &excerpt, &erased); err != nil {
				return err
			}
			a, err := decodeAttempt(number, record, excerpt)
			if err != nil {
				return err
			}
			if erased != nil && *erased { // it may have been added while the event was erased
				a.Error, a.Excerpt = "", nil
			}
			attempts = append(attempts, a)
		}
		return rows.Err()
	})
	return attempts, err
}
