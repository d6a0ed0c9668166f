package relay

import (
	"sync"
	"time"
)

// lane carries the deliveries of one subscription name. It lives as long as the engine:
// plans come and go, the name stays. Where several engines share a store another lane takes
// its place whenever the subscription moves from one to the other.
type lane struct {
	name   string
	engine *Relay

	// These two belong to the schedule.
	heapDue   time.Time
	heapIndex int

	// replaying has room for one: whoever reopens a delivery.
	replaying chan struct{}

	mu sync.Mutex
	// tenure says whose the deliveries are.
	tenure tenure
	// plan and sub are those of the active plan; sub is nil while the name is not in it.
	plan *Plan
	sub  *Subscription

	// head is the highest position of the log that is known, next the lowest one that
	// was not yet taken into the queue.
	head, next uint64
	queue      []entry
	queued     int64 // bytes of data in queue
	refilling  bool
	cur        cursor
	// erased are those of the log that end when their turn comes, and when they were erased.
	erased  map[uint64]time.Time
	retries retries
	// unread says that the store has open exceptions that nobody has looked at since the
	// start: when the first one is due is all that is known.
	unread bool
	// readAt is when the store may be read again, after it could not be.
	readAt time.Time
	// readBy is when it is read whatever is known, since the clock may have fallen back.
	readBy time.Time
	// began is when the lane was made: what was due before had nobody to attempt it.
	began    time.Time
	inFlight map[uint64]*job
	// turn alternates between retries and the log, where both have something.
	turn bool

	condition condition
	pace      pace
	// slot is when an endpoint that fails may get its next attempt; zero: not asked for.
	slot  time.Time
	order order
	// loadingLines says that the next ones of keys are read from the store, or will be.
	loadingLines bool
	// waiting are those that are polled for.
	waiting waiting
	// drops are those that are giving up what is only in the store.
	drops int
	// windows are those of what is debounced.
	windows debounceWindows
	outbox  outbox

	// failures, losses and vain bound what is logged of attempts that failed, of deliveries
	// that did, and of those that were made after waiting in vain.
	failures, losses, vain logPace
}

func newLane(r *Relay, p Progress) *lane {
	seen, now := new(watches), time.Now()
	l := &lane{
		name:      p.Subscription,
		engine:    r,
		tenure:    tenure{attempts: r.attempts, rests: r.member != nil, mirror: r.member != nil},
		heapIndex: -1,
		head:      p.Head,
		cur:       cursor{low: p.Low, done: p.Done},
		retries:   newRetries(&r.retries, seen),
		waiting:   waiting{retries: newRetries(&r.retries, seen)},
		unread:    p.Open > 0,
		order:     newOrder(&r.behind),
		windows:   newDebounceWindows(&r.windows),
		inFlight:  make(map[uint64]*job),
		replaying: make(chan struct{}, 1),
		condition: condition{Progress: p, failingAt: now},
		began:     now,
		outbox:    newOutbox(p),
	}
	l.next = l.cur.skip(1)
	if l.unread {
		l.readBy = now.Add(unreadMost)
		l.retries.spilled = p.NextDue
	}
	return l
}

// configure gives the lane what the active plan says of it, and wakes it.
func (l *lane) configure(plan *Plan) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.plan, l.sub = nil, nil
	if plan != nil {
		l.plan, l.sub = plan, plan.byName[l.name]
	}
	if l.sub != nil {
		l.pace.configure(l.sub.RateLimit)
	}
	l.advance(time.Now())
}

// wake looks for something to do.
func (l *lane) wake() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.advance(time.Now())
}

// advance starts what may be started now, sees to the next entries and sets the timer.
// The caller holds the lock.
func (l *lane) advance(now time.Time) {
	if l.tenure.rests {
		return
	}
	l.adopt(now)
	for closed := true; closed; closed = l.closeWindows(now) {
		for j := l.take(now); j != nil; j = l.take(now) {
			l.engine.runners.start(task{l, j})
		}
	}
	reason, until := l.condition.held(l.sub, now)
	if reason != ReasonNone {
		l.unload()
		l.engine.schedule.set(l, until)
		return
	}
	if l.engine.paused() {
		return
	}
	if l.wantsLines(now) {
		l.loadingLines = true
		l.engine.scans.add(l.loadLines)
	}
	due := l.retries.nextDue()
	switch {
	case l.wantsScan(now):
		l.retries.scanning = true
		l.engine.scans.add(l.scanRetries)
		due = time.Time{}
	case due.IsZero():
	case !due.After(now): // waits for a free place, not for the clock
		due = time.Time{}
	}
	for _, next := range []time.Time{l.retries.firstDue(), l.pace.next, l.slot, l.readAt, l.engine.known(l.windows.nextEnd()), l.waiting.nextDue(), l.lookBy()} {
		if next.After(now) && (due.IsZero() || next.Before(due)) {
			due = next
		}
	}
	l.engine.schedule.set(l, due)
	if !l.refilling && l.readable(now) && l.next <= l.head && len(l.queue) < max(queueEntries/4, 1) && l.attempts() < 2*l.sub.MaxInFlight {
		l.refilling = true
		go l.refill(l.next - 1)
	}
}

// run makes attempts until there is none to make: who carries one delivery goes on with
// the next.
func (l *lane) run(j *job) {
	for j != nil {
		a, v := l.engine.attempt(l.tenure.attempts, j)
		now := time.Now()
		l.mu.Lock()
		result := l.settle(j, a, v, now)
		l.engine.feed.attempted(l, j, &a, result)
		l.engine.leave()
		l.tenure.ended()
		next := l.take(now)
		l.advance(now)
		l.mu.Unlock()
		result.report(l, j, a)
		for _, n := range result.notices(j) {
			l.engine.announcer.announce(n)
		}
		j = next
	}
}
