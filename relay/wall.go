package relay

import (
	"sync"
	"time"
)

// wall notes the steps by which the clock of the machine was set while the engine ran. What is in
// memory is due by the time that passes; what only the store has is due by the clock as it was
// when that was recorded.
type wall struct {
	// shared says that the records are those of several machines, each with a clock of its own:
	// then no step is noted.
	shared bool

	mu sync.Mutex
	// reading returns what the clock shows; nil: what the time says. Tests set it.
	reading func(time.Time) time.Time
	seen    time.Time
	shown   time.Time // at seen
	steps   []clockStep
	noted   int // steps so far
}

// clockStep is one of them.
type clockStep struct {
	number int // from 1
	// until is what the clock showed before, by is how far it went forward then; back, if negative.
	until time.Time
	by    time.Duration
}

// maxClockSteps bounds those that are remembered.
const maxClockSteps = 64

// look notes a step since the last look. What is less than clockSlack is none: clocks are slewed.
func (w *wall) look(now time.Time) {
	if w.shared {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	shown := now.Round(0)
	if w.reading != nil {
		shown = w.reading(now)
	}
	before := w.shown.Add(now.Sub(w.seen))
	if by := shown.Sub(before); !w.seen.IsZero() && by.Abs() > clockSlack {
		w.noted++
		w.steps = append(w.steps, clockStep{w.noted, before, by})
		w.steps = w.steps[max(len(w.steps)-maxClockSteps, 0):]
	}
	w.seen, w.shown = now, shown
}

// shift returns by how much a time is to be moved that was recorded when the clock showed at.
//
// After a step back the clock shows some times twice. One of those is taken for the later one: what
// was recorded then is late by as much as the clock went back, at most, and ends in no case early.
func (w *wall) shift(at time.Time) (total time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for i, s := range w.steps {
		last := w.shown // of the times after the step
		if i+1 < len(w.steps) {
			last = w.steps[i+1].until
		}
		first := s.until
		if s.by < 0 {
			first = s.until.Add(s.by)
		}
		if !at.After(first) || s.by < 0 && at.After(last.Add(clockSlack)) {
			at = at.Add(s.by)
			total += s.by
		}
	}
	return total
}

// today returns a time that the clock showed as it shows it today.
func (w *wall) today(t time.Time) time.Time {
	if t.IsZero() {
		return t
	}
	return t.Round(0).Add(w.shift(t))
}

// bring makes the times of a record those of the clock as it is today.
func (w *wall) bring(x *Exception) {
	by := w.shift(x.At)
	if by == 0 {
		return
	}
	for _, t := range []*time.Time{&x.At, &x.Due, &x.Since} {
		if !t.IsZero() {
			*t = t.Add(by)
		}
	}
}

// bringWait does that with since when a delivery in memory waits, each time that it is looked at:
// of steps forward alone. After one back it waits the longer.
func (w *wall) bringWait(p *parcel) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, s := range w.steps {
		if s.number > p.clockStep && s.by > 0 && p.waiting != 0 && !p.waitingSince().After(s.until) {
			p.waiting += s.by.Milliseconds()
		}
	}
	p.clockStep = w.noted
}

// stepBefore returns the number of the last step before a time of a record; 0 if there was none.
func (w *wall) stepBefore(recorded time.Time) (number int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, s := range w.steps {
		if s.by > 0 && recorded.After(s.until) {
			number = s.number
		}
	}
	return number
}

// ticking returns a time of a record as one that comes nearer by the time that passes, whatever the
// clock is set to from now on.
func ticking(t, now time.Time) time.Time {
	if t.IsZero() {
		return t
	}
	return now.Add(t.Sub(now))
}
