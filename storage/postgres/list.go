package postgres

import (
	"context"
	"math"

	"github.com/jackc/pgx/v5"

	"github.com/caddyrelay/caddyrelay/relay"
)

// pageScan is the most events that a page looks at.
const pageScan = 5000

const (
	// selectPage reads one event more than asked for, so that the end is seen.
	selectPage = `select ` + eventColumns + ` from
		(select * from events where seq >= $1 and seq < $2 order by seq desc limit $3) e
		where ($4 = '' or lower(e.type collate "C") = lower($4 collate "C")) and (not $5 or cardinality(e.subscriptions) = 0)
		order by e.seq desc limit $6`
	// selectScanned finds where a page that was not filled has stopped.
	selectScanned = `select coalesce(min(seq), 0), count(*) from (select seq from events where seq >= $1 and seq < $2 order by seq desc limit $3) scanned`
)

// Events implements [relay.Store].
func (s *Store) Events(ctx context.Context, q relay.EventQuery) (page relay.EventPage, err error) {
	low, high := relay.SeqFrom(q.Since), relay.Seq(math.MaxInt64)
	if !q.Until.IsZero() {
		high = min(high, relay.SeqFrom(q.Until))
	}
	if q.Before > 0 {
		high = min(high, q.Before)
	}
	if q.Limit <= 0 || low >= high {
		return relay.EventPage{}, s.check(ctx)
	}
	scan := pageScan
	if q.Type == "" && !q.Unmatched {
		scan = q.Limit + 1
	}
	err = s.read(ctx, func(ctx context.Context, conn *pgx.Conn) error {
		events, err := s.selectEvents(ctx, conn, selectPage, int64(low), int64(high), scan, column(q.Type), q.Unmatched, q.Limit+1)
		if err != nil {
			return err
		}
		if page.Events = events; len(events) > q.Limit {
			page.Events = events[:q.Limit]
			page.Next = events[q.Limit-1].Seq
			return nil
		}
		if scan != pageScan {
			return nil
		}
		var lowest int64
		var count int
		if err := conn.QueryRow(ctx, selectScanned, int64(low), int64(high), scan).Scan(&lowest, &count); err != nil {
			return err
		}
		if count == scan {
			page.Next = relay.Seq(lowest)
		}
		return nil
	})
	if err != nil {
		return relay.EventPage{}, err
	}
	return page, nil
}

// selectEvents reads events without their data.
func (s *Store) selectEvents(ctx context.Context, conn *pgx.Conn, sql string, args ...any) (events []*relay.Event, err error) {
	rows, err := conn.Query(ctx, sql, args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var row eventRow
		if err := rows.Scan(row.columns()...); err != nil {
			return nil, err
		}
		e, err := row.event(s.identity.tag, s.find)
		if err != nil {
			// One bad row must not hide all that are older: it is listed by its ID alone.
			seq := relay.Seq(row.seq)
			e = &relay.Event{ID: relay.FormatID(seq, s.identity.tag), Seq: seq, Accepted: seq.Time()}
		}
		events = append(events, e)
	}
	return events, rows.Err()
}
