package relay

import "time"

// settled is what is reported of an attempt once the lock is free.
type settled struct {
	outcome Outcome
	// state is that of a delivery that is finished now, or empty.
	state   State
	message string
	now     time.Time
	// due is when the next attempt will be made; zero if none will.
	due time.Time
	// What happened to the subscription with it.
	tripped, recovered, disabled bool
	// attempted says that something was sent, or could have been: looking for an address in
	// vain is no attempt.
	attempted bool
	// Of a poll: what came of it, and how the wait has ended.
	polled Polled
	waited wait
}

// settle records the result of an attempt: in the lane at once, in the store with the
// next flush. The caller holds the lock.
func (l *lane) settle(j *job, a Attempt, v verdict, now time.Time) settled {
	delete(l.inFlight, j.pos)
	l.retries.leave(j.pos)
	if j.further {
		l.engine.ration.giveBack()
	}
	if j.polls {
		l.waiting.polls--
		l.waiting.note(j.sub, v, now)
		switch {
		case j.dropped:
			v = verdict{end: endDropped}
		case v.end == endInVain:
			v.wait = 0 // which was not asked by the endpoint
		}
	}
	if l.tenure.mirror { // somebody else carries the subscription, and makes the attempt again
		return settled{now: now, outcome: OutcomeCut, message: v.message}
	}
	result := settled{now: now, polled: v.polled, waited: v.waited, message: v.message, attempted: v.end != endUnavailable && !a.At.IsZero()}
	if j.erased {
		v = j.afterErasure(&a, v)
	}
	switch v.end {
	case endCut, endUnread, endUnavailable:
		// As if it had not been taken: no attempt is charged or recorded.
		pause := v.wait
		switch v.end {
		case endUnavailable:
			l.condition.noAddress(v, now)
		case endUnread:
			l.readAt = now.Add(storePause)
		default:
		}
		l.retries.add(&retry{parcel: j.parcel, due: now.Add(pause)})
		result.outcome = OutcomeCut
		return result
	case endUnreadable:
		l.condition.Failed++
		l.outbox.put(Exception{
			From: j.pos, To: j.pos, Seq: j.seq, Kind: Quarantined, Attempts: j.attempts, At: now, Reason: string(ReasonQuarantined),
		})
		result.outcome, result.state = OutcomeFailed, StateFailed
	case endWaiting, endWaited:
		l.polled(j, v, now)
		return result
	case endDropped:
		l.condition.Failed++
		l.outbox.put(droppedException(&j.parcel, now))
		result.outcome, result.state = OutcomeFailed, StateFailed
	case endErased:
		l.condition.Failed++
		l.outbox.put(erasedException(j.pos, j.seq, max(j.attempts, a.Number), now))
		result.outcome, result.state = OutcomeFailed, StateFailed
	case endDelivered:
		result.recovered = l.condition.succeeded(j.sub, now)
		l.outbox.drop(j)
		result.outcome, result.state = OutcomeDelivered, StateDelivered
	default:
		if v.end != endInVain { // which says nothing of the endpoint
			result.tripped, result.disabled = l.condition.failed(j.sub, v, now)
		}
		if j.since.IsZero() {
			j.since = a.At
		}
		kind, due, reason := next(j, v, now)
		p := j.parcel
		p.attempts, p.step, p.stored, p.event, p.waiting = a.Number, j.step+1, true, nil, 0
		x := p.exception(kind, now)
		x.Due = due
		result.outcome = OutcomeRetry
		if kind == Failed {
			x.Reason = string(reason)
			l.condition.Failed++
			result.outcome, result.state = OutcomeFailed, StateFailed
		} else {
			l.retries.add(&retry{parcel: p, due: due})
			result.due = due
		}
		l.outbox.put(x)
	}
	if !j.stored {
		l.cur.finish(j.pos)
	}
	l.count(j, result)
	// Before the next of the key goes, which may read the store after a flush: that must
	// not pass over this lane.
	l.engine.settler.add(l)
	if result.state != "" {
		l.release(j.key, now)
	}
	if !a.At.IsZero() {
		l.outbox.attempt(j.seq, j.pos, a)
	}
	return result
}

// count keeps the number of open exceptions.
func (l *lane) count(j *job, result settled) {
	open := result.state == ""
	switch {
	case open && !j.stored:
		l.condition.Open++
	case !open && j.stored:
		l.condition.Open--
	}
}

// next decides what becomes of a delivery whose attempt failed.
func next(j *job, v verdict, now time.Time) (kind Kind, due time.Time, reason Reason) {
	policy := &j.sub.Retry
	if v.end == endGone {
		return Retry, now, "" // due as soon as somebody resumes the subscription
	}
	if v.end == endInVain && j.sub.WaitFor.OnTimeout == TimeoutFail {
		return Failed, time.Time{}, ReasonWaiting
	}
	if v.wait == 0 && !policy.retries(v.status) {
		return Failed, time.Time{}, ReasonStatus
	}
	delay, ok := policy.delay(j.step)
	if !ok {
		return Failed, time.Time{}, ReasonSchedule
	}
	if v.wait > 0 {
		delay = v.wait // what the endpoint asks for goes before the schedule
	}
	due = now.Add(delay)
	if limit := policy.GiveUpAfter; limit > 0 && due.Sub(j.since) > limit {
		return Failed, time.Time{}, ReasonGiveUpAfter
	}
	return Retry, due, ""
}

// report tells the observer of the plan under which the attempt began.
func (r settled) report(l *lane, j *job, a Attempt) {
	if j.polls {
		r.reportPoll(l, j)
		if r.outcome == "" {
			return
		}
	}
	if r.attempted {
		j.plan.observer.Attempted(j.sub, r.outcome, a.ErrorKind, a.Duration)
	}
	if r.state != "" {
		j.plan.observer.Settled(j.sub.Name, r.state, 1)
	}
	if r.state == StateDelivered && !j.replayed {
		j.plan.observer.Arrived(j.sub.Name, r.now.Sub(j.event.Accepted))
	}
	l.logAttempt(j, r, a)
}
