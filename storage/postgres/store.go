package postgres

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"go.uber.org/zap"

	"github.com/caddyrelay/caddyrelay/relay"
	"github.com/caddyrelay/caddyrelay/relay/gate"
	"github.com/caddyrelay/caddyrelay/relay/shard"
)

// Store is a [relay.Store] in a schema of a PostgreSQL database.
type Store struct {
	location string
	log      *zap.Logger
	clock    func() time.Time
	times    times
	gate     gate.Gate
	pool     atomic.Pointer[pgxpool.Pool]
	retired  sync.WaitGroup // pools that are being closed
	identity identity
	subs     table

	cluster

	mu       sync.Mutex
	options  Options
	tail     tail  // as committed
	fail     error // why nothing is written at present, or nil
	full     error // why nothing is added at present, or nil
	reopened []func()

	requests chan request
	lifetime context.Context // until Close begins
	stop     context.CancelFunc
	stopped  chan struct{} // closed when the committer has ended
	// configured says that connections are to be made anew.
	configured chan struct{}

	trim trimmer
}

var (
	_ relay.Store    = (*Store)(nil)
	_ relay.Reopener = (*Store)(nil)
)

// queueLength is how many requests may wait for the committer. It only has to hold what
// comes in during one commit.
const queueLength = 1024

// Open opens the store that the options name, and makes its schema if it is not there.
//
// Without [Options.Shared] it waits for a relay that used the schema and has died. An error
// that is an [InUseError] means that another one uses it, [ErrOtherShards] that it was made
// with another number of shards, [ErrOtherSchema] that it is not one of this program or a
// newer one, [ErrReadOnly] that the server is a standby, [ErrUnsafe] that it does not keep
// what it commits, [ErrEncoding] that the database is not in UTF-8. No error holds the password.
func Open(o Options) (*Store, error) {
	o.setDefaults()
	target, err := ParseDSN(o.DSN)
	if err != nil {
		return nil, fmt.Errorf("opening the store: %w", err)
	}
	for _, err := range []error{CheckSchema(o.Schema), CheckMaxConns(o.MaxConns), shard.Check(o.Shards)} {
		if err != nil {
			return nil, fmt.Errorf("opening the store in %s: %w", target.Location, err)
		}
	}
	s, err := open(&o, target.Location)
	if err != nil {
		return nil, fmt.Errorf("opening the store in %s, schema %s: %w", target.Location, o.Schema, err)
	}
	return s, nil
}

func open(o *Options, location string) (s *Store, err error) {
	ctx := context.Background()
	lifetime, stop := context.WithCancel(ctx)
	s = &Store{
		options:    *o,
		location:   location,
		log:        o.Logger,
		clock:      o.Clock,
		times:      o.times,
		subs:       table{byName: make(map[string]*sub)},
		requests:   make(chan request, queueLength),
		lifetime:   lifetime,
		stop:       stop,
		stopped:    make(chan struct{}),
		configured: make(chan struct{}, 1),
		cluster: cluster{
			shared: o.Shared, id: newID(o.Owner), shards: o.Shards,
			hints: make(chan struct{}, 1), mail: make(chan struct{}, 1),
			told: make(map[string]bool), heard: make(chan struct{}),
		},
	}
	c := &committer{s: s, known: make(map[hash]*known), freshName: make(map[string]*sub), group: newGroup()}
	if err := c.connect(ctx); err != nil {
		stop()
		return nil, err
	}
	pool, err := o.newPool()
	if err != nil {
		stop()
		c.end()
		return nil, err
	}
	s.pool.Store(pool)
	go c.run()
	return s, nil
}

// Close implements [relay.Store]. It must not be called from stored.
func (s *Store) Close() error {
	s.stop()
	if !s.gate.Close() {
		return relay.ErrClosed
	}
	close(s.requests)
	<-s.stopped
	s.background.Wait()
	s.pool.Load().Close()
	s.retired.Wait()
	return nil
}

// Err implements [relay.Store].
func (s *Store) Err() error {
	if s.gate.IsShut() {
		return relay.ErrClosed
	}
	if err := s.failure(); err != nil {
		return err
	}
	return s.fullness()
}

// OnReopen implements [relay.Reopener].
func (s *Store) OnReopen(fn func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.reopened = append(s.reopened, fn)
}

// Schema returns the schema that the store lies in.
func (s *Store) Schema() string { return s.current().Schema }

func (s *Store) failure() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.fail
}

func (s *Store) setFailure(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fail = err
}

func (s *Store) setTail(t tail) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tail = t
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

// read runs fn with a connection that reads, within the gate and bounded in time. fn is called
// a second time where it has met a subscription that was not known.
func (s *Store) read(ctx context.Context, fn func(ctx context.Context, conn *pgx.Conn) error) error {
	if !s.gate.Enter() {
		return relay.ErrClosed
	}
	defer s.gate.Leave()
	if err := ctx.Err(); err != nil {
		return err
	}
	bounded, cancel := context.WithTimeout(ctx, s.times.read)
	defer cancel()
	pool := s.pool.Load()
	conn, err := pool.Acquire(bounded)
	if err != nil && s.pool.Load() != pool { // it was replaced, and closed
		conn, err = s.pool.Load().Acquire(bounded)
	}
	if err != nil {
		return s.readError(ctx, explainConnect(err))
	}
	defer conn.Release()
	misses := s.subs.misses.Load()
	err = fn(bounded, conn.Conn())
	if s.subs.misses.Load() != misses {
		// There is a subscription that another relay has made just now.
		if err := s.meet(bounded, conn.Conn()); err != nil {
			return s.readError(ctx, err)
		}
		err = fn(bounded, conn.Conn())
	}
	return s.readError(ctx, err)
}

// meet reads the names of subscriptions that the committer does not know yet.
func (s *Store) meet(ctx context.Context, conn *pgx.Conn) error {
	rows, err := conn.Query(ctx, "select id, name from subscriptions where id > $1", s.subs.last())
	if err != nil {
		return err
	}
	names := make(map[int32]string)
	var id int32
	var name string
	if _, err := pgx.ForEachRow(rows, []any{&id, &name}, func() error { names[id] = name; return nil }); err != nil {
		return err
	}
	s.subs.meet(names)
	return nil
}

// readError says which errors of reading are the database's.
func (s *Store) readError(ctx context.Context, err error) error {
	switch {
	case err == nil, ctx.Err() != nil:
		return err
	case errors.Is(err, relay.ErrNotFound), isUnreadable(err):
		return err
	}
	return fmt.Errorf("%w: reading from the database: %w", relay.ErrBroken, err)
}

func isUnreadable(err error) bool {
	_, ok := errors.AsType[*relay.UnreadableError](err)
	return ok
}

// check returns what a call that reads nothing has to answer.
func (s *Store) check(ctx context.Context) error {
	if s.gate.IsShut() {
		return relay.ErrClosed
	}
	return ctx.Err()
}

// closePatience is how long Close waits for the server.
const closePatience = 3 * time.Second
