package badger

import (
	bdb "github.com/dgraph-io/badger/v4"
)

// findKeys looks for idempotency keys to be removed, from the oldest on.
func (r *trimRequest) findKeys(s *Store, txn *bdb.Txn) (more bool, err error) {
	it := txn.NewIterator(bdb.IteratorOptions{Prefix: []byte{idemAgePrefix}})
	defer it.Close()
	for it.Seek(idemAgeKey(s.committed().keysMark, idemHash{})); it.Valid(); it.Next() {
		key := it.Item().KeyCopy(nil)
		stored, err := seqOf(key)
		if err != nil || len(key) != idemAgeKeyLen {
			return false, &CorruptError{keyName(key), errShort}
		}
		if !stored.Time().Before(r.policy.KeysBefore) {
			return false, nil
		}
		if len(r.keys) == trimEvents {
			return true, nil
		}
		r.keys = append(r.keys, key)
	}
	return false, nil
}
