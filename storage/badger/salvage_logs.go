package badger

import (
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
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

// mendExceptions looks for deliveries that are open and whose event and entry are gone.
func (m *mender) mendExceptions(txn *bdb.Txn) error {
	err := scan(txn, []byte{exceptPrefix, byte(classOpen)}, func(key, rec []byte) error {
		_, id, pos, err := splitExceptKey(key)
		if err != nil {
			m.report.find("%v", err)
			return nil
		}
		stands, err := exists(txn, logKey(id, pos))
		if err != nil || stands {
			return err
		}
		if e, err := decodeException(key, rec); err == nil {
			m.lost(m.sub(id), pos, e.Seq, false)
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
	err := each(txn, logPrefix, func(key, rec []byte) error {
		if len(key) != logKeyLen {
			return m.writes.Delete(append([]byte(nil), key...))
		}
		u, pos := m.sub(binary.BigEndian.Uint32(key[1:])), binary.BigEndian.Uint64(key[5:])
		u.state.progress.Head = max(u.state.progress.Head, pos)
		seq, err := decodeNumber(key, rec)
		there := false
		if err == nil {
			if there, err = exists(txn, eventKey(relay.Seq(seq))); err != nil {
				return err
			}
		}
		if there {
			m.unknown(u, last[u.id]+1, pos-1)
			last[u.id] = pos
			return nil
		}
		if err := m.writes.Delete(append([]byte(nil), key...)); err != nil || seq == 0 {
			return err // it counts as a gap
		}
		m.unknown(u, last[u.id]+1, pos-1)
		last[u.id] = pos
		open, err := exists(txn, exceptKey(classOpen, u.id, pos))
		if err != nil {
			return err
		}
		m.lost(u, pos, relay.Seq(seq), u.state.finished(pos) && !open)
		return errors.Join(m.writes.Delete(exceptKey(classOpen, u.id, pos)), m.writes.Delete(exceptKey(classClosed, u.id, pos)))
	})
	if err != nil {
		return err
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
	pos := p.Low + 1
	for _, s := range p.Done {
		for ; pos < s.From; pos++ {
			key := logKey(u.id, pos)
			err := get(txn, key, func(rec []byte) error {
				seq, err := decodeNumber(key, rec)
				if err != nil {
					return err
				}
				return m.repeat(u, pos, relay.Seq(seq), "", 0)
			})
			if err != nil {
				return err
			}
		}
		pos = s.To + 1
	}
	u.settle()
	return nil
}

// mendKeys sees that idempotency keys are forgotten one day.
func (m *mender) mendKeys(txn *bdb.Txn) error {
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
			return m.writes.Delete(append([]byte(nil), key...))
		}
		age := idemAgeKey(stored, idemHash(key[1:]))
		if there, err := exists(txn, age); err != nil || there {
			return err
		}
		return m.writes.Set(age, seal(age, newRecord(0)))
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
	gone := t.ordinal - min(t.ordinal, m.present+t.removed)
	m.report.Lost = gone - min(gone, t.lost)
	t.lost, t.known, t.live = gone, t.last, m.live
	return errors.Join(m.writes.Set(storeKey, encodeIdentity(m.identity)), m.writes.Set(tailKey, encodeTail(*t)))
}
