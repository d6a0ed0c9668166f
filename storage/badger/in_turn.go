package badger

import (
	"errors"

	bdb "github.com/dgraph-io/badger/v4"
)

// inTurn writes in transactions of which each is on the disk before the next one begins. Of a
// batch of Badger's several are under way, and one may succeed, with the removal of a record,
// where that with its new key has failed.
type inTurn struct {
	db     *database
	commit func(*database, *bdb.Txn) error
	txn    *bdb.Txn
}

// newInTurn commits by commit. Who has it calls end.
func newInTurn(db *database, commit func(*database, *bdb.Txn) error) *inTurn {
	return &inTurn{db, commit, db.NewTransaction(true)}
}

// write lets fn change one record, in the next transaction if there is no room in this one.
func (w *inTurn) write(fn func(txn *bdb.Txn) error) error {
	err := fn(w.txn)
	if !errors.Is(err, bdb.ErrTxnTooBig) {
		return err
	}
	if err := w.flush(); err != nil {
		return err
	}
	return fn(w.txn)
}

// flush commits what was written.
func (w *inTurn) flush() error {
	if err := w.commit(w.db, w.txn); err != nil {
		return err
	}
	w.txn = w.db.NewTransaction(true)
	return nil
}

// end gives up what was not flushed.
func (w *inTurn) end() { w.txn.Discard() }
