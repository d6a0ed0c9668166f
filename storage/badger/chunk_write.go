package badger

import (
	"errors"
	"slices"

	bdb "github.com/dgraph-io/badger/v4"

	"github.com/caddyrelay/caddyrelay/relay"
)

// extend adds an event to the log of a subscription. The entry is written with the others
// of the group: until then nobody may read it.
func (c *committer) extend(u *sub, seq relay.Seq, orderKey string) place {
	c.touch(u)
	u.next.progress.Head++
	u.added = append(u.added, seq)
	return place{u.id, u.next.progress.Head, orderKey}
}

// addedFrom returns the first of the positions that the group adds to a log.
func (u *sub) addedFrom() uint64 { return u.next.progress.Head + 1 - uint64(len(u.added)) }

// writeAdded writes what the group adds to a log. There is room for it: each entry has
// asked for a record of its own.
func (c *committer) writeAdded(u *sub) {
	one := chunk{sub: u.id, first: u.addedFrom()}
	for one.seqs = range slices.Chunk(u.added, chunkMost) {
		key := logKey(u.id, one.first)
		rec := one.encode(key)
		c.put(key, rec)
		c.grow(len(key) + len(rec))
		one.first += uint64(len(one.seqs))
	}
	if cap(u.added) > chunkMost { // of a burst; thousands of subscriptions may have had one
		u.added = nil
	}
	u.added = u.added[:0]
}

// openChunk is a chunk that a group takes entries out of.
type openChunk struct {
	chunk
	size int // what it took before
}

// strike takes an entry out of a log. There must be room for a chunk.
func (c *committer) strike(u *sub, pos uint64) error {
	o, err := c.open(u.id, pos)
	if damaged := (*chunkError)(nil); errors.As(err, &damaged) {
		c.giveUp(u, damaged)
		return nil
	}
	if o != nil {
		o.seqs[pos-o.first] = 0
	}
	return err
}

// giveUp removes a chunk that cannot be read, once everything is finished that it may have
// held.
func (c *committer) giveUp(u *sub, damaged *chunkError) {
	for pos := damaged.From; pos <= min(damaged.To, u.next.progress.Head); pos++ {
		if !u.next.finished(pos) {
			return
		}
	}
	c.remove(logKey(u.id, damaged.From))
}

// open returns the chunk that holds a position as the group leaves it, or nil.
func (c *committer) open(id uint32, pos uint64) (*openChunk, error) {
	all := c.opened[id]
	i, found := slices.BinarySearchFunc(all, pos, compareToChunk)
	if found {
		return all[i], nil
	}
	// What is committed is all there is: chunks of the group itself are not yet anybody's.
	before, err := c.beforeGroup().entries.of(id, pos)
	if err != nil || before == nil {
		return nil, err
	}
	o := &openChunk{chunk: *before}
	o.seqs = slices.Clone(o.seqs)
	key := logKey(id, o.first)
	o.size = len(key) + len(o.encode(key))
	c.opened[id] = slices.Insert(all, i, o)
	return o, nil
}

func compareToChunk(o *openChunk, pos uint64) int {
	switch {
	case o.last() < pos:
		return -1
	case o.first > pos:
		return 1
	}
	return 0
}

// lowestLeft looks for an entry at a position where a chunk begins, or within one that is
// open. If there is none it returns where to look next.
func (c *committer) lowestLeft(u *sub, pos uint64) (next uint64, left bool, err error) {
	if pos >= u.addedFrom() {
		return pos, true, nil
	}
	all := c.opened[u.id]
	i, found := slices.BinarySearchFunc(all, pos, compareToChunk)
	var one chunk
	if found {
		one = all[i].chunk
	} else {
		key := logKey(u.id, pos)
		err := get(c.transaction(), key, func(rec []byte) error { return one.decode(key, rec) })
		switch damaged := (*chunkError)(nil); {
		case errors.Is(err, bdb.ErrKeyNotFound):
			return pos + 1, false, nil
		case errors.As(err, &damaged):
			return pos, true, nil
		case err != nil:
			return 0, false, err
		}
	}
	if next, left = one.next(pos); left {
		return next, true, nil
	}
	return one.last() + 1, false, nil
}

// writeOpened writes the chunks that entries were taken out of, or removes those that have
// none left.
func (c *committer) writeOpened() {
	for _, all := range c.opened {
		for _, o := range all {
			key, rec := logKey(o.sub, o.first), []byte(nil)
			if !o.empty() {
				rec = o.encode(key)
			}
			c.replace(key, rec, o.size)
		}
	}
}
