package relay

import (
	"container/heap"
	"time"
)

// waiting are the deliveries of a lane that wait for something outside. They are polled in
// the order in which they are due, by as many goroutines as there are polls under way.
type waiting struct {
	retries
	// polls is the number under way.
	polls int
	// No poll is made before restUntil, for the reason resting, after failures polls that
	// had no usable answer.
	restUntil time.Time
	resting   string
	failures  int
	// postponed is when the first was due of those that the rest has moved, in memory alone;
	// or before. Zero: none was.
	postponed time.Time
}

// most is how many polls may be under way: as many as attempts, one while they fail.
func (w *waiting) most(s *Subscription) int {
	if w.failures > 0 {
		return 1
	}
	return s.MaxInFlight
}

// note takes what a poll says of the place that was asked: one that asks to be left alone,
// or does not answer, gets no polls for a while, whatever delivery they are about.
func (w *waiting) note(s *Subscription, v verdict, now time.Time) {
	switch v.polled {
	case PolledReady, PolledNotReady:
		w.failures = 0 // a rest that was asked for holds, whatever others were answered that began before
		return
	case "": // there was none
		return
	default:
	}
	rest := v.wait
	if rest == 0 {
		const most = 16 // doublings; Longest is reached long before
		rest = min(s.WaitFor.Interval<<min(w.failures, most), s.WaitFor.Longest)
	}
	w.failures++
	if until := now.Add(rest); until.After(w.restUntil) {
		w.restUntil, w.resting = until, v.message
	}
}

// rested returns when a delivery is due that would be at another time, if there were polls
// then: at the end of their rest, or of its own wait. The caller holds the lock.
func (l *lane) rested(p *parcel, due, now time.Time) time.Time {
	l.engine.wall.bringWait(p)
	until := l.waiting.restUntil
	if !until.After(now) || l.sub == nil || l.sub.WaitFor == nil {
		return due
	}
	if ends := p.waitingSince().Add(l.sub.WaitFor.Timeout); ends.Before(until) {
		until = ends
	}
	if !until.After(due) {
		return due
	}
	l.waiting.postponed = earlier(l.waiting.postponed, due)
	return until
}

// postpone moves a delivery to a later time, in memory alone.
func (w *waiting) postpone(r *retry, due time.Time) {
	r.due = due
	heap.Fix(&w.heap, r.index)
}

// await sets a delivery aside until it is polled. The caller holds the lock.
func (l *lane) await(p parcel, due, now time.Time) {
	p.event, p.wait = nil, waitNone
	l.engine.wall.look(now)
	l.engine.wall.bringWait(&p)
	if p.waiting == 0 {
		p.waiting = now.UnixMilli()
	}
	if !p.stored {
		p.stored = true
		l.cur.finish(p.pos)
		l.retries.leave(p.pos)
		l.condition.Open++
	}
	x := p.exception(Waiting, now)
	x.Due = due
	l.outbox.put(x)
	l.waiting.add(&retry{parcel: p, due: due})
	l.engine.settler.add(l)
}

// sortWaiting sets aside what is at the head of the log, or due again, and has to wait
// first. Where memory has no room for more, the log waits. The caller holds the lock.
func (l *lane) sortWaiting(now time.Time) {
	for r := l.retries.first(); r != nil && !r.due.After(now) && l.sub.waits(&r.parcel); r = l.retries.first() {
		l.retries.remove(r)
		l.await(r.parcel, now, now)
	}
	for len(l.waiting.heap) < l.waiting.bound() {
		key, ready := l.clear(now)
		if !ready {
			return
		}
		p := l.pop().parcel(key)
		if key != "" {
			l.order.claim(key, behindOf(&p))
		}
		l.await(p, now, now)
	}
}

// stopWaiting makes everything due that waits, once the configuration says no more that it
// should. The caller holds the lock.
func (l *lane) stopWaiting(now time.Time) {
	for len(l.waiting.heap) > 0 {
		r := l.waiting.first()
		l.waiting.remove(r)
		l.proceed(r.parcel, waitNone, now)
	}
}

// proceed makes a delivery due whose wait is over. The caller holds the lock.
func (l *lane) proceed(p parcel, how wait, now time.Time) {
	p.event, p.wait, p.waiting = nil, how, 0
	l.outbox.put(p.exception(Retry, now))
	l.retries.add(&retry{parcel: p, due: now})
	l.engine.settler.add(l)
}

// takeWaiting returns the next poll to make, if there is one. The caller holds the lock.
func (l *lane) takeWaiting(now time.Time) *job {
	if reason, _ := l.condition.held(l.sub, now); reason != ReasonNone {
		return nil
	}
	if l.sub.WaitFor == nil {
		l.stopWaiting(now)
		return nil
	}
	l.sortWaiting(now)
	return l.takePoll(now)
}

// takePoll returns the next poll to make, or nil if there is none or it is not the time for
// it. The caller holds the lock.
func (l *lane) takePoll(now time.Time) *job {
	w := &l.waiting
	for w.polls < w.most(l.sub) {
		r := w.first()
		if r == nil || r.due.After(now) {
			return nil
		}
		l.engine.wall.look(now)
		if due := l.rested(&r.parcel, r.due, now); due.After(now) {
			w.postpone(r, due)
			continue
		}
		j := &job{parcel: r.parcel, plan: l.plan, sub: l.sub, polls: true, due: r.due, further: w.polls > 0}
		if w.restUntil.After(now) { // it has waited long enough
			j.resting = w.resting
		}
		if !l.engine.enter() {
			return nil
		}
		if j.further && !l.engine.ration.place(w.failures == 0) {
			l.engine.leave()
			return nil
		}
		w.remove(r)
		l.inFlight[j.pos] = j
		w.polls++
		return j
	}
	return nil
}

// polled takes what came of a poll where that ends no delivery. The caller holds the lock.
func (l *lane) polled(j *job, v verdict, now time.Time) {
	if v.end == endWaited {
		l.proceed(j.parcel, v.waited, now)
		return
	}
	due := now.Add(j.sub.WaitFor.pause(now.Sub(j.waitingSince())))
	l.await(j.parcel, earlier(due, j.waitEnds()), now)
}

// attempts is the number of attempts under way. The caller holds the lock.
func (l *lane) attempts() int { return len(l.inFlight) - l.waiting.polls }

// scheduled finds a delivery among those that are due at some time; nil if it is not there.
// The caller holds the lock.
func (l *lane) scheduled(pos uint64) (*retries, *retry) {
	for _, q := range []*retries{&l.retries, &l.waiting.retries} {
		if r := q.byPos[pos]; r != nil {
			return q, r
		}
	}
	return nil, nil
}
