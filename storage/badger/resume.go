package badger

import (
	"context"
	"errors"
	"time"

	"go.uber.org/zap"

	"github.com/caddyrelay/caddyrelay/relay"
)

const (
	resumeEvery    = 10 * time.Second
	resumePatience = time.Minute
)

// mergeAgain opens the database anew if it was opened without merging of tables, for lack of
// room, and there is room now. Badger cannot begin to merge while it is open.
func (s *Store) mergeAgain(last *time.Time, now time.Time) {
	if !s.resting.Load() || now.Sub(*last) < s.pause(resumeEvery) || !s.space.roomToMerge() {
		return
	}
	*last = now
	s.log.Info("there is room again: the store is opened anew, to merge its tables", zap.String("directory", s.dir))
	if err := s.submit(context.Background(), &resumeRequest{make(chan error, 1)}); err != nil && !errors.Is(err, relay.ErrClosed) {
		s.log.Warn("opening the store anew to merge its tables", zap.Error(err))
	}
}

// roomToMerge reports whether there is room for the merging of tables, and a little more.
func (s *space) roomToMerge() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.refresh(time.Now())
	critical := s.usage.critical()
	return s.free < 0 || s.free-s.written*9/4 >= critical+critical/4
}

// resumeRequest opens the database anew while writers and readers wait.
type resumeRequest struct{ done chan error }

// plan implements request.
func (r *resumeRequest) plan(c *committer) error {
	if err := c.flush(); err != nil {
		return err
	}
	s := c.s
	opened := make(chan struct{})
	s.setOpening(opened)
	defer func() {
		s.setOpening(nil)
		close(opened)
	}()
	if err := c.reopen(resumePatience); err != nil {
		c.broken = s.breakWith(err)
		return c.broken
	}
	return nil
}

func (r *resumeRequest) settle(error) {}

func (r *resumeRequest) answer() chan error { return r.done }

func (s *Store) setOpening(opened chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.opening = opened
}

// waitForOpening waits until the database is open again, if it is being opened anew by
// plan and not after a failure. It reports whether it is worth to look.
func (s *Store) waitForOpening() bool {
	s.mu.Lock()
	opened := s.opening
	s.mu.Unlock()
	if opened == nil {
		return false
	}
	select {
	case <-opened:
		return true
	case <-s.stop:
		return false
	}
}
