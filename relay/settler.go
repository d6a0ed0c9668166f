package relay

import (
	"context"
	"errors"
	"sync"
	"time"

	"go.uber.org/zap"
)

// settleDelay is how long outcomes wait for company. They need no sync of their own: a
// lost outcome is a repeated attempt. Under load they share the transaction, and the
// sync, of the events accepted meanwhile.
const settleDelay = 10 * time.Millisecond

// groupRecords is about how many records are written at once. When thousands of lanes have
// something to tell, what is accepted meanwhile waits for one group and not for all.
const groupRecords = 1000

// commitPatience is how long attempts begin while the store takes outcomes. What they come to
// waits in memory, and is not known after a crash.
const commitPatience = time.Second

// commitRetry is the pause after a commit failed.
const commitRetry = time.Second

// flushPatience bounds how long a reader waits for what was settled to be stored.
const flushPatience = 2 * time.Second

// errNotFlushed means that outcomes are waiting to be stored.
var errNotFlushed = errors.New("the store does not take outcomes at present")

// settler writes the outcomes of all lanes to the store, in groups, from one goroutine.
type settler struct {
	engine *Relay
	kick   chan struct{}
	// requests ask for a flush at once; each is closed when it is done.
	requests chan chan struct{}
	done     chan struct{}

	mu    sync.Mutex
	lanes []*lane
}

func newSettler(r *Relay) *settler {
	return &settler{
		engine: r, kick: make(chan struct{}, 1), requests: make(chan chan struct{}), done: make(chan struct{}),
	}
}

// add notes that a lane has outcomes to write. The caller holds the lane's lock.
func (s *settler) add(l *lane) {
	if l.outbox.listed {
		return
	}
	l.outbox.listed = true
	s.mu.Lock()
	s.lanes = append(s.lanes, l)
	s.mu.Unlock()
	select {
	case s.kick <- struct{}{}:
	default:
	}
}

// run flushes until stop is closed.
func (s *settler) run(stop <-chan struct{}) {
	defer close(s.done)
	for {
		var delay <-chan time.Time
		select {
		case <-stop:
			return
		case request := <-s.requests:
			s.flush(stop)
			close(request)
			continue
		case <-s.kick:
			delay = time.After(settleDelay)
		}
		select {
		case <-stop:
			return
		case request := <-s.requests:
			s.flush(stop)
			close(request)
		case <-delay:
			s.flush(stop)
		}
	}
}

// wait returns when everything that was settled before is stored.
func (s *settler) wait(ctx context.Context, stop <-chan struct{}) error {
	ctx, cancel := context.WithTimeoutCause(ctx, flushPatience, errNotFlushed)
	defer cancel()
	request := make(chan struct{})
	select {
	case s.requests <- request:
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-stop:
		return ErrClosed
	}
	select {
	case <-request:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// flush writes what was settled so far, in groups. It tries until it succeeds, the store
// is closed or stop is; meanwhile no attempts begin, since their results could not be kept.
func (s *settler) flush(stop <-chan struct{}) {
	s.mu.Lock()
	lanes := s.lanes
	s.lanes = nil
	s.mu.Unlock()
	for len(lanes) > 0 {
		n, updates := gather(lanes)
		if len(updates) > 0 && !s.commit(updates, stop) {
			return
		}
		for _, l := range lanes[:n] {
			l.mu.Lock()
			l.outbox.flushed()
			l.mu.Unlock()
		}
		lanes = lanes[n:]
	}
}

// gather returns what the first n lanes have to tell the store.
func gather(lanes []*lane) (n int, updates []Update) {
	for records := 0; n < len(lanes) && records < groupRecords; n++ {
		l := lanes[n]
		l.mu.Lock()
		more := l.updates()
		l.mu.Unlock()
		for i := range more {
			records += more[i].records()
		}
		updates = append(updates, more...)
	}
	return n, updates
}

// commit stores updates. It reports whether it could.
func (s *settler) commit(updates []Update, stop <-chan struct{}) bool {
	for {
		err := s.store(updates)
		if s.engine.member.refused(updates, err) {
			err = nil
		}
		if err == nil {
			s.engine.setStalled(false)
			return true
		}
		s.engine.setStalled(true)
		s.engine.storeFailed("commit", err)
		if errors.Is(err, ErrClosed) {
			return false
		}
		select {
		case <-stop:
			return false
		case <-time.After(commitRetry):
		}
	}
}

// store has the store take updates. Where that takes long, attempts wait for it.
func (s *settler) store(updates []Update) error {
	began := time.Now()
	stalled := make(chan struct{})
	slow := time.AfterFunc(commitPatience, func() {
		s.engine.setStalled(true)
		close(stalled)
	})
	err := s.engine.store.Commit(context.Background(), updates)
	if !slow.Stop() {
		<-stalled
		s.engine.logger.Warn("the store took long to keep outcomes, and no attempts began until it had; is the disk or the database slow?",
			zap.Duration("took", time.Since(began)), zap.Error(err))
	}
	return err
}
