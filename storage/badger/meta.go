package badger

import (
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	bdb "github.com/dgraph-io/badger/v4"

	"github.com/caddyrelay/caddyrelay/relay"
)

// formatVersion is that of the layout as a whole. A store of an earlier one is read, and has
// this one from then on, so that an earlier program does not misread what this one writes.
//
//   - 1: the first.
//   - 2: data of events may be packed.
//   - 3: several positions of a log may stand in one record.
//   - 4: and so may attempts.
//   - 5: progress and attempts stand behind the events.
//   - 6: a group may be larger than a transaction.
const formatVersion = 6

// Fields of the store's identity.
const (
	metaFormat  = 1
	metaTag     = 2
	metaID      = 3
	metaCreated = 4
	metaMoving  = 5
)

// identity is made once with the store.
type identity struct {
	format uint64
	// tag is the store's part of its events' IDs.
	tag     uint16
	id      [16]byte
	created time.Time
	// moving says that records may have the keys of an earlier format still.
	moving bool
}

func newIdentity(now time.Time, id [16]byte) identity {
	// The tag is made of the id, which is random and stands in the sentinel too.
	return identity{format: formatVersion, created: now, id: id, tag: binary.BigEndian.Uint16(id[:])}
}

func encodeIdentity(me identity) []byte {
	b := newRecord(64)
	b = appendUint(b, metaFormat, me.format)
	b = appendUint(b, metaTag, uint64(me.tag))
	b = appendBytes(b, metaID, me.id[:])
	b = appendTime(b, metaCreated, me.created)
	b = appendBool(b, metaMoving, me.moving)
	return seal(storeKey, b)
}

func decodeIdentity(rec []byte) (me identity, err error) {
	err = decode(storeKey, rec, func(f *field) (err error) {
		switch f.num {
		case metaFormat:
			me.format = f.value
		case metaTag:
			me.tag = uint16(f.value)
		case metaID:
			copy(me.id[:], f.bytes)
		case metaCreated:
			me.created, err = f.time()
		case metaMoving:
			me.moving = f.value != 0
		}
		return err
	})
	return me, err
}

// tail is where the store's logs end, and how far they are trimmed. It is written
// with each trimming, so that numbers are not given again when the records that
// carried them are gone.
type tail struct {
	last    relay.Seq
	ordinal uint64
	// mark is at or below the lowest event, keysMark the lowest idempotency key by
	// age: searches begin there, not among what was deleted before.
	mark, keysMark relay.Seq
	// removed counts the events that trimming took, lost those that are gone and whose loss
	// was accepted: ordinals are contiguous, so that with them every number is accounted
	// for. Up to known gaps between ordinals are explained by the two; above there are none.
	removed, lost uint64
	known         relay.Seq
	// live is what events, their entries and attempts take as records, in bytes: what is
	// removed still lies in the files until they are merged.
	live uint64
	// bundles is the number of the newest bundle.
	bundles uint64
	// keys counts idempotency keys, and keyBytes is what they take as records: of those that were
	// stored from keysFrom on, since earlier versions counted none.
	keys, keyBytes uint64
	keysFrom       relay.Seq
}

// size is what the records take that trimming removes, in bytes.
func (t *tail) size() uint64 { return t.live + t.keyBytes }

// addKey counts an idempotency key.
func (t *tail) addKey(stored relay.Seq, size int) {
	if t.keysFrom == 0 {
		t.keysFrom = stored
	}
	if stored >= t.keysFrom {
		t.keys++
		t.keyBytes += uint64(size)
	}
}

// keySize is what a key takes on average.
func (t *tail) keySize() uint64 { return t.keyBytes / max(t.keys, 1) }

// dropKey undoes addKey. Which size the key has is not looked up.
func (t *tail) dropKey(stored relay.Seq) {
	if t.keys > 0 && stored >= t.keysFrom {
		t.keyBytes -= t.keySize()
		t.keys--
	}
}

const (
	tailLast     = 1
	tailOrdinal  = 2
	tailMark     = 3
	tailKeysMark = 4
	tailRemoved  = 5
	tailLost     = 6
	tailKnown    = 7
	tailLive     = 8
	tailBundles  = 9
	tailKeys     = 10
	tailKeyBytes = 11
	tailKeysFrom = 12

	tailSize = 6 + frameLen + 12*11
)

