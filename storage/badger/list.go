package badger

import (
	"bytes"
	"context"
	"errors"
	"strings"

	bdb "github.com/dgraph-io/badger/v4"
	"go.uber.org/zap"

	"github.com/caddyrelay/caddyrelay/relay"
)

// Log implements [relay.Store].
func (s *Store) Log(ctx context.Context, subscription string, before uint64, limit int) ([]relay.LogEntry, error) {
	u, st := s.subs.state(subscription)
	if u == nil || limit <= 0 {
		return nil, s.check(ctx)
	}
	from := st.progress.Head
	if before > 0 {
		from = min(from, before-1)
	}
	low := max(st.floor, 1)
	if from < low {
		return nil, s.check(ctx)
	}
	var entries []relay.LogEntry
	err := s.read(ctx, func(txn *bdb.Txn) error {
		prefix := logKeys(u.id, logKeyLen)
		it := txn.NewIterator(bdb.IteratorOptions{Prefix: prefix, Reverse: true})
		defer it.Close()
		var c chunk
		for it.Seek(logKey(u.id, from)); it.ValidForPrefix(prefix); it.Next() {
			if err := c.read(it.Item()); err != nil {
				return err
			}
			for pos := min(from, c.last()); pos >= c.first && len(entries) < limit; pos-- {
				if seq := c.at(pos); seq != 0 {
					entries = append(entries, relay.LogEntry{Pos: pos, Seq: seq})
				}
			}
			// Below low everything is deleted; the iterator would step over all of it.
			if len(entries) == limit || c.first <= low {
				return nil
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return entries, nil
}

// pageScan is the most records that a page looks at, pageBytes the most bytes.
const (
	pageScan  = 5000
	pageBytes = 32 << 20
)

// Events implements [relay.Store].
func (s *Store) Events(ctx context.Context, q relay.EventQuery) (relay.EventPage, error) {
	end := s.committed()
	l := lister{s: s, q: &q, low: max(relay.SeqFrom(q.Since), end.mark)}
	from := end.last
	if !q.Until.IsZero() {
		from = min(from, max(relay.SeqFrom(q.Until), 1)-1)
	}
	if q.Before > 0 {
		from = min(from, q.Before-1)
	}
	if q.Limit <= 0 || from < l.low || from == 0 {
		return relay.EventPage{}, s.check(ctx)
	}
	if err := s.read(ctx, func(txn *bdb.Txn) error { return l.run(txn, from) }); err != nil {
		return relay.EventPage{}, err
	}
	return l.page, nil
}

// lister walks the events backwards.
type lister struct {
	s    *Store
	q    *relay.EventQuery
	low  relay.Seq // nothing below is asked for, or there
	page relay.EventPage

	// The record looked at last. Of a key with several versions the newest comes last,
	// so that a record counts only when the next key is met.
	key  []byte
	last storedEvent
	live bool
}

// run fills the page. The iterator shows deleted records too, so that a page is
// bounded by what it steps over and not by what it finds.
func (l *lister) run(txn *bdb.Txn, from relay.Seq) error {
	it := txn.NewIterator(bdb.IteratorOptions{Prefix: []byte{eventPrefix}, Reverse: true, AllVersions: true})
	defer it.Close()
	size := int64(0)
	for n := 0; ; n++ {
		if n == 0 {
			it.Seek(eventKey(from))
		} else {
			it.Next()
		}
		if !it.Valid() {
			return l.finish(0)
		}
		item := it.Item()
		seq, err := seqOf(item.Key())
		if err != nil {
			return &CorruptError{keyName(item.Key()), err}
		}
		if seq < l.low {
			return l.finish(0)
		}
		if !bytes.Equal(item.Key(), l.key) {
			if err := l.take(); err != nil {
				return err
			}
			if len(l.page.Events) == l.q.Limit || n >= pageScan || size >= pageBytes {
				l.page.Next = seq + 1
				return nil
			}
			l.key = append(l.key[:0], item.Key()...)
		}
		size += item.EstimatedSize()
		if l.live = !item.IsDeletedOrExpired(); !l.live {
			l.last = storedEvent{event: &relay.Event{Seq: seq}}
			continue
		}
		err = item.Value(func(rec []byte) (err error) {
			l.last, err = decodeEvent(l.key, rec, withoutData)
			return err
		})
		var corrupt *CorruptError
		if errors.As(err, &corrupt) {
			// One bad record must not hide all that are older: it is listed by its ID alone.
			l.s.log.Error("an event cannot be read", zap.Error(err))
			l.last, err = storedEvent{event: &relay.Event{Seq: seq, Accepted: seq.Time()}}, nil
		}
		if err != nil {
			return err
		}
	}
}

// take puts the last record on the page if it is asked for.
func (l *lister) take() error {
	if !l.live {
		return nil
	}
	l.live = false
	e := l.last.event
	if l.q.Type != "" && !strings.EqualFold(e.Type, l.q.Type) || l.q.Unmatched && len(l.last.places) > 0 {
		return nil
	}
	e, err := l.s.complete(l.key, &l.last)
	if err == nil {
		l.page.Events = append(l.page.Events, e)
	}
	return err
}

func (l *lister) finish(next relay.Seq) error {
	l.page.Next = next
	return l.take()
}
