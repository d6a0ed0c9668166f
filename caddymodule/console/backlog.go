package console

import (
	"context"
	"math"
	"time"
)

// sample is the backlog of all subscriptions in one minute.
type sample struct {
	// minute is its number since 1970, so that a sample that comes round again is known to
	// be old.
	minute  int64
	waiting uint64
}

// Watch samples the backlog once a minute, until ctx ends: what waits is found nowhere
// afterwards. backlogs returns it by subscription, without those that have none.
func (h *History) Watch(ctx context.Context, backlogs func() map[string]uint64) {
	for {
		h.sample(backlogs)
		now := time.Now()
		// At the beginning of each minute: a ticker that goes off near the end of one
		// might find the same minute twice, and leave out the next.
		timer := time.NewTimer(now.Truncate(totalStep).Add(totalStep).Sub(now))
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-timer.C:
		}
	}
}

func (h *History) sample(backlogs func() map[string]uint64) {
	if !h.on() {
		return
	}
	waiting, now := backlogs(), time.Now()
	s := sample{minute: ordinal(now, totalStep)}
	i := index(now, totalStep, totalSlots)
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, n := range waiting {
		s.waiting += n
	}
	h.backlogs[i] = s
	for name, series := range h.bySubscription {
		n := waiting[name]
		if series.backlog == nil {
			if n == 0 {
				continue
			}
			series.backlog = new([totalSlots]uint32)
		}
		series.backlog[i] = uint32(min(n, math.MaxUint32))
	}
}

// level is the backlog in one minute.
type level struct {
	At      time.Time
	Waiting uint64
	// Known is false where nobody has looked.
	Known bool
}

// backlog returns the minutes of the last three hours of a subscription, or of all with an
// empty name, the oldest first, and since when they were watched; nil if it has no history.
// waiting is the backlog of now.
func (h *History) backlog(name string, waiting uint64, now time.Time) ([]level, time.Time) {
	h.mu.RLock()
	defer h.mu.RUnlock()
	var series *Series
	since := h.since.Load()
	if name != "" {
		if series = h.bySubscription[name]; series == nil {
			return nil, time.Time{}
		}
		since = h.sinceOf(series)
	}
	last := ordinal(now, totalStep)
	all := make([]level, 0, totalSlots)
	for n := last - totalSlots + 1; n <= last; n++ {
		s := &h.backlogs[n%totalSlots]
		l := level{At: spanStart(n, totalStep), Known: s.minute == n && n >= since/int64(totalStep)}
		switch {
		case n == last:
			l.Waiting, l.Known = waiting, true
		case !l.Known:
		case series == nil:
			l.Waiting = s.waiting
		case series.backlog != nil:
			l.Waiting = uint64(series.backlog[n%totalSlots])
		}
		all = append(all, l)
	}
	return all, time.Unix(0, since)
}
