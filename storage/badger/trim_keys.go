package badger

import (
	"errors"
	"slices"

	bdb "github.com/dgraph-io/badger/v4"

	"github.com/caddyrelay/caddyrelay/relay"
)

// findKeys looks for idempotency keys to be removed, from the oldest on. For the store's size those
// go, too, of which no event is left.
func (r *trimRequest) findKeys(s *Store, txn *bdb.Txn) (more bool, err error) {
	gone, tail := r.cleared(), s.committed()
	it := txn.NewIterator(bdb.IteratorOptions{Prefix: []byte{idemAgePrefix}})
	defer it.Close()
	for it.Seek(idemAgeKey(tail.keysMark, idemHash{})); it.Valid(); it.Next() {
		key := it.Item().KeyCopy(nil)
		stored, err := seqOf(key)
		if err != nil || len(key) != idemAgeKeyLen {
			return false, &CorruptError{keyName(key), errShort}
		}
		if !stored.Time().Before(r.policy.KeysBefore) {
			if r.excess <= 0 || stored >= gone {
				return false, nil
			}
			if waits, err := keyReaches(txn, idemHash(key[1+8:]), gone); err != nil || waits {
				return false, err
			}
			r.excess -= int64(tail.keySize())
		}
		if len(r.keys) == trimEvents {
			return true, nil
		}
		r.keys = append(r.keys, key)
	}
	return false, nil
}

// keyReaches reports whether an idempotency key is that of an event at or behind one.
func keyReaches(txn *bdb.Txn, h idemHash, seq relay.Seq) (bool, error) {
	found, err := knownUnder(txn, h)
	if corrupt := (*CorruptError)(nil); errors.As(err, &corrupt) {
		return false, nil // it is good for nothing
	}
	if found == nil || err != nil {
		return false, err
	}
	return slices.ContainsFunc(found.Receipts, func(r receipt) bool { return r.seq >= seq }), nil
}
