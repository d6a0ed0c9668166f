package badger

import (
	"context"
	"time"

	bdb "github.com/dgraph-io/badger/v4"
	"go.uber.org/zap"

	"github.com/caddyrelay/caddyrelay/relay"
	"github.com/caddyrelay/caddyrelay/storage/badger/files"
)

// scratchPrefix is of records that mean nothing.
const scratchPrefix = 'Z'

// Pauses between two rounds of making room.
const (
	sizeEvery    = 5 * time.Second
	reclaimEvery = 10 * time.Second
	flattenEvery = 10 * time.Minute
)

// quietFor is how long no log must have been begun for a store to be quiet.
const quietFor = time.Minute

// tidyFrom is what tables may take before anybody looks whether what was removed is in them.
const tidyFrom = 16 << 20

// reclaimer is what the janitor remembers of making room.
type reclaimer struct {
	sized, reclaimed, flattened, tidied time.Time
	// removed is how many events had been removed when tables were last merged for that.
	removed uint64
	// newest is the newest log, and since when it is, as far as anybody has looked.
	newest string
	since  time.Time
}

// makeRoom removes finished events where the store is larger than it may be, and gives
// back to the volume what was removed, where room is short.
func (s *Store) makeRoom(r *reclaimer, now time.Time) {
	limit, total, full := s.space.short()
	large := limit > 0 && total > limit
	if !large {
		s.space.setOver(false)
	} else if now.Sub(r.sized) >= s.pause(sizeEvery) {
		r.sized = now
		removed := s.trimToSize(limit)
		s.space.setOver(removed == 0 && s.space.size() > limit)
	}
	if !full && !large || now.Sub(r.reclaimed) < s.pause(reclaimEvery) {
		return
	}
	r.reclaimed = now
	if s.space.removed.Swap(0) > 0 && !s.reclaim() {
		return
	}
	// What was removed may lie further down.
	_, total, _ = s.space.short()
	if !large || total <= limit || s.space.live.Load() > total*19/20 || now.Sub(r.flattened) < s.pause(flattenEvery) {
		return
	}
	r.flattened = now
	s.flatten()
}

// tidy merges tables when more events were removed from them than are left, and they still
// take half as much again as those. Badger on its own does so only where something new is
// written, and events are written at the end. The condition makes it cost each event once.
//
// While much is written it is left to Badger. It then goes on by itself, and would be asked for
// what it does worst: the writer, and who reads, wait until all new tables are merged, and
// flattening begins anew with each that comes.
func (s *Store) tidy(r *reclaimer, now time.Time) {
	tail := s.committed()
	removed, left := tail.removed-min(tail.removed, r.removed), tail.ordinal-min(tail.ordinal, tail.removed+tail.lost)
	if removed < max(left, 1) || now.Sub(r.tidied) < s.pause(flattenEvery) || s.space.tables() < tidyFrom+int64(tail.size())*3/2 {
		return
	}
	if s.resting.Load() || !s.space.roomToMerge() || !r.quiet(s.dir, now, s.pause(quietFor)) {
		return
	}
	r.tidied, r.removed = now, tail.removed
	if s.reclaim() {
		s.flatten()
	}
}

// quiet reports whether the log that is written to has been the same one for so long.
func (r *reclaimer) quiet(dir string, now time.Time, long time.Duration) bool {
	logs, err := files.Logs(dir)
	if err != nil || len(logs) == 0 {
		return false // the store has errors of its own for that
	}
	if newest := logs[len(logs)-1]; newest != r.newest {
		r.newest, r.since = newest, now
	}
	return now.Sub(r.since) >= long
}

// reclaim merges what was removed last with what it was removed from. It reports whether it
// could.
func (s *Store) reclaim() bool {
	if err := s.submit(context.Background(), &reclaimRequest{make(chan error, 1)}); err != nil {
		s.log.Debug("room was not given back", zap.Error(err))
		return false
	}
	s.space.remeasure()
	return true
}

// flatten merges all tables, while others read and write. It goes on in the background, for
// minutes if there are many: the sentinel is synced meanwhile, and closing does not wait for
// the end.
func (s *Store) flatten() {
	d := s.db.Load()
	if d == nil || !d.gate.Enter() {
		return
	}
	s.flattening.Store(true)
	go func() {
		defer s.flattening.Store(false)
		defer d.gate.Leave()
		defer d.hurry()()
		if err := s.options.flatten(d.DB); err != nil {
			s.log.Warn("merging tables to give room back", zap.Error(err))
		}
		s.space.remeasure()
	}()
}

// trimToSize removes what is finished, oldest first, until the store is a tenth below its
// limit. It returns how many events and idempotency keys went.
func (s *Store) trimToSize(limit int64) int {
	events, keys := 0, 0
	for {
		step, err := s.Trim(context.Background(), relay.TrimPolicy{MaxBytes: limit - limit/10})
		if err != nil {
			s.log.Warn("removing finished events for max_size", zap.Error(err))
			return events + keys
		}
		events += step.Events
		keys += step.Keys
		if !step.More {
			break
		}
		select {
		case <-s.stop:
			return events + keys
		default:
		}
	}
	if events+keys > 0 {
		s.log.Info("finished events were removed before their time, for max_size", zap.Int("events", events), zap.Int("idempotency_keys", keys))
	}
	return events + keys
}

// reclaimRequest merges what is new with what is old. Badger does that on its own only
// when enough is written, and below min_free little is.
type reclaimRequest struct{ done chan error }

// plan implements request. Dropping a prefix has Badger write its logs as tables and
// merge those of the first level; the prefix is one that nothing uses.
func (r *reclaimRequest) plan(c *committer) error {
	if err := c.flush(); err != nil {
		return err
	}
	key := []byte{scratchPrefix}
	err := c.db.Update(func(txn *bdb.Txn) error { return txn.Set(key, []byte{0}) })
	if err == nil {
		err = c.drop(key)
	}
	if err != nil {
		// Badger may have stopped half-way.
		c.broken = c.s.breakWith(err)
	}
	return err
}

// drop removes a prefix. Nobody waits for that while merging is held.
func (c *committer) drop(prefix []byte) error {
	defer c.db.drops()()
	c.s.holdDrop(c.db) // something else that is merged may be held already
	return c.db.DropPrefix(prefix)
}

func (r *reclaimRequest) settle(error) {}

func (r *reclaimRequest) answer() chan error { return r.done }
