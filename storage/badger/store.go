package badger

import (
	"context"
	"crypto/subtle"
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	bdb "github.com/dgraph-io/badger/v4"
	"go.uber.org/zap"

	"github.com/caddyrelay/caddyrelay/relay"
	"github.com/caddyrelay/caddyrelay/relay/gate"
)

// Store is a [relay.Store] in one directory.
type Store struct {
	dir     string
	options Options
	log     *zap.Logger
	clock   func() time.Time
	gate    gate.Gate
	space   *space
	reserve descriptors

	// db is nil while the database is opened anew.
	db       atomic.Pointer[database]
	identity identity
	subs     table

	mu       sync.Mutex
	tail     tail  // as committed
	fail     error // why nothing is written at present, or nil
	reopened []func()
	// sentinel belongs to db; the janitor syncs it.
	sentinel *sentinel
	// closing is what of a database could not be closed yet.
	closing *database
	// opening is closed when the database is open again; nil unless it is opened anew by
	// plan.
	opening chan struct{}
	// resting says that the database was opened without merging of tables.
	resting atomic.Bool
	// flattening says that all tables are being merged; only the janitor begins it.
	flattening atomic.Bool

	requests chan request
	stopped  chan struct{} // closed when the committer has ended
	stop     chan struct{} // closed when Close begins
	stopOnce sync.Once
	janitor  sync.WaitGroup

	// mendAfter is the first pause before opening anew; tests change it.
	mendAfter time.Duration

	trim trimmer
	// changes is how many of those that committer.changes counts are committed.
	changes atomic.Uint64
}

var (
	_ relay.Store    = (*Store)(nil)
	_ relay.Reopener = (*Store)(nil)
)

// queueLength is how many requests may wait for the committer. It only has to hold
// what comes in during one sync.
const queueLength = 256

// closePatience is how long Close waits for a disk that has failed.
const closePatience = 10 * time.Second

// Open opens the store in dir, and makes both if they are not there.
//
// An error that is [ErrLocked] means that the directory is open elsewhere, one that is
// [ErrNoManifest] that a file is missing without which Badger would delete data. A
// [LossError] means that acknowledged events are gone.
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
	s := &Store{
		dir:       dir,
		options:   *o,
		log:       o.Logger,
		clock:     o.Clock,
		space:     newSpace(dir, o),
		subs:      table{byName: make(map[string]*sub)},
		requests:  make(chan request, queueLength),
		stopped:   make(chan struct{}),
		stop:      make(chan struct{}),
		mendAfter: time.Second,
	}
	s.space.database = &s.db
	im, err := s.openImage()
	if err != nil {
		return nil, err
	}
	if o.AcceptLoss != "" && im.loss == nil {
		o.Logger.Info("accept_loss is not needed; take it out of the configuration")
	}
	// A token works once.
	s.options.AcceptLoss = ""
	s.identity = im.identity
	s.adopt(im)
	s.options.reserve = &s.reserve
	s.reserve.hold()
	go newCommitter(s).run()
	s.janitor.Go(s.keepHouse)
	return s, nil
}

// openImage opens the database if there is room for that.
func (s *Store) openImage() (*image, error) {
	rest, err := s.space.openOn()
	if err != nil {
		return nil, err
	}
	if rest {
		s.log.Warn("the volume is nearly full: the store is opened without merging its tables", zap.String("directory", s.dir))
	}
	s.options.rest = rest
	s.resting.Store(rest)
	im, err := openImage(s.dir, &s.options, false)
	if err == nil {
		s.space.remeasure()
	}
	return im, err
}

// adopt makes what was read from a database the store's state.
func (s *Store) adopt(im *image) {
	s.subs.replace(&im.subs)
	s.mu.Lock()
	s.tail, s.sentinel = im.tail, im.sentinel
	s.mu.Unlock()
	s.space.live.Store(int64(im.tail.size()))
	s.db.Store(im.db)
	im.db.merges.onMissing(s.holdMerge)
}

