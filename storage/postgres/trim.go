package postgres

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/caddyrelay/caddyrelay/relay"
)

// Bounds of one step of trimming.
const (
	trimEvents = 500
	trimKeys   = 2000
)

// trimmer walks the events from the oldest on, a step at a time, and begins again when it
// has come to what is too young.
type trimmer struct {
	mu     sync.Mutex // one step at a time
	cursor relay.Seq  // next to be looked at
	// floor is where walks begin: nothing is left before it, but for dead rows until VACUUM comes.
	floor relay.Seq
	// kept are the days of which the walk left events, left how many these are, and lowest is the
	// first of them; seen is the last that it has looked at.
	kept         map[day]bool
	left         int
	lowest, seen relay.Seq
	// rest is when the next walk may begin.
	rest time.Time
}

// A walk that leaves many events is not repeated at once: it reads all of them.
const (
	manyLeft = 5000
	longRest = 10 * time.Minute
)

// Trim implements [relay.Store]. When a walk has come to its end, partitions in which nothing
// is left are dropped.
func (s *Store) Trim(ctx context.Context, p relay.TrimPolicy) (relay.Trimmed, error) {
	if err := s.check(ctx); err != nil {
		return relay.Trimmed{}, err
	}
	if !s.leads() {
		return relay.Trimmed{}, nil
	}
	s.trim.mu.Lock()
	defer s.trim.mu.Unlock()
	r := &trimRequest{policy: p, walk: &s.trim, done: make(chan error, 1)}
	r.resting = s.trim.cursor == 0 && time.Now().Before(s.trim.rest) && p.MaxBytes == 0
	if err := s.submit(ctx, r); err != nil {
		s.trim.begin()
		return relay.Trimmed{}, err
	}
	return r.trimmed, nil
}

// trimRequest is one step.
type trimRequest struct {
	policy relay.TrimPolicy
	walk   *trimmer
	done   chan error

	// resting says that only keys are looked at.
	resting bool
	trimmed relay.Trimmed
	next    relay.Seq
	// seen is the last event that was looked at.
	seen relay.Seq
	// kept are the positions of events that stay.
	kept []relay.Seq
}

func (r *trimRequest) keys(func(*relay.Key)) {}
func (r *trimRequest) alone() bool           { return true }
func (r *trimRequest) answer() chan error    { return r.done }

// trimmable is an event that is looked at.
type trimmable struct {
	seq       relay.Seq
	size      int
	subs      []int32
	positions []int64
}

const (
	selectOldest = `select seq, size, subscriptions, positions from events where seq >= $1 and seq < $2 order by seq limit $3`
	// selectConcerning finds the exceptions of single deliveries, and all spans and replays of
	// their subscriptions.
	selectConcerning = `select x.subscription, x.first, x.last, x.replay, x.open
		from unnest($1::integer[], $2::bigint[]) as p (subscription, pos)
		join exceptions x on x.subscription = p.subscription and x.first = p.pos and x.last = x.first and not x.replay
		union all
		select subscription, first, last, replay, open from exceptions
		where subscription = any($1) and (last > first or replay)`
	trimLog = `delete from log l using unnest($1::integer[], $2::bigint[]) as p (subscription, pos)
		where l.subscription = p.subscription and l.pos = p.pos`
	trimExceptions = `delete from exceptions x using unnest($1::integer[], $2::bigint[]) as p (subscription, pos)
		where x.subscription = p.subscription and x.first = p.pos and x.last = x.first and not x.replay`
	trimMoved = `delete from moved m using events e where e.seq = any($1) and m.id = e.attributes -> 'moved' ->> 'id'`
	// Spans of deliveries that are over go when none of their positions is left, and none is
	// to come.
	trimSpans = `delete from exceptions x using subscriptions s
		where last > first and not open and not replay and s.id = x.subscription and last <= s.head
		and not exists (select 1 from log l where l.subscription = x.subscription and l.pos between x.first and x.last)`
	trimOldKeys = `delete from keys k using (select stored, hash from keys where stored < $1 order by stored limit $2) old
		where k.stored = old.stored and k.hash = old.hash and exists (select 1 from tail where epoch = $3)`
)

// plan implements request.
func (r *trimRequest) plan(ctx context.Context, c *committer) error {
	r.trimmed, r.kept, r.seen = relay.Trimmed{}, nil, 0
	if r.resting {
		r.next = 0
	} else if err := r.trimEvents(ctx, c); err != nil {
		return c.spoil(fmt.Errorf("trimming events: %w", err))
	}
	tag, err := c.conn.Exec(ctx, trimOldKeys, min(int64(relay.SeqFrom(r.policy.KeysBefore)), math.MaxInt64), trimKeys, c.place.epoch)
	if err != nil {
		return c.spoil(fmt.Errorf("trimming idempotency keys: %w", err))
	}
	r.trimmed.Keys = int(tag.RowsAffected())
	c.group.written = c.group.written || r.trimmed.Keys > 0
	r.trimmed.More = r.trimmed.More || r.trimmed.Keys == trimKeys
	return nil
}

