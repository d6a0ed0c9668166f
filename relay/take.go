package relay

import "time"

// take returns the next delivery to attempt, or to poll for, or nil if there is none or it is
// not the time for it. The caller holds the lock.
func (l *lane) take(now time.Time) *job {
	if l.sub == nil || l.tenure.rests || l.blind() {
		return nil
	}
	readable := l.readable(now)
	if readable && (l.sub.WaitFor != nil || len(l.waiting.heap) > 0) {
		if j := l.takeWaiting(now); j != nil {
			return j
		}
	}
	if l.attempts() >= l.condition.limit(l.sub) {
		return nil
	}
	r := l.retries.first()
	if r != nil && (r.due.After(now) || !readable) {
		r = nil
	}
	if r == nil && len(l.queue) == 0 {
		return nil
	}
	if reason, _ := l.condition.held(l.sub, now); reason != ReasonNone {
		return nil
	}
	key, ready := l.clear(now)
	ready = ready && l.sub.WaitFor == nil // what is still in the log has to wait first
	if r == nil && !ready {
		return nil
	}
	if l.turn = !l.turn; l.turn && ready {
		r = nil // neither a pile of retries nor a stream of events keeps the other waiting
	}
	if !l.engine.enter() {
		return nil
	}
	further := l.attempts() > 0
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

// clear sets aside what stands at the head of the queue and may not go: because a newer
// event may take its place, or behind another delivery of its key. It reports whether what
// is at the head then may go, and returns its key, if it has one. The caller holds the lock.
func (l *lane) clear(now time.Time) (key string, ready bool) {
	plain := l.sub.OrderBy == nil && l.sub.Debounce == nil
	for len(l.queue) > 0 {
		e := &l.queue[0]
		if plain || e.keys == "" {
			return "", true
		}
		k := unpackKeys(e.keys)
		switch {
		case l.sub.Debounce != nil && k.debounce != "" && !k.placed && !l.windows.beyond(k.debounce, e.pos):
			if !l.debounce(k, now) {
				return "", false
			}
		case l.sub.OrderBy == nil || k.order == "":
			return "", true
		case l.order.free(k.order, e.pos):
			return k.order, true
		default:
			l.setAside(l.pop().parcel(k.order), now)
		}
	}
	return "", false
}