func encodeTail(t tail) []byte {
	b := newRecord(tailSize)
	b = appendUint(b, tailLast, uint64(t.last))
	b = appendUint(b, tailOrdinal, t.ordinal)
	b = appendUint(b, tailMark, uint64(t.mark))
	b = appendUint(b, tailKeysMark, uint64(t.keysMark))
	b = appendUint(b, tailRemoved, t.removed)
	b = appendUint(b, tailLost, t.lost)
	b = appendUint(b, tailKnown, uint64(t.known))
	b = appendUint(b, tailLive, t.live)
	b = appendUint(b, tailBundles, t.bundles)
	b = appendUint(b, tailKeys, t.keys)
	b = appendUint(b, tailKeyBytes, t.keyBytes)
	b = appendUint(b, tailKeysFrom, uint64(t.keysFrom))
	return seal(tailKey, b)
}

func decodeTail(rec []byte) (t tail, err error) {
	err = decode(tailKey, rec, func(f *field) error {
		switch f.num {
		case tailLast:
			t.last = relay.Seq(f.value)
		case tailOrdinal:
			t.ordinal = f.value
		case tailMark:
			t.mark = relay.Seq(f.value)
		case tailKeysMark:
			t.keysMark = relay.Seq(f.value)
		case tailRemoved:
			t.removed = f.value
		case tailLost:
			t.lost = f.value
		case tailKnown:
			t.known = relay.Seq(f.value)
		case tailLive:
			t.live = f.value
		case tailBundles:
			t.bundles = f.value
		case tailKeys:
			t.keys = f.value
		case tailKeyBytes:
			t.keyBytes = f.value
		case tailKeysFrom:
			t.keysFrom = relay.Seq(f.value)
		}
		return nil
	})
	return t, err
}

// loadIdentity reads the store's identity, and makes one if the database is empty: that
// which the sentinel names.
func (im *image) loadIdentity() error {
	mark := im.sentinel.last
	err := im.db.view(func(txn *bdb.Txn) error {
		return get(txn, storeKey, func(rec []byte) (err error) {
			im.identity, err = decodeIdentity(rec)
			return err
		})
	})
	switch {
	case err == nil && !im.identity.known():
		return im.identity.otherVersion()
	case err == nil && im.identity.id != mark.id && mark.id != ([16]byte{}):
		return fmt.Errorf("%w: the database is the store %x, its %s belongs to the store %x; put back the files of one store, from one backup",
			ErrOtherStore, im.identity.id, sentinelName, mark.id)
	case !errors.Is(err, bdb.ErrKeyNotFound):
		return err
	}
	foreign := false
	if err := im.db.view(func(txn *bdb.Txn) error {
		it := txn.NewIterator(bdb.IteratorOptions{})
		defer it.Close()
		it.Rewind()
		foreign = it.Valid()
		return nil
	}); err != nil {
		return err
	}
	if foreign {
		return errors.New("the database has no identity but holds data: it was not made by this program, or lost records; restore a backup or choose an empty directory")
	}
	if mark.id == ([16]byte{}) {
		_, _ = rand.Read(mark.id[:])
	}
	im.identity = newIdentity(im.clock(), mark.id)
	if mark.ordinal > 0 {
		return nil // everything is gone; findLoss says so, and nothing is written before
	}
	return im.writeIdentity()
}

// known reports whether this program reads stores of this format.
func (me *identity) known() bool { return 1 <= me.format && me.format <= formatVersion }

func (me *identity) otherVersion() error {
	return fmt.Errorf("%w: the store has format %d, this program knows formats up to %d; start the version that made it, or a later one",
		ErrOtherVersion, me.format, formatVersion)
}

func (im *image) writeIdentity() error {
	return im.db.Update(func(txn *bdb.Txn) error { return txn.Set(storeKey, encodeIdentity(im.identity)) })
}

// loadTail finds where the event log ends.
func (im *image) loadTail() error {
	return im.db.view(func(txn *bdb.Txn) error {
		err := get(txn, tailKey, func(rec []byte) (err error) {
			im.tail, err = decodeTail(rec)
			return err
		})
		if errors.Is(err, bdb.ErrKeyNotFound) {
			im.tail.keysFrom = 1 // nothing was ever stored
		} else if err != nil {
			return err
		}
		// With all versions the iterator does not search for a live record below any
		// number of deleted ones. It need not: a record that was deleted is not above
		// the tail that was written with its deletion.
		it := txn.NewIterator(bdb.IteratorOptions{Reverse: true, AllVersions: true, Prefix: []byte{eventPrefix}})
		defer it.Close()
		it.Seek(eventKey(^relay.Seq(0)))
		if !it.Valid() {
			return nil
		}
		item := it.Item()
		seq, err := seqOf(item.Key())
		if err != nil {
			return &CorruptError{keyName(item.Key()), err}
		}
		if seq <= im.tail.last {
			return nil
		}
		return item.Value(func(rec []byte) error {
			e, err := decodeEvent(item.Key(), rec, placesOnly)
			if err != nil {
				return err
			}
			im.tail.last, im.tail.ordinal = seq, e.ordinal
			return nil
		})
	})
}
