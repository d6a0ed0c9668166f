package badger

import (
	bdb "github.com/dgraph-io/badger/v4"
)

// beforeGroup looks into what was committed before a group. To make an iterator costs more
// than what is read by it, when an event of many subscriptions is removed.
type beforeGroup struct {
	txn     *bdb.Txn
	entries *finder
	it      *bdb.Iterator // over bundles; once it is needed
}

// beforeGroup returns it, until the group is committed.
func (c *committer) beforeGroup() *beforeGroup {
	if c.before == nil {
		txn := c.db.NewTransaction(false)
		c.before = &beforeGroup{txn: txn, entries: newFinder(txn)}
	}
	return c.before
}

// bundles passes the bundles of a window, oldest first.
func (b *beforeGroup) bundles(at windowAt, fn func(key, rec []byte) error) error {
	if b.it == nil {
		b.it = b.txn.NewIterator(bdb.IteratorOptions{Prefix: []byte{bundlePrefix}})
	}
	prefix := windowKeys(at)
	for b.it.Seek(prefix); b.it.ValidForPrefix(prefix); b.it.Next() {
		item := b.it.Item()
		if err := item.Value(func(rec []byte) error { return fn(item.Key(), rec) }); err != nil {
			return err
		}
	}
	return nil
}

func (b *beforeGroup) close() {
	b.entries.close()
	if b.it != nil {
		b.it.Close()
	}
	b.txn.Discard()
}
