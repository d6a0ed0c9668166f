package badger

import (
	"errors"

	bdb "github.com/dgraph-io/badger/v4"

	"github.com/caddyrelay/caddyrelay/relay"
)

// agedKey is an idempotency key that may go.
type agedKey struct {
	key    []byte // J key
	stored relay.Seq
	// newest is the last of its events if it goes for the store's size though it is young, or 0.
	newest relay.Seq
}

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
		k := agedKey{key: key, stored: stored}
		if !stored.Time().Before(r.policy.KeysBefore) {
			if r.excess <= 0 || stored >= gone {
				return false, nil
			}
			if k.newest, err = newestOf(txn, k.hash()); err != nil || k.newest >= gone {
				return false, err
			}
			r.excess -= int64(tail.keySize())
		}
		if len(r.keys) == trimEvents {
			return true, nil
		}
		r.keys = append(r.keys, k)
	}
	return false, nil
}

func (k agedKey) hash() idemHash { return idemHash(k.key[1+8:]) }

// newestOf returns the last event of an idempotency key, 0 if none is known.
func newestOf(txn *bdb.Txn, h idemHash) (newest relay.Seq, err error) {
	found, err := knownUnder(txn, h)
	if corrupt := (*CorruptError)(nil); errors.As(err, &corrupt) {
		return 0, nil // it is good for nothing
	}
	if found == nil || err != nil {
		return 0, err
	}
	for _, r := range found.Receipts {
		newest = max(newest, r.seq)
	}
	return newest, nil
}

// removeKeys removes what findKeys found, up to the first whose event stays after all, since that was
// not known yet. What it leaves is found again.
func (r *trimRequest) removeKeys(c *committer) error {
	gone := r.cleared()
	for i, k := range r.keys {
		if k.newest >= gone {
			r.keys = r.keys[:i]
			return nil
		}
		if err := c.room(records(2, idemAgeKeyLen)); err != nil {
			return err
		}
		c.remove(k.key)
		c.remove(idemKey(k.hash()))
		c.tail.dropKey(k.stored)
	}
	return nil
}
