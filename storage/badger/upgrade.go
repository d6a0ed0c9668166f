package badger

import (
	"bytes"
	"errors"
	"fmt"
	"hash/crc32"

	bdb "github.com/dgraph-io/badger/v4"
	"github.com/dustin/go-humanize"
	"go.uber.org/zap"

	"github.com/caddyrelay/caddyrelay/relay"
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
	s := newSpace(im.dir, o)
	free := s.volume(im.dir)
	if free < 0 {
		return nil
	}
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
	u := count(im.dir)
	u.merging = im.db.merging()
	need := u.critical()
	if o.rest { // nothing is merged
		need = u.toOpen()
	}
	need += size * 9 / 4
	if free < need && s.dropBallast() {
		free = s.volume(im.dir)
	}
	if free < need {
		return fmt.Errorf("%w: %s are free on the volume of %s, and to give the store the format of this version takes %s; nothing is changed or lost: make room on the volume and start again",
			relay.ErrFull, humanize.IBytes(uint64(free)), im.dir, humanize.IBytes(uint64(need)))
	}
	return nil
}

// rehouse gives records the keys that they have since format 5. It may be ended anywhere, and
// is then done again. What has its key already stays: where a damaged file has lost the mark
// that a former one is removed, that is the older one.
func rehouse(db *database) error {
	w := inTurn{db: db, txn: db.NewTransaction(true)}
	defer func() { w.txn.Discard() }()
	err := db.View(func(txn *bdb.Txn) error {
		for _, letter := range rehoused {
			err := each(txn, letter.from, func(key, rec []byte) error { return w.move(txn, key, rec, letter.to) })
			if err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	return w.db.commit(w.txn)
}

// inTurn writes in transactions of which each is on the disk before the next one begins. Of a
// batch of Badger's several are under way, and one may succeed, with the removal of a record,
// where that with its new key has failed.
type inTurn struct {
	db  *database
	txn *bdb.Txn
}

// move gives a record another letter.
func (w *inTurn) move(before *bdb.Txn, key, rec []byte, to byte) error {
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

func (w *inTurn) write(fn func(txn *bdb.Txn) error) error {
	err := fn(w.txn)
	if !errors.Is(err, bdb.ErrTxnTooBig) {
		return err
	}
	if err := w.db.commit(w.txn); err != nil {
		return err
	}
	w.txn = w.db.NewTransaction(true)
	return fn(w.txn)
}
