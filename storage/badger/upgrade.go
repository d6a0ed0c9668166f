package badger

import (
	"bytes"
	"hash/crc32"

	bdb "github.com/dgraph-io/badger/v4"
	"go.uber.org/zap"
)

// upgrade gives the store the present format. Whoever opens a store of an earlier one, to
// check it too, leaves one that earlier programs refuse.
func (im *image) upgrade() error {
	before := im.identity.format
	if before == formatVersion {
		return nil
	}
	if err := rehouse(im.db.DB); err != nil {
		return err
	}
	im.identity.format = formatVersion
	im.log.Info("the store has a new format from now on; earlier versions of this program refuse it",
		zap.Uint64("before", before), zap.Uint64("now", formatVersion))
	return im.writeIdentity()
}

// rehouse gives records the keys that they have since format 5. It may be ended anywhere:
// until the store has the format it is done again, and what stands at both keys is the same.
func rehouse(db *bdb.DB) error {
	for from, to := range map[byte]byte{formerBundlePrefix: bundlePrefix, formerProgressPrefix: progressPrefix} {
		writes := db.NewWriteBatch()
		err := db.View(func(txn *bdb.Txn) error {
			return each(txn, from, func(key, rec []byte) error {
				former, now := bytes.Clone(key), append([]byte{to}, key[1:]...)
				_, err := unseal(key, rec)
				if rec = bytes.Clone(rec); err == nil { // else who reads it there says what is wrong
					rec = seal(now, rec[:len(rec)-crc32.Size])
				}
				if err := writes.Set(now, rec); err != nil {
					return err
				}
				return writes.Delete(former)
			})
		})
		if err != nil {
			writes.Cancel()
			return err
		}
		if err := writes.Flush(); err != nil {
			return err
		}
	}
	return nil
}