// finish implements finisher.
func (r *trimRequest) finish(ctx context.Context, c *committer) {
	r.walk.keep(r.kept)
	if r.resting || r.next > 0 || r.trimmed.More {
		return
	}
	if err := r.dropEmpty(ctx, c); err != nil {
		// They are in use just now: the next walk comes to them again.
		c.s.log.Debug("partitions that are empty stay for now: " + err.Error())
	}
}

// trimEvents looks at the next events and puts the removal of some into the group.
func (r *trimRequest) trimEvents(ctx context.Context, c *committer) error {
	excess := int64(0)
	if r.policy.MaxBytes > 0 {
		excess = max(c.tail.live-r.policy.MaxBytes, 0)
	}
	latest := max(relay.SeqFrom(r.policy.DeliveredBefore), relay.SeqFrom(r.policy.FailedBefore))
	if excess > 0 {
		latest = math.MaxInt64
	}
	found, err := r.oldest(ctx, c, latest)
	if err != nil {
		return err
	}
	if len(found) > 0 {
		r.seen = found[len(found)-1].seq
	}
	if r.next, r.trimmed.More = 0, len(found) == trimEvents; r.trimmed.More {
		r.next = r.seen + 1
	}
	j, err := newJudge(ctx, c, found)
	if err != nil {
		return err
	}
	var seqs, positions []int64
	var subs []int32
	for i := range found {
		t := &found[i]
		if !j.allows(t, &r.policy, excess > 0) {
			r.kept = append(r.kept, t.seq)
			continue
		}
		excess -= liveSize(t.size)
		c.tail.live -= min(c.tail.live, liveSize(t.size))
		seqs = append(seqs, int64(t.seq))
		subs = append(subs, t.subs...)
		positions = append(positions, t.positions...)
	}
	r.trimmed.Kept = len(r.kept)
	if r.trimmed.Events = len(seqs); len(seqs) > 0 {
		c.group.add(trimLog, subs, positions)
		c.group.add(trimExceptions, subs, positions)
		c.group.add("delete from attempts where seq = any($1)", seqs)
		c.group.add(trimMoved, seqs)
		c.group.add("delete from events where seq = any($1)", seqs)
		c.group.add(trimSpans)
	}
	return nil
}

func (r *trimRequest) oldest(ctx context.Context, c *committer, below relay.Seq) (found []trimmable, err error) {
	rows, err := c.conn.Query(ctx, selectOldest, int64(max(r.walk.cursor, r.walk.floor)), int64(below), trimEvents)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, func(row pgx.CollectableRow) (t trimmable, err error) {
		var seq int64
		err = row.Scan(&seq, &t.size, &t.subs, &t.positions)
		t.seq = relay.Seq(seq)
		return t, err
	})
}

// begin has the next step be the first of a walk.
func (w *trimmer) begin() {
	w.cursor, w.kept, w.left, w.lowest, w.seen = 0, nil, 0, 0, 0
}

func (w *trimmer) keep(kept []relay.Seq) {
	for _, s := range kept {
		if w.lowest == 0 {
			w.lowest = s
		}
		if w.kept == nil {
			w.kept = make(map[day]bool)
		}
		w.kept[dayOf(s)] = true
	}
	w.left += len(kept)
}

// settle implements request. The walk goes on behind what was looked at.
func (r *trimRequest) settle(err error) {
	if err != nil || r.resting {
		return
	}
	w := r.walk
	w.seen = max(w.seen, r.seen)
	if w.cursor = r.next; r.next > 0 {
		return
	}
	if w.left > manyLeft {
		w.rest = time.Now().Add(longRest)
	}
	w.floor = cmp.Or(w.lowest, max(w.seen+1, w.floor))
	w.begin()
}

// dropEmpty drops the partitions of days that are over and of which nothing is left.
func (r *trimRequest) dropEmpty(ctx context.Context, c *committer) error {
	if err := c.bounded(c.loadDays); err != nil {
		return err
	}
	today := dayOf(c.tail.last)
	limit := dayOf(min(max(relay.SeqFrom(r.policy.DeliveredBefore), relay.SeqFrom(r.policy.FailedBefore)), math.MaxInt64))
	for _, table := range tables {
		for d := range c.partitions[table] {
			switch {
			case d >= today, table == "keys" && (d+1).first() > int64(relay.SeqFrom(r.policy.KeysBefore)),
				table != "keys" && (d >= limit || r.walk.kept[d]),
				// Attempts go behind their events.
				table == "attempts" && c.partitions["events"][d]:
				continue
			}
			if err := c.dropPartition(ctx, table, d); err != nil {
				return err
			}
		}
	}
	return nil
}
