package relay

import (
	"sync"
	"time"
)

// lane carries the deliveries of one subscription name. It lives as long as the engine:
// plans come and go, the name stays.
type lane struct {
	name   string
	engine *Relay

	// These two belong to the schedule.
	heapDue   time.Time
	heapIndex int

	mu sync.Mutex
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
	retries    retries
	inFlight   map[uint64]*job
	// turn alternates between retries and the log, where both have something.
	turn bool

	condition condition
	pace      pace
	// slot is when an endpoint that fails may get its next attempt; zero: not asked for.
	slot   time.Time
	order  order
	outbox outbox
}

func newLane(r *Relay, p Progress) *lane {
	l := &lane{
		name:      p.Subscription,
		engine:    r,
		heapIndex: -1,
		head:      p.Head,
		cur:       cursor{low: p.Low, done: p.Done},
		retries:   newRetries(),
		order:     newOrder(),
		inFlight:  make(map[uint64]*job),
		condition: condition{Progress: p},
		outbox:    newOutbox(p),
	}
	l.next = l.cur.skip(1)
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
	l.adopt(now)
	for j := l.take(now); j != nil; j = l.take(now) {
		go l.run(j)
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
	due := l.retries.nextDue()
	switch {
	case due.IsZero():
	case l.retries.wantsScan(now):
		l.retries.scanning = true
		go l.scanRetries(l.retries.watch())
		due = time.Time{}
	case !due.After(now): // waits for a free place, not for the clock
		due = time.Time{}
	}
	for _, next := range []time.Time{l.pace.next, l.slot} {
		if next.After(now) && (due.IsZero() || next.Before(due)) {
			due = next
		}
	}
	l.engine.schedule.set(l, due)
	if !l.refilling && l.next <= l.head && len(l.queue) < max(queueEntries/4, 1) && len(l.inFlight) < 2*l.sub.MaxInFlight {
		l.refilling = true
		go l.refill(l.next - 1)
	}
}

// take returns the next delivery to attempt, or nil if there is none or it is not the
// time for it. The caller holds the lock.
func (l *lane) take(now time.Time) *job {
	if l.sub == nil || len(l.inFlight) >= l.condition.limit(l.sub) {
		return nil
	}
	r := l.retries.first()
	if r != nil && r.due.After(now) {
		r = nil
	}
	if r == nil && len(l.queue) == 0 {
		return nil
	}
	if reason, _ := l.condition.held(l.sub, now); reason != ReasonNone {
		return nil
	}
	key := l.clear(now)
	if r == nil && len(l.queue) == 0 {
		return nil
	}
	if l.turn = !l.turn; l.turn && len(l.queue) > 0 {
		r = nil // neither a pile of retries nor a stream of events keeps the other waiting
	}
	if !l.engine.enter() {
		return nil
	}
	further := len(l.inFlight) > 0
	if !l.admit(further, now) {
		l.engine.leave()
		return nil
	}
	j := &job{plan: l.plan, sub: l.sub, further: further}
	if r != nil {
		l.retries.remove(r)
		j.parcel = r.parcel
	} else {
		j.parcel = l.pop().parcel(key)
		if key != "" {
			l.order.claim(key, behindOf(&j.parcel))
		}
	}
	l.inFlight[j.pos] = j
	return j
}

// admit reports whether an attempt may begin now, beside others of the lane or alone. One
// that is refused its time is let in by the timer, one that is refused a further place
// when those in flight have ended. The caller holds the lock.
func (l *lane) admit(further bool, now time.Time) bool {
	if l.condition.failing() {
		if l.slot.IsZero() {
			l.slot = l.engine.ration.slot(now)
		}
		if l.slot.After(now) {
			return false
		}
	}
	if further && !l.engine.ration.place(l.condition.proven()) {
		return false
	}
	if !l.pace.take(now) {
		if further {
			l.engine.ration.giveBack()
		}
		return false
	}
	l.slot = time.Time{}
	return true
}

// clear sets aside what stands at the head of the queue behind another delivery of its
// key, and returns the key of what is at the head then, if it has one. The caller holds
// the lock.
func (l *lane) clear(now time.Time) string {
	for l.sub.OrderBy != nil && len(l.queue) > 0 {
		key := unpackKeys(l.queue[0].keys).order
		if key == "" || l.order.free(key, l.queue[0].pos) {
			return key
		}
		l.setAside(l.pop().parcel(key), now)
	}
	return ""
}

// run makes attempts until there is none to make: the goroutine of one delivery goes on
// with the next.
func (l *lane) run(j *job) {
	for j != nil {
		a, v := l.engine.attempt(j)
		now := time.Now()
		l.mu.Lock()
		result := l.settle(j, a, v, now)
		l.engine.leave()
		next := l.take(now)
		l.advance(now)
		l.mu.Unlock()
		result.report(j, a)
		for _, n := range result.notices(j) {
			l.engine.announcer.announce(n)
		}
		j = next
	}
}