// Close implements [relay.Store]. It must not be called from stored.
func (s *Store) Close() error {
	s.stopOnce.Do(func() { close(s.stop) })
	empty, first := s.gate.Shut()
	if !first {
		return relay.ErrClosed
	}
	ended := make(chan struct{})
	go func() {
		<-empty
		s.janitor.Wait()
		close(s.requests)
		<-s.stopped
		close(ended)
	}()
	err := s.waitUnlessHeld(ended)
	if err == nil {
		s.reserve.free()
		err = s.closeDatabase(closePatience, nil)
	}
	if err != nil {
		return fmt.Errorf("closing the store: %w", err)
	}
	return nil
}

// waitUnlessHeld waits for those who read and write to end. If merging is held they may never:
// it is given up then, and what was acknowledged is in the logs.
func (s *Store) waitUnlessHeld(ended <-chan struct{}) error {
	tick := time.NewTicker(s.pause(closePatience))
	defer tick.Stop()
	for {
		select {
		case <-ended:
			return nil
		case <-tick.C:
			if err := s.failure(); errors.Is(err, errMergeHeld) {
				return err
			}
		}
	}
}

// closeDatabase closes the database, or goes on closing it. One that has vanished is left
// as it is: Badger would write its tables into whatever is now under that name, and list
// them in the files that are gone. Its logs hold all that was acknowledged.
func (s *Store) closeDatabase(patience time.Duration, stop <-chan struct{}) error {
	if s.db.Load() != nil {
		if err := s.sentinel.present(); err != nil {
			return err
		}
	}
	if d := s.db.Swap(nil); d != nil {
		s.closing = d
	}
	if s.closing == nil {
		return nil
	}
	err := s.closing.close(patience, stop)
	if errors.Is(err, errNotClosed) {
		return err
	}
	s.closing = nil
	return errors.Join(err, s.sentinel.close())
}

// Configure changes the limits of room.
func (s *Store) Configure(l Limits) { s.space.configure(l) }

// HasKey reports whether the store was opened with this encryption key.
func (s *Store) HasKey(key []byte) bool {
	return subtle.ConstantTimeCompare(key, s.options.EncryptionKey) == 1
}

// Err implements [relay.Store].
func (s *Store) Err() error {
	if s.gate.IsShut() {
		return relay.ErrClosed
	}
	if err := s.failure(); err != nil {
		return err
	}
	return s.space.err()
}

func (s *Store) failure() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.fail
}

// breakWith ends all writing until the database was opened anew. Badger itself would go
// on after a failed sync, though the system has by then forgotten which pages were not
// written.
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

// submit hands r to the committer and waits for its answer.
func (s *Store) submit(ctx context.Context, r request) error {
	if !s.gate.Enter() {
		return relay.ErrClosed
	}
	defer s.gate.Leave()
	if err := s.failure(); err != nil {
		return err
	}
	return relay.Submit(ctx, s.requests, r, r.answer())
}

// read runs fn in a snapshot, within the gate.
func (s *Store) read(ctx context.Context, fn func(txn *bdb.Txn) error) error {
	if !s.gate.Enter() {
		return relay.ErrClosed
	}
	defer s.gate.Leave()
	if err := ctx.Err(); err != nil {
		return err
	}
	return s.view(fn)
}

func (s *Store) view(fn func(txn *bdb.Txn) error) error {
	return s.with(func(d *database) error { return d.view(fn) })
}

// with calls fn with the database, which stays open meanwhile.
func (s *Store) with(fn func(d *database) error) error {
	for {
		d := s.db.Load()
		if d != nil && d.gate.Enter() {
			defer d.gate.Leave()
			if err := s.waitForDrop(d); err != nil {
				return err
			}
			return fn(d)
		}
		if !s.waitForOpening() && s.db.Load() == d {
			return s.away()
		}
	}
}

// away is the error of who finds no database.
func (s *Store) away() error {
	if err := s.failure(); err != nil {
		return err
	}
	return fmt.Errorf("%w: it is being opened again", relay.ErrBroken)
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
