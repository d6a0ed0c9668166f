package badger

import (
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	bdb "github.com/dgraph-io/badger/v4"
	"go.uber.org/zap"

	"github.com/caddyrelay/caddyrelay/relay"
	"github.com/caddyrelay/caddyrelay/relay/gate"
)

// database is Badger while it is open. A store that opens it anew after a failure has
// several of them, one after the other.
type database struct {
	*bdb.DB
	journal *journal
	merges  *merges
	gate    gate.Gate  // who reads from it
	closed  chan error // set once closing has begun
	// dropping is the drop of records that is under way, or nil.
	dropping atomic.Pointer[drop]
}

// Close closes Badger, and leaves its files to whom the directory belongs.
func (d *database) Close() error {
	defer d.hurry()()
	defer handOver(d.Opts().Dir)
	return errors.Join(d.DB.Close(), d.journal.close())
}

// commit returns when the transaction is on the disk. One is committed after the other.
func (d *database) commit(txn *bdb.Txn) error {
	if err := txn.Commit(); err != nil {
		return err
	}
	return d.journal.sync()
}

// Update runs fn in a transaction and commits it, in place of Badger's, which would not sync.
func (d *database) Update(fn func(txn *bdb.Txn) error) error {
	txn := d.NewTransaction(true)
	defer txn.Discard()
	if err := fn(txn); err != nil {
		return err
	}
	return d.commit(txn)
}

// DropPrefix is Badger's, which begins a new log.
func (d *database) DropPrefix(prefixes ...[]byte) error {
	defer d.hurry()() // it ends what is being merged first, and then merges, while the writer waits
	if err := d.DB.DropPrefix(prefixes...); err != nil {
		return err
	}
	return d.journal.find()
}

// hurry has tables merged as fast as that goes, until the function is called that it returns.
func (d *database) hurry() (done func()) {
	if d.merges == nil {
		return func() {}
	}
	return d.merges.pace.hurry()
}

// view runs fn in a snapshot.
func (d *database) view(fn func(txn *bdb.Txn) error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			if !d.headless() {
				panic(p)
			}
			err = errHeadless
		}
	}()
	txn := d.NewTransaction(false)
	defer txn.Discard()
	return fn(txn)
}

var errHeadless = fmt.Errorf("%w: the database could not begin a new log, and has none that it could be read with; it is opened again", relay.ErrBroken)

// headless reports whether Badger has no table in memory any more. It sets none where it cannot
// create a log, fails the commit, and lets readers run into that.
func (d *database) headless() (yes bool) {
	defer func() { yes = recover() != nil }()
	txn := d.NewTransaction(false)
	defer txn.Discard()
	_, _ = txn.Get(tailKey) // whether it panics is all that matters
	return false
}

// close ends it. Badger tries for ever to write what it has in memory, so that on a disk
// which has failed this may not return, and merging all tables takes its time: then it is
// given up when patience ends or stop is closed, and goes on in the background. What was
// acknowledged is in its logs.
func (d *database) close(patience time.Duration, stop <-chan struct{}) error {
	if d.closed == nil {
		empty, _ := d.gate.Shut()
		d.closed = make(chan error, 1)
		go func() {
			<-empty
			d.closed <- d.Close()
		}()
	}
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case err := <-d.closed:
		d.closed <- err
		return err
	case <-timer.C:
	case <-stop:
	}
	return errNotClosed
}

var errNotClosed = errors.New("the database still merges its tables, or tries to write what it has in memory")

// image is what a database holds that a store keeps in memory.
type image struct {
	dir      string
	log      *zap.Logger
	clock    func() time.Time
	db       *database
	sentinel *sentinel
	identity identity
	tail     tail
	subs     table
	// loss is what is missing, if something is.
	loss *LossError
}

// openImage opens the database and reads the image. If events are missing it fails with
// a [LossError], unless that was accepted or tolerant is set.
func openImage(dir string, o *Options, tolerant bool) (*image, error) {
	mark, err := prepare(dir, o)
	if err != nil {
		return nil, err
	}
	im := &image{dir: dir, log: o.Logger, clock: o.Clock, sentinel: mark, subs: table{byName: make(map[string]*sub)}}
	watched := o.watching(dir)
	db, err := bdb.Open(badgerOptions(dir, watched))
	if err != nil {
		return nil, errors.Join(explainOpen(dir, err, o), mark.close())
	}
	handOver(dir)
	log, err := openJournal(dir)
	if err != nil {
		return nil, errors.Join(explainOpen(dir, err, o), db.Close(), mark.close())
	}
	im.db = &database{DB: db, journal: log, merges: watched.merges}
	watched.merges.spread(db)
	if err := im.load(o, tolerant); err != nil {
		return nil, errors.Join(err, im.close())
	}
	return im, nil
}

func (im *image) close() error { return errors.Join(im.db.Close(), im.sentinel.close()) }

func (im *image) load(o *Options, tolerant bool) error {
	for _, load := range []func() error{im.loadIdentity, func() error { return im.upgrade(o) }, func() error { return im.finishLeftover(o) }, im.loadTail, im.loadSubs} {
		if err := load(); err != nil {
			return err
		}
	}
	if im.sentinel.last.id == ([16]byte{}) {
		if err := im.sentinel.adopt(im.identity.id, im.tail); err != nil {
			return err
		}
	}
	loss, err := im.findLoss()
	switch im.loss = loss; {
	case err != nil:
		return err
	case loss != nil && loss.Token == o.AcceptLoss:
		return im.acceptLoss()
	case loss == nil, tolerant:
		return nil
	}
	loss.wrongToken = o.AcceptLoss != ""
	return loss
}

// explainOpen tells the mend of errors of Badger's that have one.
func explainOpen(dir string, err error, o *Options) error {
	switch {
	case isLocked(err):
		return lockedError(dir)
	case errors.Is(err, bdb.ErrEncryptionKeyMismatch):
		if len(o.EncryptionKey) == 0 {
			return fmt.Errorf("%w: the store is encrypted, and no encryption_key is configured; give it the key that it was made with", ErrWrongKey)
		}
		return fmt.Errorf("%w: the store was made with another encryption_key, or without one; give it that key, or take the word out if there was none, or choose an empty directory for a store with this key. "+
			"If it is the key, %s is damaged: restore this file from a backup", ErrWrongKey, bdb.KeyRegistryFileName)
	}
	return fmt.Errorf("the database %s does not open: %w; %s", dir, err, mendOf(err))
}
