package badger

import (
	"errors"
	"fmt"
	"time"

	"go.uber.org/zap"

	"github.com/caddyrelay/caddyrelay/relay"
)

const (
	mendMost = time.Minute
	// mendPatience is how long one try waits for the failed database to close.
	mendPatience = 5 * time.Second
)

// OnReopen implements [relay.Reopener].
func (s *Store) OnReopen(fn func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.reopened = append(s.reopened, fn)
}

// tellReopened calls who wants to know.
func (s *Store) tellReopened() {
	s.mu.Lock()
	reopened := s.reopened
	s.mu.Unlock()
	for _, fn := range reopened {
		fn()
	}
}

// mend opens the database anew, however often it takes, while everybody gets the error
// that broke it. It reports false if the store is closed meanwhile.
func (c *committer) mend() bool {
	for delay := c.s.mendAfter; ; delay = min(2*delay, mendMost) {
		timer := time.NewTimer(delay)
		for waiting := true; waiting; {
			select {
			case r, ok := <-c.s.requests:
				if !ok {
					timer.Stop()
					return false
				}
				r.settle(c.broken)
				r.answer() <- c.broken
			case <-timer.C:
				waiting = false
			}
		}
		err := c.reopen(mendPatience)
		if err == nil {
			c.s.log.Info("the store is open again and takes events", zap.String("directory", c.s.dir))
			return true
		}
		c.s.log.Error("the store could not be opened again", zap.Duration("next", min(2*delay, mendMost)), zap.Error(err))
	}
}

// reopen closes the database and opens it again: what it says it holds is read from the
// disk. Events of the group that failed may turn out to be stored; nobody was told so,
// and they are delivered like others.
func (c *committer) reopen(patience time.Duration) error {
	s := c.s
	if err := s.closeDatabase(patience, s.stop); err != nil {
		if errors.Is(err, errNotClosed) || errors.Is(err, errVanished) {
			return err
		}
		s.log.Warn("closing the failed database", zap.Error(err))
	}
	if err := s.isBack(); err != nil {
		return err
	}
	im, err := s.openImage()
	s.reserve.hold()
	if err != nil {
		loss, damage := (*LossError)(nil), (*DamageError)(nil)
		if errors.As(err, &loss) || errors.As(err, &damage) {
			// The cause that operators look for from now on.
			s.setFailure(fmt.Errorf("%w: %w", relay.ErrBroken, err))
		}
		return err
	}
	s.adopt(im)
	commit := c.commit
	*c = *newCommitter(s)
	c.commit = commit
	s.tellReopened()
	s.setFailure(nil)
	return nil
}

// isBack returns an error unless the directory holds this store. A disk that fails is
// unmounted, to be mended: the empty directory that is then in its place is not to become a
// new store.
func (s *Store) isBack() error {
	found, _, err := readSentinel(s.dir)
	switch {
	case errors.Is(err, errSentinelMissing):
		return vanished(s.dir)
	case err == nil && found.id != s.identity.id:
		return fmt.Errorf("%w: another store is in its place", vanished(s.dir))
	}
	return nil // what else is wrong, opening says
}

// presence asks the committer whether the store is still where it was, also while nothing
// is written.
type presence struct{ done chan error }

func (r *presence) plan(c *committer) error {
	if err := c.s.sentinel.present(); err != nil {
		c.broken = errors.Join(c.broken, err)
	}
	return c.broken
}

func (r *presence) settle(error) {}

func (r *presence) answer() chan error { return r.done }

func (s *Store) setFailure(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fail = err
}
