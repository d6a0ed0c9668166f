package badger

import (
	"crypto/rand"
	"encoding/binary"
	"errors"
	"maps"
	"slices"
	"time"

	bdb "github.com/dgraph-io/badger/v4"

	"github.com/caddyrelay/caddyrelay/relay"
)

// mender makes the records of a salvaged database agree with each other. What it cannot
// know it takes for not done: a delivery is rather made again than never.
type mender struct {
	db     *bdb.DB
	dir    string
	mark   acked // what the sentinel says; zero if it is gone
	clock  func() time.Time
	report *Salvage

	identity identity
	tail     tail
	subs     map[uint32]*mendedSub
	// chunks are those in which an entry was changed: what is found of them is older.
	chunks map[chunkAt]*chunk

	writes  *bdb.WriteBatch
	live    uint64
	present uint64    // events
	highest relay.Seq // of them
}

// mendedSub is a subscription whose records are being mended.
type mendedSub struct {
	id   uint32
	name string
	// known says that there was a record of its progress.
	known bool
	state state
	// extra are positions that turned out to be finished; settle takes them in.
	extra []relay.Span
	// open counts its open exceptions.
	open uint64
}

func (m *mender) mend() error {
	m.subs, m.chunks = make(map[uint32]*mendedSub), make(map[chunkAt]*chunk)
	db := &database{DB: m.db}
	if err := rehouse(db); err != nil {
		return err
	}
	if err := m.finishLeftover(db); err != nil {
		return err
	}
	for _, step := range []func(txn *bdb.Txn) error{
		m.readMeta, m.readNames, m.readProgress, m.mendEvents, m.mendBundles, m.mendExceptions, m.mendLogs, m.mendKeys, m.writeSubs, m.writeMeta,
	} {
		m.writes = m.db.NewWriteBatch()
		err := m.db.View(step)
		if err = errors.Join(err, m.writes.Flush()); err != nil {
			return err
		}
	}
	return nil
}

// finishLeftover carries out what was being written, or forgets it where that cannot be read, or
// was done: what says so may be gone.
func (m *mender) finishLeftover(db *database) error {
	left, err := findLeftover(db)
	if left == nil {
		return err
	}
	if err != nil {
		m.report.find("what was being written is done in part: %v", err)
		left.whole = false
	}
	if left.whole {
		if err := left.leaveNewer(db); err != nil {
			return err
		}
	}
	return left.finish(db)
}

// leaveNewer takes the changes out that were made, or were followed by others: a record is newer
// than the group. The tail is changed last, so that with it all were made.
func (l *leftover) leaveNewer(db *database) error {
	return db.view(func(txn *bdb.Txn) error {
		last, err := txn.Get(redoKey(l.parts - 1))
		if err != nil {
			return err
		}
		written := last.Version()
		newer := func(key []byte) (bool, error) {
			item, err := txn.Get(key)
			if errors.Is(err, bdb.ErrKeyNotFound) {
				return false, nil
			}
			return err == nil && item.Version() > written, err
		}
		made, err := newer(tailKey)
		if l.whole = !made; made || err != nil {
			return err
		}
		var failed error
		l.changes = slices.DeleteFunc(l.changes, func(one change) bool {
			made, err := newer(one.key)
			failed = errors.Join(failed, err)
			return made
		})
		return failed
	})
}

// readMeta reads identity and tail, as far as they are there.
func (m *mender) readMeta(txn *bdb.Txn) error {
	err := get(txn, storeKey, func(rec []byte) (err error) {
		m.identity, err = decodeIdentity(rec)
		return err
	})
	if err == nil && !m.identity.known() {
		return m.identity.otherVersion()
	}
	if err != nil { // the sentinel knows what it is made of
		id := m.mark.id
		if id == ([16]byte{}) {
			_, _ = rand.Read(id[:])
			m.report.find("the identity of the store is gone: the IDs of its events have changed")
		}
		m.identity = newIdentity(m.clock(), id)
	}
	m.identity.format, m.identity.moving = formatVersion, false
	if err := get(txn, tailKey, func(rec []byte) (err error) {
		m.tail, err = decodeTail(rec)
		return err
	}); err != nil {
		m.tail = tail{}
	}
	return nil
}

