package badger

import (
	"github.com/caddyrelay/caddyrelay/relay"
	"github.com/caddyrelay/caddyrelay/storage/badger/files"
)

// A fence keeps what was removed and what is new in different tables.
//
// Events are removed at one end of their keys and added at the other, and both go into the
// same log. Badger merges the logs, and begins a new table wherever the last one is full; so
// one table had the last marks of removals and the first of the new events, and reached over
// all that lie between. To merge it into the level below wrote the whole store anew, each
// time, for some hundred megabytes of new events.
//
// A fence is a mark of a removal, too, of a key that no event has. It stands above what was
// removed, and is so long that it fills a table of the first level on its own. Behind it
// there is a short one: Badger looks whether a table is full when it has begun a block, and
// that ends the block of the fence. The next key begins another table.

const (
	// fenceSize fills a table, with what the table begins with, and stays out of the value log.
	fenceSize = valueThreshold - 4<<10
	// fenceFrom is what a store holds at least. A smaller one is in one level or two, and
	// merged at little cost.
	fenceFrom = 2 * firstLevelSize
	// fenceEvery is what is written at most without another fence: less than the new tables
	// that are merged together, so that each merge meets one. fenceLeast is what is written at
	// least.
	fenceEvery = newTables * memTableSize / 4
	fenceLeast = 2 * memTableSize
	// fenceAhead is about what lies between the last event removed and the fence, so that the
	// next ones do not need another.
	fenceAhead = 64 << 20
)

// removedSpan is what a step of trimming has removed, from the first event to the last.
type removedSpan struct {
	first, last relay.Seq // 0: nothing
	bytes       int64
}

func (r *removedSpan) add(t *trimmable) {
	if r.last = t.seq; r.first == 0 {
		r.first = t.seq
	}
	r.bytes += t.size
}

// fence stands above what was removed, if that needs one and there is room for it. There is
// none in an encrypted store: while Badger encrypts a block it does not see how full the table
// is.
func (c *committer) fence(removed removedSpan) error {
	if removed.last == 0 || c.tail.live < fenceFrom || len(c.s.options.EncryptionKey) > 0 {
		return nil
	}
	if c.fenced > 0 && (c.unfenced < fenceLeast || removed.last <= c.fenced && c.unfenced < fenceEvery) {
		return nil
	}
	if c.s.space.admit(fenceSize, false) != nil {
		return nil // it saves work only
	}
	// Those behind are taken to be as large, and to have come as fast.
	ahead := float64(removed.last-removed.first) * fenceAhead / float64(max(removed.bytes, 1))
	at := c.tail.last
	if ahead < float64(at-removed.last) {
		at = removed.last + relay.Seq(ahead)
	}
	if err := c.room(record(eventKeyLen + 1 + fenceSize).plus(record(eventKeyLen + 1))); err != nil {
		return err
	}
	c.putRemoved(fenceKey(at, 0), make([]byte, fenceSize))
	c.putRemoved(fenceKey(at, 1), nil)
	c.fenced, c.unfenced = at, 0
	return nil
}

// fenceKey is behind that of an event and before that of the next.
func fenceKey(s relay.Seq, n byte) []byte { return append(eventKey(s), n) }

// putRemoved writes a record that is removed from the beginning: to Badger, one whose time
// was over in 1970 is the same as a deletion, but it may have a value.
func (c *committer) putRemoved(key, rec []byte) {
	c.change(change{key: key, rec: rec, expires: files.Gone})
}
