package badger

import (
	"context"
	"time"

	"go.uber.org/zap"
)

// houseEvery is how often the janitor looks. The sentinel lags by at most as much after a
// power cut.
const houseEvery = time.Second

// keepHouse does what nobody waits for, until the store is closed.
func (s *Store) keepHouse() {
	room := reclaimer{removed: s.committed().removed}
	var resumed time.Time
	tick := time.NewTicker(s.pause(houseEvery))
	defer tick.Stop()
	for {
		select {
		case <-s.stop:
			return
		case <-tick.C:
		}
		s.mu.Lock()
		mark, broken := s.sentinel, s.fail != nil
		s.mu.Unlock()
		s.reserve.hold()
		if broken {
			continue
		}
		if err := mark.sync(); err != nil && s.failure() == nil {
			s.log.Warn("syncing the sentinel; it is tried again with the next event", zap.Error(err))
		}
		if err := mark.present(); err != nil {
			_ = s.submit(context.Background(), &presence{make(chan error, 1)}) // the committer says it in the log
			continue
		}
		_ = s.space.err() // measures, and says in the log what has changed
		s.space.keepBallast()
		if s.flattening.Load() {
			continue
		}
		s.mergeAgain(&resumed, time.Now())
		s.makeRoom(&room, time.Now())
		s.tidy(&room, time.Now())
	}
}

// pause is d, unless a test is in a hurry.
func (s *Store) pause(d time.Duration) time.Duration {
	if s.options.hurry {
		return d / 50
	}
	return d
}