// sub returns the subscription with an id, made if need be.
func (m *mender) sub(id uint32) *mendedSub {
	u := m.subs[id]
	if u == nil {
		u = &mendedSub{id: id}
		m.subs[id] = u
	}
	return u
}

func (m *mender) readNames(txn *bdb.Txn) error {
	err := each(txn, namePrefix, func(key, rec []byte) error {
		if id, err := decodeNumber(key, rec); err == nil && id > 0 {
			m.sub(uint32(id)).name = string(key[1:])
		}
		return nil
	})
	if err != nil {
		return err
	}
	// Those whose names are gone are found by what else speaks of them: a number in the
	// keys of its log and of its progress.
	for _, prefix := range []byte{progressPrefix, logPrefix} {
		it := txn.NewIterator(bdb.IteratorOptions{Prefix: []byte{prefix}})
		for it.Rewind(); it.Valid(); {
			key := it.Item().KeyCopy(nil)
			if len(key) < progressKeyLen {
				it.Next()
				continue
			}
			id := binary.BigEndian.Uint32(key[1:])
			m.sub(id)
			it.Seek(binary.BigEndian.AppendUint32([]byte{prefix}, id+1))
			if id == ^uint32(0) {
				break
			}
		}
		it.Close()
	}
	return nil
}

func (m *mender) readProgress(txn *bdb.Txn) error {
	err := each(txn, progressPrefix, func(key, rec []byte) error {
		st, err := decodeProgress(key, rec)
		if len(key) == progressKeyLen && err == nil {
			u := m.sub(binary.BigEndian.Uint32(key[1:]))
			u.state, u.known = st, true
		}
		return nil
	})
	for _, c := range []class{classReplay, classSpan} {
		err = errors.Join(err, scan(txn, []byte{exceptPrefix, byte(c)}, func(key, rec []byte) error {
			_, id, _, splitErr := splitExceptKey(key)
			e, err := decodeException(key, rec)
			if err = errors.Join(splitErr, err); err != nil {
				m.report.find("%v", err)
				return nil
			}
			u := m.sub(id)
			u.state.spans = withSpan(u.state.spans, e)
			u.extra = append(u.extra, relay.Span{From: e.From, To: e.To})
			if !e.Kind.Closed() {
				u.open++
			}
			return nil
		}))
	}
	for _, u := range m.subs {
		u.settle()
	}
	return err
}

// settle takes the extra positions into the progress.
func (u *mendedSub) settle() {
	p := &u.state.progress
	all := append(u.extra, p.Done...)
	if p.Low > 0 {
		all = append(all, relay.Span{From: 1, To: p.Low})
	}
	slices.SortFunc(all, func(a, b relay.Span) int {
		if a.From < b.From {
			return -1
		}
		return 1
	})
	var merged []relay.Span
	for _, s := range all {
		if n := len(merged); n > 0 && s.From <= merged[n-1].To+1 {
			merged[n-1].To = max(merged[n-1].To, s.To)
			continue
		}
		merged = append(merged, s)
	}
	if len(merged) > 0 && merged[0].From <= 1 {
		p.Low = merged[0].To
		merged = merged[1:]
	}
	p.Done, u.extra = merged, nil
	p.Head = max(p.Head, p.Low)
	if n := len(merged); n > 0 {
		p.Head = max(p.Head, merged[n-1].To)
	}
}

// ids returns the numbers of all subscriptions, ascending and without gaps.
func (m *mender) ids() []uint32 {
	highest := uint32(0)
	for id := range m.subs {
		highest = max(highest, id)
	}
	for id := uint32(1); id <= highest; id++ {
		m.sub(id)
	}
	return slices.Sorted(maps.Keys(m.subs))
}
