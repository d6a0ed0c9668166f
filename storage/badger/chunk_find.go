package badger

import (
	"bytes"
	"errors"
	"fmt"
	"iter"
	"math"

	bdb "github.com/dgraph-io/badger/v4"

	"github.com/caddyrelay/caddyrelay/relay"
)

// lowestFor returns where the chunk begins at the lowest that holds a position.
func lowestFor(pos uint64) uint64 { return max(pos, chunkMost) - (chunkMost - 1) }

// chunksOf yields the chunks of one log in order, from that which holds a position on.
// Those that cannot be read are yielded as [chunkError].
func chunksOf(txn *bdb.Txn, sub uint32, from uint64) iter.Seq2[*chunk, error] {
	return func(yield func(*chunk, error) bool) {
		for c, err := range chunks(txn, logKeys(sub, logKeyLen), logKey(sub, lowestFor(from))) {
			damaged, bad := errors.AsType[*chunkError](err)
			if bad && damaged.To < from || err == nil && c.last() < from {
				continue
			}
			if !yield(c, err) {
				return
			}
		}
	}
}

// chunks yields the chunks under a prefix of keys, in order. One that cannot be read is
// yielded as a [chunkError], which ends before the next one of its log; a key that is none
// of a log, as a [CorruptError].
func chunks(txn *bdb.Txn, prefix, from []byte) iter.Seq2[*chunk, error] {
	return func(yield func(*chunk, error) bool) {
		it := txn.NewIterator(bdb.IteratorOptions{Prefix: prefix})
		defer it.Close()
		var c chunk
		var before *chunkError
		for it.Seek(from); it.ValidForPrefix(prefix); it.Next() {
			err := c.read(it.Item())
			if before != nil {
				if before.sub == c.sub {
					before.To = min(before.To, c.first-1)
				}
				if !yield(nil, before) {
					return
				}
				before = nil
			}
			if damaged, ok := errors.AsType[*chunkError](err); ok {
				before = damaged
				continue
			}
			if !yield(&c, err) {
				return
			}
		}
		if before != nil {
			yield(nil, before)
		}
	}
}

// finder looks for the chunks of single positions, in one snapshot. It is cheap where they
// ascend.
type finder struct {
	txn *bdb.Txn
	// found is what was found last of each log.
	found map[uint32]*chunk
	it    *bdb.Iterator // once it is needed
}

func newFinder(txn *bdb.Txn) *finder { return &finder{txn: txn, found: make(map[uint32]*chunk)} }

func (f *finder) close() {
	if f.it != nil {
		f.it.Close()
	}
}

// of returns the chunk that covers a position, or nil. It belongs to the finder, until the
// next one of its log is asked for. The error is a [chunkError] if that cannot be read.
func (f *finder) of(sub uint32, pos uint64) (*chunk, error) {
	c := f.found[sub]
	if c == nil {
		c = new(chunk)
		f.found[sub] = c
	}
	if c.covers(pos) {
		return c, nil
	}
	// A chunk begins here more often than not: all do that are older than format 3.
	key := logKey(sub, pos)
	err := get(f.txn, key, func(rec []byte) error { return c.decode(key, rec) })
	if errors.Is(err, bdb.ErrKeyNotFound) {
		err = f.before(c, sub, pos)
	}
	if err != nil {
		c.seqs = c.seqs[:0]
		return nil, err
	}
	if !c.covers(pos) {
		return nil, nil
	}
	return c, nil
}

// before reads the last chunk that begins below a position and may reach it.
func (f *finder) before(c *chunk, sub uint32, pos uint64) error {
	if f.it == nil {
		f.it = f.txn.NewIterator(bdb.IteratorOptions{Prefix: []byte{logPrefix}})
	}
	c.seqs = c.seqs[:0]
	var err error
	end := logKey(sub, pos)
	for f.it.Seek(logKey(sub, lowestFor(pos))); f.it.Valid() && bytes.Compare(f.it.Item().Key(), end) < 0; f.it.Next() {
		err = c.read(f.it.Item())
	}
	return err
}

// has reports whether there is an entry at a position. One that cannot be read is none.
func (f *finder) has(sub uint32, pos uint64) (bool, error) {
	c, err := f.of(sub, pos)
	if damaged := (*chunkError)(nil); errors.As(err, &damaged) {
		return false, nil
	}
	return c != nil && c.at(pos) != 0, err
}

// headFinder finds where logs end.
type headFinder struct {
	txn *bdb.Txn
	it  *bdb.Iterator
}

func newHeadFinder(txn *bdb.Txn) *headFinder {
	// With all versions the iterator does not search for a live record below any number of
	// deleted ones.
	return &headFinder{txn, txn.NewIterator(bdb.IteratorOptions{Prefix: []byte{logPrefix}, Reverse: true, AllVersions: true})}
}

func (h *headFinder) close() { h.it.Close() }

// last returns the last position of a log that has an entry, or may have one that cannot be
// read; 0 if it has none, or if the last ones were removed: the head is stored with that.
func (h *headFinder) last(sub uint32) (uint64, error) {
	h.it.Seek(logKey(sub, math.MaxUint64))
	if !h.it.ValidForPrefix(logKeys(sub, logKeyLen)) {
		return 0, nil
	}
	key := h.it.Item().KeyCopy(nil)
	var c chunk
	err := get(h.txn, key, func(rec []byte) error { return c.decode(key, rec) })
	if damaged, ok := errors.AsType[*chunkError](err); ok {
		return damaged.To, nil // no position is given twice
	}
	switch {
	case errors.Is(err, bdb.ErrKeyNotFound):
		return 0, nil
	case err != nil:
		return 0, fmt.Errorf("finding the head of a log: %w", err)
	}
	return c.last(), nil
}

// logEntries returns entries of a log from a position up to head. With an error it returns
// those before what cannot be read.
func logEntries(txn *bdb.Txn, sub uint32, from, head uint64, limit int) ([]relay.LogEntry, error) {
	entries := make([]relay.LogEntry, 0, min(uint64(limit), head-from+1))
	for c, err := range chunksOf(txn, sub, from) {
		if damaged, ok := errors.AsType[*chunkError](err); ok {
			if damaged.From > head {
				return entries, nil
			}
			damaged.From, damaged.To = max(damaged.From, from), min(damaged.To, head)
			return entries, &relay.UnreadableError{Pos: damaged.To, Err: damaged}
		}
		if err != nil {
			return entries, err
		}
		for pos, ok := c.next(from); ok; pos, ok = c.next(pos + 1) {
			if pos > head || len(entries) == limit {
				return entries, nil
			}
			entries = append(entries, relay.LogEntry{Pos: pos, Seq: c.at(pos)})
		}
		if len(entries) == limit || c.last() >= head {
			return entries, nil
		}
	}
	return entries, nil
}
