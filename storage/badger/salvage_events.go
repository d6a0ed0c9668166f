package badger

import (
	"encoding/binary"
	"errors"
	"time"

	bdb "github.com/dgraph-io/badger/v4"

	"github.com/caddyrelay/caddyrelay/relay"
)

// mendEvents goes through the events, oldest first, and sees that each delivery stands in
// its log and that its state is known.
func (m *mender) mendEvents(txn *bdb.Txn) error {
	attempts := &attemptReader{m: m, it: txn.NewIterator(bdb.IteratorOptions{Prefix: []byte{attemptPrefix}})}
	defer attempts.it.Close()
	attempts.it.Rewind()
	entries := newFinder(txn)
	defer entries.close()
	bundles := &bundleReader{txn: txn, windows: make(map[uint32]*readWindow)}
	var last uint64 // ordinal
	var lastSeq relay.Seq
	err := each(txn, eventPrefix, func(key, rec []byte) error {
		seq, err := seqOf(key)
		if err != nil {
			m.present++
			m.report.find("%v", err)
			return nil
		}
		found, unreadable := decodeEvent(key, rec, placesOnly)
		if unreadable == nil || seq < m.tail.mark {
			// Its attempts go with those of other events that are not there.
			if swept, err := m.sweep(entries, seq, &found); swept || err != nil {
				return err
			}
		}
		m.present++
		m.live += uint64(len(key) + len(rec))
		m.highest = seq
		outcomes, err := attempts.of(seq)
		if err != nil {
			return err
		}
		if unreadable != nil {
			m.report.find("%v", unreadable) // it is set aside by who reads it
			return nil
		}
		if found.ordinal > last+1 && seq > m.tail.known {
			m.report.Gaps = append(m.report.Gaps, Gap{First: last + 1, Last: found.ordinal - 1, After: timeOf(lastSeq), Before: seq.Time()})
		}
		last, lastSeq = found.ordinal, seq
		for _, p := range found.places {
			last, err := bundles.of(seq, p)
			if err != nil {
				return err
			}
			last = last.or(outcomes[p.sub])
			if err := m.mendPlace(txn, entries, seq, p, last); err != nil {
				return err
			}
		}
		return nil
	})
	if err == nil {
		_, err = attempts.of(^relay.Seq(0)) // those behind the last event
	}
	if newest := max(m.tail.ordinal, m.mark.ordinal); newest > last {
		m.report.Gaps = append(m.report.Gaps, Gap{First: last + 1, Last: newest, After: timeOf(lastSeq), Before: max(m.mark.seq, m.tail.last).Time()})
	}
	m.tail.ordinal = max(m.tail.ordinal, m.mark.ordinal, last)
	for _, u := range m.subs {
		u.settle()
	}
	return err
}

func timeOf(s relay.Seq) time.Time {
	if s == 0 {
		return time.Time{}
	}
	return s.Time()
}

// mendPlace sees to one delivery.
func (m *mender) mendPlace(txn *bdb.Txn, entries *finder, seq relay.Seq, p place, last outcome) error {
	u := m.sub(p.sub)
	u.state.progress.Head = max(u.state.progress.Head, p.pos)
	removed, err := m.removed(entries, p)
	if err != nil {
		return err
	}
	if err := m.mendEntry(entries, seq, p); err != nil {
		return err
	}
	if removed { // though the event is there
		return m.over(u, p.pos)
	}
	open, own, err := ownException(txn, p)
	if err != nil {
		return err
	}
	finished := u.state.finished(p.pos)
	_, spanned := u.state.span(p.pos, false)
	progress := &u.state.progress
	switch {
	case own == classOpen && (!last.delivered || open.Attempts >= last.number):
		u.open++
		u.finish(p.pos)
	case own == classClosed, own == 0 && spanned:
		u.finish(p.pos)
		if !u.known {
			progress.Failed++
		}
	case last.delivered:
		u.finish(p.pos)
		if !finished || !u.known {
			progress.Delivered++
		}
		if own == classOpen { // of before that attempt
			return m.over(u, p.pos)
		}
	case finished: // it is not known as what
		m.report.Repeated++
		return m.repeat(u, p.pos, seq, p.key, last.number)
	}
	return nil
}

