package badger

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"time"

	bdb "github.com/dgraph-io/badger/v4"
	"go.uber.org/zap"

	"github.com/caddyrelay/caddyrelay/relay"
)

// Store is a [relay.Store] in one directory.
type Store struct {
	dir   string
	db    *bdb.DB
	log   *zap.Logger
	clock func() time.Time
	gate  gate

	identity identity
	subs     table

	mu   sync.Mutex
	tail tail  // as committed
	fail error // why nothing is written any more, or nil

	requests chan request
	stopped  chan struct{} // closed when the committer has ended

	trim trimmer
}

var _ relay.Store = (*Store)(nil)

// queueLength is how many requests may wait for the committer. It only has to hold
// what comes in during one sync.
const queueLength = 256

// Open opens the store in dir, and makes both if they are not there.
//
// An error that is [ErrLocked] means that the directory is open elsewhere, one that is
// [ErrNoManifest] that a file is missing without which Badger would delete data.
func Open(dir string, o Options) (*Store, error) {
	o.setDefaults()
	s, err := open(dir, &o)
	if err != nil {
		return nil, fmt.Errorf("opening the store in %s: %w", dir, err)
	}
	return s, nil
}

func open(dir string, o *Options) (*Store, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	if err := prepare(dir, o.Logger); err != nil {
		return nil, err
	}
	db, err := bdb.Open(badgerOptions(dir, o))
	if err != nil {
		if isLocked(err) {
			return nil, lockedError(dir)
		}
		return nil, err
	}
	s := &Store{
		dir:      dir,
		db:       db,
		log:      o.Logger,
		clock:    o.Clock,
		subs:     table{byName: make(map[string]*sub)},
		requests: make(chan request, queueLength),
		stopped:  make(chan struct{}),
	}
	for _, load := range []func() error{s.loadIdentity, s.loadTail, s.loadSubs} {
		if err := load(); err != nil {
			return nil, errors.Join(err, db.Close())
		}
	}
	go newCommitter(s).run()
	return s, nil
}

// Close implements [relay.Store]. It must not be called from stored.
func (s *Store) Close() error {
	if !s.gate.close() {
		return relay.ErrClosed
	}
	close(s.requests)
	<-s.stopped
	if err := s.db.Close(); err != nil {
		return fmt.Errorf("closing the store: %w", err)
	}
	return nil
}

// Err implements [relay.Store].
func (s *Store) Err() error {
	if s.gate.isShut() {
		return relay.ErrClosed
	}
	return s.failure()
}

func (s *Store) failure() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.fail
}

// breakWith ends all writing. Badger itself would go on after a failed sync, though
// the system has by then forgotten which pages were not written.
func (s *Store) breakWith(cause error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fail = fmt.Errorf("%w: committing a group: %w", relay.ErrBroken, cause)
	s.log.Error("the store has failed and takes no more writes until it is opened again", zap.Error(cause))
	return s.fail
}

func (s *Store) committed() tail {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.tail
}

// submit hands r to the committer and waits for its answer. The caller has entered
// the gate.
func (s *Store) submit(ctx context.Context, r request) error {
	if err := s.failure(); err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	select {
	case s.requests <- r:
	case <-ctx.Done():
		return ctx.Err()
	}
	return <-r.answer()
}

// read runs fn in a snapshot, within the gate.
func (s *Store) read(ctx context.Context, fn func(txn *bdb.Txn) error) error {
	if !s.gate.enter() {
		return relay.ErrClosed
	}
	defer s.gate.leave()
	if err := ctx.Err(); err != nil {
		return err
	}
	return s.view(fn)
}

func (s *Store) view(fn func(txn *bdb.Txn) error) error {
	txn := s.db.NewTransaction(false)
	defer txn.Discard()
	return fn(txn)
}

// get passes the record under key to fn, or returns badger's ErrKeyNotFound.
func get(txn *bdb.Txn, key []byte, fn func(rec []byte) error) error {
	item, err := txn.Get(key)
	if err != nil {
		return err
	}
	return item.Value(fn)
}

// exists reports whether there is a record under key.
func exists(txn *bdb.Txn, key []byte) (bool, error) {
	_, err := txn.Get(key)
	if errors.Is(err, bdb.ErrKeyNotFound) {
		return false, nil
	}
	return err == nil, err
}

// scan passes all records whose key begins with prefix to fn.
func scan(txn *bdb.Txn, prefix []byte, fn func(key, rec []byte) error) error {
	it := txn.NewIterator(bdb.IteratorOptions{Prefix: prefix})
	defer it.Close()
	for it.Seek(prefix); it.ValidForPrefix(prefix); it.Next() {
		item := it.Item()
		if err := item.Value(func(rec []byte) error { return fn(item.Key(), rec) }); err != nil {
			return err
		}
	}
	return nil
}
