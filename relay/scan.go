package relay

import (
	"context"
	"slices"
	"sync"
	"time"

	"go.uber.org/zap"
)

// scansAtOnce bounds the lanes that look into the store at once: after a start many of them
// want to, and a page of exceptions takes memory.
const scansAtOnce = 2

// scanPage is how many exceptions are read at once.
const scanPage = 1000

// scans are the lanes that want to look into the store for what is due.
type scans struct {
	mu      sync.Mutex
	waiting []*lane
	running int
}

// add has a lane look when its turn comes.
func (s *scans) add(l *lane) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.waiting = append(s.waiting, l)
	if s.running < scansAtOnce {
		s.running++
		go s.run()
	}
}

// run lets lanes look until none wants to.
func (s *scans) run() {
	for {
		s.mu.Lock()
		if len(s.waiting) == 0 {
			s.waiting = nil
			s.running--
			s.mu.Unlock()
			return
		}
		l := s.waiting[0]
		s.waiting[0] = nil
		s.waiting = s.waiting[1:]
		s.mu.Unlock()
		l.scanRetries()
	}
}

// blind reports whether nothing may be taken from the log before the store was looked into:
// what waits there may stand before it. The caller holds the lock.
func (l *lane) blind() bool {
	return l.unread && (l.sub.OrderBy != nil || l.sub.Debounce != nil)
}

// unknown reports whether nothing is known of what is in the store. The caller holds the lock.
func (l *lane) unknown() bool {
	return l.unread && l.retries.spilled.IsZero() && l.retries.reading.IsZero()
}

// wantsScan reports whether the lane has to look into the store for what is due: when it
// cannot go on without, or when what is due is only there. The caller holds the lock.
func (l *lane) wantsScan(now time.Time) bool {
	return !l.retries.scanning && (l.unknown() || l.blind() || l.retries.wantsScan(now))
}

// oldestDue returns since when something has been due, or when the first will be; zero if
// that is not known, or nothing waits. What is only in the log is not looked at. The caller
// holds the lock.
func (l *lane) oldestDue() time.Time {
	due := earlier(l.retries.oldest(), l.windows.nextEnd())
	for _, j := range l.inFlight {
		due = earlier(due, j.seq.Time())
	}
	return due
}

// firstDue returns what the store is told of when its exceptions are due. The caller holds
// the lock.
func (l *lane) firstDue() time.Time {
	if l.condition.Open == 0 || l.unknown() {
		return time.Time{}
	}
	return l.oldestDue()
}

// scanRetries brings into memory what is due first, when something that was left to the
// store may be due.
func (l *lane) scanRetries() {
	since, end := l.watch()
	err := l.engine.Flush(context.Background()) // so that the store knows all that memory let go
	if err == nil {
		err = l.loadRetries(context.Background(), since)
	}
	end()
	l.mu.Lock()
	l.retries.scanning, l.retries.reading = false, time.Time{}
	if err != nil {
		l.retries.spill(time.Now())
		l.engine.schedule.set(l, time.Now().Add(storePause))
	}
	l.mu.Unlock()
	if err != nil {
		l.engine.storeFailed("read", err, zap.String("subscription", l.name))
		return
	}
	l.wake()
}

// loadRetries reads the open exceptions that are due first. The first time, the order of
// keys and what is debounced are taken up, too.
func (l *lane) loadRetries(ctx context.Context, since *watch) error {
	var (
		found   []*retry
		spilled time.Time
		after   uint64
		seen    uint64
		order   = newOrder()
		windows []Exception
	)
	l.mu.Lock()
	first, resumed := l.unread, l.condition.ResumedAt
	l.retries.reading, l.retries.spilled = l.retries.spilled, time.Time{} // from here on add notes what the scan may miss
	l.mu.Unlock()
	for {
		open, err := l.engine.store.Open(ctx, l.name, after, scanPage)
		if err != nil {
			return err
		}
		l.mu.Lock()
		for _, x := range open {
			after = x.From
			switch {
			case !first:
			case x.Kind == Debounced:
				windows = append(windows, x)
			default:
				order.restore(x)
			}
			if r := l.retryOf(x); r != nil && !since.has(r.pos) {
				found = append(found, r)
			}
		}
		limit := l.retries.bound()
		l.mu.Unlock()
		seen += uint64(len(open))
		if len(found) > 2*limit || len(open) < scanPage {
			var rest time.Time
			found, rest = earliest(found, limit)
			found = slices.Clip(found)
			if spilled.IsZero() || (!rest.IsZero() && rest.Before(spilled)) {
				spilled = rest
			}
		}
		if len(open) < scanPage {
			break
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	// What left memory, or came into it, since its page was read is not brought back.
	found = slices.DeleteFunc(found, func(r *retry) bool { return l.known(r.pos) || since.has(r.pos) })
	if now := l.condition.ResumedAt; now.After(resumed) { // what was read is older
		for _, r := range found {
			r.due = earlier(r.due, now)
		}
		if !spilled.IsZero() {
			spilled = earlier(spilled, now)
		}
	}
	l.retries.load(found, spilled, seen)
	if first {
		l.unread = false
		l.takeOver(order, since)
		for _, x := range windows {
			if !since.has(x.From) {
				l.restoreWindow(x)
			}
		}
	}
	return nil
}

// retryOf makes an entry of the schedule of an open exception, or nil if it has one.
func (l *lane) retryOf(x Exception) *retry {
	if (x.Kind != Retry && !l.order.heads(x)) || l.known(x.From) {
		return nil
	}
	due := x.Due
	if resumed := l.condition.ResumedAt; due.After(resumed) && !x.At.After(resumed) {
		due = resumed
	}
	return &retry{parcel: parcelOf(&x), due: due}
}

// known reports whether memory has a position, so that the store's view does not count.
func (l *lane) known(pos uint64) bool {
	if _, ok := l.retries.byPos[pos]; ok {
		return true
	}
	_, ok := l.inFlight[pos]
	return ok
}
