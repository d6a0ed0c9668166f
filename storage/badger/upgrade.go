package badger

import (
	"bytes"
	"fmt"
	"hash/crc32"

	bdb "github.com/dgraph-io/badger/v4"
	"go.uber.org/zap"
)

// rehoused are the letters that have changed with format 5.
var rehoused = []struct{ from, to byte }{
	{formerBundlePrefix, bundlePrefix},
	{formerProgressPrefix, progressPrefix},
}

// upgrade gives the store the present format. Whoever opens a store of an earlier one, to
// check it too, leaves one that earlier programs refuse: it has the format before its keys
// are moved, so that none of those takes what is moved for missing.
func (im *image) upgrade(o *Options) error {
	before := im.identity.format
	if before == formatVersion && !im.identity.moving {
		return nil
	}
	if err := im.roomToUpgrade(o); err != nil {
		return err
	}
	im.identity.format, im.identity.moving = formatVersion, true
	if err := im.writeIdentity(); err != nil {
		return err
	}
	im.log.Info("the store has a new format from now on; earlier versions of this program refuse it",
		zap.Uint64("before", before), zap.Uint64("now", formatVersion))
	o.step("has the format")
	if err := rehouse(im.db); err != nil {
		return fmt.Errorf("moving the keys of the store: %w", err)
	}
	o.step("rehoused")
	im.identity.moving = false
	return im.writeIdentity()
}

// roomToUpgrade refuses where the volume does not have room for the records that are written
// anew.
func (im *image) roomToUpgrade(o *Options) error {
	size := int64(0)
	err := im.db.view(func(txn *bdb.Txn) error {
		for _, letter := range rehoused {
			err := each(txn, letter.from, func(key, rec []byte) error {
				size += record(len(key)+len(rec)).size + record(len(key)).size
				return nil
			})
			if err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	return im.roomFor(o, "to give the store the format of this version", size)
}

// rehouse gives records the keys that they have since format 5. It may be ended anywhere, and
// is then done again. What has its key already stays: where a damaged file has lost the mark
// that a former one is removed, that is the older one.
func rehouse(db *database) error {
	w := newInTurn(db, (*database).commit)
	defer w.end()
	err := db.View(func(txn *bdb.Txn) error {
		for _, letter := range rehoused {
			err := each(txn, letter.from, func(key, rec []byte) error { return move(w, txn, key, rec, letter.to) })
			if err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	return w.flush()
}

// move gives a record another letter.
func move(w *inTurn, before *bdb.Txn, key, rec []byte, to byte) error {
	former, now := bytes.Clone(key), append([]byte{to}, key[1:]...)
	there, err := exists(before, now)
	if err != nil {
		return err
	}
	if !there {
		rec = bytes.Clone(rec)
		if _, err := unseal(former, rec); err == nil { // else who reads it there says what is wrong
			rec = seal(now, rec[:len(rec)-crc32.Size])
		}
		if err := w.write(func(txn *bdb.Txn) error { return txn.Set(now, rec) }); err != nil {
			return err
		}
	}
	return w.write(func(txn *bdb.Txn) error { return txn.Delete(former) })
}
