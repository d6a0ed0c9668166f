package badger

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	bdb "github.com/dgraph-io/badger/v4"

	"github.com/caddyrelay/caddyrelay/relay"
)

// mostDone bounds the finished spans above the low-water mark: an engine walks them.
const mostDone = 256

// lost notes a delivery whose event is gone.
func (m *mender) lost(u *mendedSub, pos uint64, seq relay.Seq, finished bool) {
	if !finished {
		m.report.Unfinished++
		u.state.progress.Failed++
		u.finish(pos)
	}
	if len(m.report.Deliveries) < mostLost {
		m.report.Deliveries = append(m.report.Deliveries, LostDelivery{
			Event: relay.FormatID(seq, m.identity.tag), Subscription: m.nameOf(u), Accepted: seq.Time(), Finished: finished,
		})
	}
}

// chunkAt names a chunk.
type chunkAt struct {
	sub   uint32
	first uint64
}

// mendEntry sees that an event stands at its place in the log.
func (m *mender) mendEntry(entries *finder, seq relay.Seq, p place) error {
	c, err := entries.of(p.sub, p.pos)
	if damaged := (*chunkError)(nil); err != nil && !errors.As(err, &damaged) {
		return err
	}
	switch {
	case c == nil: // in a chunk of its own
		c = &chunk{sub: p.sub, first: p.pos, seqs: []relay.Seq{seq}}
	case c.at(p.pos) == seq:
		return nil
	default:
		at := chunkAt{c.sub, c.first}
		if m.chunks[at] == nil {
			m.chunks[at] = &chunk{sub: c.sub, first: c.first, seqs: slices.Clone(c.seqs)}
		}
		c = m.chunks[at]
		c.seqs[p.pos-c.first] = seq
	}
	key := logKey(c.sub, c.first)
	return m.writes.Set(key, c.encode(key))
}

// mendExceptions looks for deliveries that are open and whose event and entry are gone.
func (m *mender) mendExceptions(txn *bdb.Txn) error {
	entries := newFinder(txn)
	defer entries.close()
	err := scan(txn, []byte{exceptPrefix, byte(classOpen)}, func(key, rec []byte) error {
		_, id, pos, err := splitExceptKey(key)
		if err != nil {
			m.report.find("%v", err)
			return nil
		}
		stands, err := entries.has(id, pos)
		if err != nil || stands {
			return err
		}
		if e, err := decodeException(key, rec); err == nil {
			u := m.sub(id)
			if m.trimmed(u, pos, e.Seq) {
				return m.over(u, pos)
			}
			m.lost(u, pos, e.Seq, false)
		}
		return m.writes.Delete(append([]byte(nil), key...))
	})
	for _, u := range m.subs {
		u.settle()
	}
	return err
}

// mendLogs takes out the entries of events that are gone, and gives up positions of which
// nothing is known.
func (m *mender) mendLogs(txn *bdb.Txn) error {
	last := make(map[uint32]uint64)
	for c, err := range chunks(txn, []byte{logPrefix}, []byte{logPrefix}) {
		damaged, corrupt := (*chunkError)(nil), (*CorruptError)(nil)
		switch {
		case errors.As(err, &damaged): // what it held and is not made anew counts as a gap
			u := m.sub(damaged.sub)
			u.state.progress.Head = max(u.state.progress.Head, damaged.To)
			err = m.writes.Delete(logKey(damaged.sub, damaged.From))
		case errors.As(err, &corrupt):
			m.report.find("%v", err)
			continue
		case err == nil:
			err = m.mendChunk(txn, c, last)
		}
		if err != nil {
			return err
		}
	}
	for _, u := range m.subs {
		m.unknown(u, last[u.id]+1, u.state.progress.Head)
		u.settle()
		if err := m.fillHoles(txn, u); err != nil {
			return err
		}
	}
	return nil
}

// mendChunk mends the entries of a chunk. last are the positions that were seen last.
func (m *mender) mendChunk(txn *bdb.Txn, c *chunk, last map[uint32]uint64) error {
	u := m.sub(c.sub)
	u.state.progress.Head = max(u.state.progress.Head, c.last())
	changed := false
	for pos, ok := c.next(c.first); ok; pos, ok = c.next(pos + 1) {
		seq := c.at(pos)
		there, err := exists(txn, eventKey(seq))
		if err != nil {
			return err
		}
		m.unknown(u, last[u.id]+1, pos-1)
		last[u.id] = pos
		if there {
			continue
		}
		c.seqs[pos-c.first], changed = 0, true
		if !m.trimmed(u, pos, seq) {
			open, err := exists(txn, exceptKey(classOpen, u.id, pos))
			if err != nil {
				return err
			}
			m.lost(u, pos, seq, u.state.finished(pos) && !open)
		}
		if err := m.over(u, pos); err != nil {
			return err
		}
	}
	key := logKey(c.sub, c.first)
	rec := c.encode(key)
	switch {
	case c.empty():
		return m.writes.Delete(key)
	case changed:
		if err := m.writes.Set(key, rec); err != nil {
			return err
		}
	}
	m.live += uint64(len(key) + len(rec))
	return nil
}