// ownException returns the class of a delivery's own exception, 0 if it has none, and the
// exception if it is open and can be read.
func ownException(txn *bdb.Txn, p place) (open relay.Exception, own class, err error) {
	if own, err = exceptionOf(txn, p.sub, p.pos); own != classOpen || err != nil {
		return open, own, err
	}
	key := exceptKey(classOpen, p.sub, p.pos)
	err = get(txn, key, func(rec []byte) error {
		if e, err := decodeException(key, rec); err == nil {
			open = e
		}
		return nil
	})
	return open, own, err
}

// removed reports whether retention has taken a delivery: its log is trimmed beyond it, or its
// entry alone is gone from where others stand. The event goes last, so that it may be there still
// after a crash, or again where the table is gone that says it was removed.
func (m *mender) removed(entries *finder, p place) (bool, error) {
	u := m.sub(p.sub)
	if p.pos < u.state.floor {
		return true, nil
	}
	if !u.state.finished(p.pos) {
		return false, nil
	}
	c, err := entries.of(p.sub, p.pos)
	if damaged := (*chunkError)(nil); errors.As(err, &damaged) {
		return false, nil
	}
	return c != nil && c.at(p.pos) == 0, err
}

// sweep takes out an event that retention has removed. It reports whether it has.
func (m *mender) sweep(entries *finder, seq relay.Seq, found *storedEvent) (bool, error) {
	if seq >= m.tail.mark {
		for _, p := range found.places {
			if removed, err := m.removed(entries, p); err != nil || !removed {
				return false, err
			}
		}
		if len(found.places) == 0 {
			return false, nil
		}
	}
	err := m.writes.Delete(eventKey(seq))
	if found.movedID != "" {
		err = errors.Join(err, m.writes.Delete(movedKey(found.movedID)))
	}
	for _, p := range found.places {
		u := m.sub(p.sub)
		u.state.progress.Head = max(u.state.progress.Head, p.pos)
		err = errors.Join(err, m.over(u, p.pos))
	}
	return true, err
}

// over notes a delivery of which nothing is left to do.
func (m *mender) over(u *mendedSub, pos uint64) error {
	u.finish(pos)
	return errors.Join(m.writes.Delete(exceptKey(classOpen, u.id, pos)), m.writes.Delete(exceptKey(classClosed, u.id, pos)))
}

// trimmed reports whether retention has removed an event that is not there, or its delivery.
func (m *mender) trimmed(u *mendedSub, pos uint64, seq relay.Seq) bool {
	return seq < m.tail.mark || pos < u.state.floor
}

func (u *mendedSub) finish(pos uint64) {
	if u.state.finished(pos) {
		return
	}
	if n := len(u.extra); n > 0 && u.extra[n-1].To+1 == pos {
		u.extra[n-1].To = pos
		return
	}
	u.extra = append(u.extra, relay.Span{From: pos, To: pos})
}

// repeat has a delivery made again: it is due now, or when those before it of its key are
// over.
func (m *mender) repeat(u *mendedSub, pos uint64, seq relay.Seq, key string, attempts int) error {
	now := m.clock()
	e := relay.Exception{From: pos, To: pos, Seq: seq, Kind: relay.Retry, Attempts: attempts, At: now, Due: now, Key: relay.OrderKey(key)}
	if e.Key != "" {
		e.Kind = relay.Ordered
	}
	u.open++
	u.finish(pos)
	at := exceptKey(classOpen, u.id, pos)
	return m.writes.Set(at, encodeException(at, &e))
}

// attemptReader reads the attempts along with the events, in the same order.
type attemptReader struct {
	m  *mender
	it *bdb.Iterator
}

// of returns what the attempts of an event say, by subscription. Attempts of events that
// are gone are removed on the way.
func (r *attemptReader) of(seq relay.Seq) (map[uint32]outcome, error) {
	var outcomes map[uint32]outcome
	for ; r.it.Valid(); r.it.Next() {
		item := r.it.Item()
		key := item.Key()
		at, err := seqOf(key)
		if err == nil && at > seq {
			break
		}
		if err != nil || at < seq || len(key) != attemptKeyLen {
			if err := r.m.writes.Delete(item.KeyCopy(nil)); err != nil {
				return nil, err
			}
			continue
		}
		r.m.live += uint64(item.EstimatedSize())
		sub := binary.BigEndian.Uint32(key[9:])
		err = item.Value(func(rec []byte) error {
			a, err := decodeAttempt(key, rec)
			if err != nil {
				r.m.report.find("%v", err)
				return nil
			}
			if outcomes == nil {
				outcomes = make(map[uint32]outcome)
			}
			outcomes[sub] = outcomeOf(&a)
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	return outcomes, nil
}
