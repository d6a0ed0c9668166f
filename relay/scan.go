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

// unreadMost is how long after a start the word of the store is taken for when the first
// retry of a lane is due.
const unreadMost = time.Hour

// clockSlack is how far a record may be ahead of the clock.
const clockSlack = time.Minute

// scans are the looks that lanes want to have into the store, for what is due or next.
type scans struct {
	mu      sync.Mutex
	waiting []func()
	running int
}

// add has a lane look when its turn comes.
func (s *scans) add(look func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.waiting = append(s.waiting, look)
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
		look := s.waiting[0]
		s.waiting[0] = nil
		s.waiting = s.waiting[1:]
		s.mu.Unlock()
		look()
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

// lookBy returns when the lane is read at the latest, or zero if it was.
func (l *lane) lookBy() time.Time {
	if !l.unread {
		return time.Time{}
	}
	return l.readBy
}

// wantsScan reports whether the lane has to look into the store for what is due: when it
// cannot go on without, or when what is due is only there. The caller holds the lock.
func (l *lane) wantsScan(now time.Time) bool {
	late := l.unread && !now.Before(l.readBy)
	return !l.retries.scanning && l.reads(now) && (late || l.unknown() || l.blind() || l.retries.wantsScan(now) || l.waiting.wantsScan(now))
}

// oldestDue returns since when something has been due, or when the first will be; zero if
// that is not known, or nothing waits. What is only in the log is not looked at. The caller
// holds the lock.
func (l *lane) oldestDue() time.Time {
	due := earlier(earlier(l.retries.oldest(), l.waiting.oldest()), l.windows.nextEnd())
	for _, j := range l.inFlight {
		if j.polls {
			due = earlier(due, j.due)
		} else {
			due = earlier(due, j.seq.Time())
		}
	}
	return due
}

// firstDue returns what the store is told of when its exceptions are due. The caller holds
// the lock.
func (l *lane) firstDue() time.Time {
	if l.condition.Open == 0 {
		l.waiting.postponed = time.Time{}
		return time.Time{}
	}
	if l.unknown() {
		return time.Time{}
	}
	return earlier(l.oldestDue(), l.waiting.postponed)
}

// scanRetries brings into memory what is due first, when something that was left to the
// store may be due.
func (l *lane) scanRetries() {
	l.mu.Lock()
	since := l.retries.watch()
	if l.retries.outdated = l.drops > 0; !l.retries.outdated {
		for _, q := range []*retries{&l.retries, &l.waiting.retries} {
			q.reading, q.spilled = q.spilled, time.Time{} // from here on add notes what the scan may miss
		}
	}
	l.mu.Unlock()
	err := l.engine.Flush(context.Background()) // so that the store knows all that memory let go
	if err == nil {
		err = l.loadRetries(context.Background(), since)
	}
	l.mu.Lock()
	l.retries.unwatch(since)
	l.retries.scanning, l.retries.reading, l.waiting.reading = false, time.Time{}, time.Time{}
	if now := time.Now(); err != nil && !l.tenure.mirror {
		l.retries.spill(now)
		l.unreadable(err, now)
	}
	l.mu.Unlock()
	l.wake()
}

// readable reports whether the store may be asked: it could be read the last time, or that is a
// while ago. The caller holds the lock.
func (l *lane) readable(now time.Time) bool { return !l.readAt.After(now) }

// reads reports whether the lane may look for what is open in the store: it is readable, and no
// drop goes through it. The caller holds the lock.
func (l *lane) reads(now time.Time) bool { return l.drops == 0 && l.readable(now) }

// unreadable notes that the store could not be read: for a while nothing is begun that needs it.
// The caller holds the lock.
func (l *lane) unreadable(err error, now time.Time) {
	l.readAt = now.Add(storePause)
	l.engine.storeFailed("read", err, zap.String("subscription", l.name))
}

// loadRetries reads the open exceptions that are due first. The first time, the order of
// keys and what is debounced are taken up, too.
func (l *lane) loadRetries(ctx context.Context, since *watch) error {
	var (
		due, waiting foundRetries
		after, seen  uint64
		order        = newOrder(&l.engine.behind)
		windows      []Exception
	)
	l.engine.wall.look(time.Now())
	l.mu.Lock()
	first, resumed := l.unread, l.condition.ResumedAt
	if l.retries.outdated {
		l.mu.Unlock()
		return nil // the drop wakes the lane
	}
	l.mu.Unlock()
	for {
		open, err := l.engine.store.Open(ctx, l.name, after, scanPage)
		if err != nil {
			order.count(-order.waiting)
			return err
		}
		l.mu.Lock()
		for _, x := range open {
			after = x.From
			if !l.cur.has(x.From) { // adopted, and to be taken in yet: the process ended before it was
				l.takeIn(x, time.Now())
				continue
			}
			step := l.engine.wall.stepBefore(x.At)
			l.engine.wall.bring(&x)
			switch {
			case !first:
			case x.Kind == Debounced:
				windows = append(windows, x)
			default:
				order.restore(x)
			}
			switch r := l.retryOf(x); {
			case r == nil || since.has(r.pos):
			case x.Kind == Waiting:
				r.clockStep = step
				r.due = l.rested(&r.parcel, r.due, time.Now())
				waiting.all = append(waiting.all, r)
			default:
				due.all = append(due.all, r)
			}
		}
		limits := [2]int{l.retries.bound(), l.waiting.bound()}
		l.mu.Unlock()
		seen += uint64(len(open))
		last := len(open) < scanPage
		due.cut(limits[0], last)
		waiting.cut(limits[1], last)
		if last {
			break
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.tenure.mirror || l.retries.outdated {
		order.count(-order.waiting)
		return nil
	}
	// What left memory, or came into it, since its page was read is not brought back.
	for _, f := range []*foundRetries{&due, &waiting} {
		f.all = slices.DeleteFunc(f.all, func(r *retry) bool { return l.known(r.pos) || since.has(r.pos) })
		if now := l.condition.ResumedAt; now.After(resumed) { // what was read is older
			f.resume(now)
		}
	}
	l.retries.load(due.all, due.spilled, seen)
	l.waiting.load(waiting.all, waiting.spilled, seen)
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

// foundRetries are what a scan has found so far.
type foundRetries struct {
	all []*retry
	// spilled is the earliest due time among those that were left out again.
	spilled time.Time
}

// cut leaves out what is due later than limit others, when there are many, or at the end.
func (f *foundRetries) cut(limit int, last bool) {
	if len(f.all) <= 2*limit && !last {
		return
	}
	var rest time.Time
	f.all, rest = earliest(f.all, limit)
	f.all = slices.Clip(f.all)
	f.spilled = earlier(f.spilled, rest)
}

// resume makes everything due that is due later.
func (f *foundRetries) resume(now time.Time) {
	for _, r := range f.all {
		r.due = earlier(r.due, now)
	}
	if !f.spilled.IsZero() {
		f.spilled = earlier(f.spilled, now)
	}
}

// retryOf makes an entry of the schedule of an open exception, or nil if it has one. What was
// recorded in the future is due at once: the clock fell back since.
func (l *lane) retryOf(x Exception) *retry {
	if (x.Kind != Retry && x.Kind != Waiting && !l.order.heads(x)) || l.known(x.From) {
		return nil
	}
	due := x.Due
	if resumed := l.engine.wall.today(l.condition.ResumedAt); due.After(resumed) && !x.At.After(resumed) {
		due = resumed
	}
	now := time.Now()
	if x.At.After(now.Add(clockSlack)) && due.After(now) {
		due = now
	}
	p := parcelOf(&x)
	p.since = ticking(l.ranSince(&x), now)
	return &retry{parcel: p, due: ticking(due, now)}
}

// ranSince returns the time of the first attempt of a delivery, moved by the time in which it
// was due and no engine ran, or in which the clock went forward: that is no time that its
// endpoint had.
func (l *lane) ranSince(x *Exception) time.Time {
	from := x.Due
	if x.At.After(from) {
		from = x.At
	}
	began := l.engine.wall.today(l.began)
	if x.Since.IsZero() || !from.Before(began) {
		return x.Since
	}
	return x.Since.Add(began.Sub(from))
}

// known reports whether memory has a position, so that the store's view does not count.
func (l *lane) known(pos uint64) bool {
	if _, r := l.scheduled(pos); r != nil {
		return true
	}
	_, ok := l.inFlight[pos]
	return ok
}