// unknown gives up the positions from one to another that are not finished: neither the
// event nor the entry is there.
func (m *mender) unknown(u *mendedSub, from, to uint64) {
	count := uint64(0)
	for pos := max(from, u.state.progress.Low+1); pos <= to; pos++ {
		if !u.state.finished(pos) {
			count++
			u.finish(pos)
		}
	}
	if count == 0 {
		return
	}
	m.report.Unfinished += count
	u.state.progress.Failed += count
	m.report.Unknown = append(m.report.Unknown, fmt.Sprintf("%s: %d deliveries at the positions %d to %d", m.nameOf(u), count, from, to))
}

// fillHoles has those made again that stand open between very many that are finished.
func (m *mender) fillHoles(txn *bdb.Txn, u *mendedSub) error {
	p := &u.state.progress
	if len(p.Done) <= mostDone {
		return nil
	}
	entries := newFinder(txn)
	defer entries.close()
	pos := p.Low + 1
	for _, s := range p.Done {
		for ; pos < s.From; pos++ {
			c, err := entries.of(u.id, pos)
			if err == nil && c == nil {
				err = fmt.Errorf("there is no entry at the position %d of %q", pos, m.nameOf(u))
			}
			if err == nil {
				err = m.repeatAt(txn, u, pos, c.at(pos))
			}
			if err != nil {
				return err
			}
		}
		pos = s.To + 1
	}
	u.settle()
	return nil
}

// repeatAt has the delivery of an event made again that stands at a position.
func (m *mender) repeatAt(txn *bdb.Txn, u *mendedSub, pos uint64, seq relay.Seq) error {
	order, key := "", eventKey(seq)
	err := get(txn, key, func(rec []byte) error {
		found, err := decodeEvent(key, rec, placesOnly)
		if err != nil {
			return nil // it is set aside by who reads it
		}
		for _, p := range found.places {
			if p.sub == u.id && p.pos == pos {
				order = p.key
			}
		}
		return nil
	})
	if err != nil && !errors.Is(err, bdb.ErrKeyNotFound) {
		return err
	}
	return m.repeat(u, pos, seq, order, 0)
}

// mendKeys sees that idempotency keys are forgotten one day, or were.
func (m *mender) mendKeys(txn *bdb.Txn) error {
	m.tail.keys, m.tail.keyBytes, m.tail.keysFrom = 0, 0, 1
	return each(txn, idemPrefix, func(key, rec []byte) error {
		if len(key) != idemKeyLen {
			return nil
		}
		stored := relay.Seq(0)
		err := decode(key, rec, func(f *field) error {
			if f.num == idemStored {
				stored = relay.Seq(f.value)
			}
			return nil
		})
		if err != nil {
			return m.writes.Delete(slices.Clone(key))
		}
		age := idemAgeKey(stored, idemHash(key[1:]))
		if stored < m.tail.keysMark { // retention has removed it, and does not look for it again
			return errors.Join(m.writes.Delete(slices.Clone(key)), m.writes.Delete(age))
		}
		mark := seal(age, newRecord(0))
		m.tail.addKey(stored, len(key)+len(rec)+len(age)+len(mark))
		if there, err := exists(txn, age); err != nil || there {
			return err
		}
		return m.writes.Set(age, mark)
	})
}

// nameOf returns the name of a subscription, made up if it is gone.
func (m *mender) nameOf(u *mendedSub) string {
	if u.name == "" {
		u.name = fmt.Sprintf("lost-%d", u.id)
		for other := range maps.Values(m.subs) {
			if other != u && other.name == u.name {
				u.name += "-again"
			}
		}
		m.report.Names = append(m.report.Names, u.name)
	}
	return u.name
}

func (m *mender) writeSubs(*bdb.Txn) error {
	for _, id := range m.ids() {
		u := m.subs[id]
		name := nameKey(m.nameOf(u))
		p := &u.state.progress
		p.Subscription, p.Open, p.NextDue = u.name, u.open, time.Time{}
		key := progressKey(id)
		if err := errors.Join(m.writes.Set(name, encodeNumber(name, uint64(id))), m.writes.Set(key, encodeProgress(key, &u.state))); err != nil {
			return err
		}
	}
	return nil
}

// writeMeta writes identity and tail. Numbers that were given are not given again.
func (m *mender) writeMeta(*bdb.Txn) error {
	t := &m.tail
	t.last = max(t.last, m.highest, m.mark.seq)
	t.removed = min(t.removed, t.ordinal-min(t.ordinal, m.present)) // some may be there again
	gone := t.ordinal - min(t.ordinal, m.present+t.removed)
	m.report.Lost = gone - min(gone, t.lost)
	t.lost, t.known, t.live = gone, t.last, m.live
	return errors.Join(m.writes.Set(storeKey, encodeIdentity(m.identity)), m.writes.Set(tailKey, encodeTail(*t)))
}
