package postgres

import (
	"context"

	"github.com/jackc/pgx/v5"

	"github.com/caddyrelay/caddyrelay/relay"
)

// judge says which events may be removed.
type judge struct {
	c *committer
	// open and closed are the single deliveries with an exception.
	open, closed map[exceptionPlace]bool
	spans        map[int32][]spanning
}

// spanning is a span or a replay.
type spanning struct {
	first, last  int64
	replay, open bool
}

func newJudge(ctx context.Context, c *committer, found []trimmable) (*judge, error) {
	j := &judge{c: c, open: make(map[exceptionPlace]bool), closed: make(map[exceptionPlace]bool), spans: make(map[int32][]spanning)}
	var subs []int32
	var positions []int64
	for i := range found {
		subs = append(subs, found[i].subs...)
		positions = append(positions, found[i].positions...)
	}
	if len(subs) == 0 {
		return j, nil
	}
	rows, err := c.conn.Query(ctx, selectConcerning, subs, positions)
	if err != nil {
		return nil, err
	}
	var sub int32
	var s spanning
	_, err = pgx.ForEachRow(rows, []any{&sub, &s.first, &s.last, &s.replay, &s.open}, func() error {
		place := exceptionPlace{sub, false, uint64(s.first)}
		switch {
		case s.replay || s.last > s.first:
			j.spans[sub] = append(j.spans[sub], s)
		case s.open:
			j.open[place] = true
		default:
			j.closed[place] = true
		}
		return nil
	})
	return j, err
}

// allows reports whether all deliveries of an event are over, for long enough.
func (j *judge) allows(t *trimmable, p *relay.TrimPolicy, forSize bool) bool {
	limit := p.DeliveredBefore
	for i, sub := range t.subs {
		pos := t.positions[i]
		u, err := j.c.byID(sub)
		if err != nil || !finished(&u.next.Progress, uint64(pos)) {
			return false
		}
		place := exceptionPlace{sub, false, uint64(pos)}
		if j.open[place] {
			return false
		}
		if j.closed[place] {
			limit = p.FailedBefore
		}
		for _, s := range j.spans[sub] {
			if pos < s.first || pos > s.last {
				continue
			}
			if s.replay || s.open {
				return false
			}
			limit = p.FailedBefore
		}
	}
	return forSize || t.seq.Time().Before(limit)
}
