package relay

import (
	"sync"
	"sync/atomic"
	"time"
)

// Limits of what is kept for those who follow.
const (
	// feedSize is how many settlements somebody who reads slowly can be behind.
	feedSize = 4096
	// feedLinger is how long they are kept after the last one has left, who may come back.
	feedLinger = 30 * time.Second
)

// Settlement is what has become of a delivery: an attempt has ended, or the delivery was
// ended without one.
type Settlement struct {
	// Number counts them, from 1 in each engine; see [Relay.Follow].
	Number uint64
	At     time.Time
	// Type is that of the event.
	Type string
	// Delivery is as it was then, without its attempts.
	Delivery Delivery
	// Attempt is the one that has led to it, without its Excerpt; nil if there was none.
	Attempt *Attempt

	// What ended without an attempt is known by its place only, and may be many: whoever
	// reads looks the events up.
	span Span
	seq  Seq
}

// feed keeps the newest settlements of an engine for those who follow them. Nobody who
// follows can keep a delivery waiting: what is not read in time is overwritten, and counted.
// While nobody follows, it costs one atomic load.
type feed struct {
	on atomic.Bool

	mu   sync.Mutex
	ring []Settlement // nil while it is off
	// last is the number of the newest settlement, since that of the last one before the
	// feed was turned on: what came before it is unknown.
	last, since uint64
	followers   map[*Follower]struct{}
	off         *time.Timer
	closed      bool
}

// attempted tells what became of an attempt. The caller holds the lane's lock.
func (f *feed) attempted(l *lane, j *job, a *Attempt, result settled) {
	if !f.on.Load() || result.outcome == OutcomeCut || result.outcome == "" {
		return // cut is as if it had not been made, and a poll ends nothing
	}
	s := Settlement{At: result.now, seq: j.seq, span: Span{j.pos, j.pos}}
	s.Delivery = Delivery{Subscription: l.name}
	if !l.recall(&s.Delivery, j.pos) {
		s.Delivery.State = StateDelivered
	}
	s.Delivery.AttemptCount = max(s.Delivery.AttemptCount, a.Number)
	if j.event != nil {
		s.Type, s.Delivery.Event = j.event.Type, j.event.ID
	}
	if result.attempted {
		made := *a
		made.Excerpt = nil
		s.Attempt = &made
	}
	f.add(s)
}

// ended tells that deliveries were ended without an attempt. The caller holds the lane's
// lock.
func (f *feed) ended(l *lane, x Exception) {
	if !f.on.Load() {
		return
	}
	s := Settlement{At: x.At, seq: x.Seq, span: Span{x.From, x.To}}
	s.Delivery = Delivery{Subscription: l.name}
	if l.sub != nil {
		s.Delivery.Region = l.sub.Region
	}
	l.stateOf(&s.Delivery, x)
	f.add(s)
}

func (f *feed) add(s Settlement) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.ring == nil {
		return
	}
	f.last++
	s.Number = f.last
	f.ring[s.Number%feedSize] = s
	for r := range f.followers {
		r.notify()
	}
}

// follow adds somebody who has read up to the number given, or begins now.
func (f *feed) follow(r *Follower) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		r.read = f.last
		return
	}
	if f.off != nil {
		f.off.Stop()
	}
	if f.ring == nil {
		f.ring = make([]Settlement, feedSize)
		f.since = f.last
		f.followers = make(map[*Follower]struct{})
		f.on.Store(true)
	}
	if r.read > f.last || r.read < f.since {
		r.read, r.unknown = f.last, r.resumed
	}
	f.followers[r] = struct{}{}
	r.notify()
}

// leave takes a follower out, and turns the feed off a while after the last one.
func (f *feed) leave(r *Follower) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.followers, r)
	if len(f.followers) > 0 || f.closed || f.ring == nil {
		return
	}
	f.off = time.AfterFunc(feedLinger, f.rest)
}

// rest turns the feed off, unless somebody has come back.
func (f *feed) rest() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.followers) == 0 {
		f.on.Store(false)
		f.ring = nil
		f.last++ // who has read all until now does not know what comes while it is off
	}
}

// close lets all who follow know that nothing more will come.
func (f *feed) close() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.closed = true
	f.on.Store(false)
	if f.off != nil {
		f.off.Stop()
	}
	for r := range f.followers {
		r.notify()
	}
}

// take copies what a follower has not read, at most as many as fit into dst. missed is how
// many were overwritten before that.
func (f *feed) take(r *Follower, dst []Settlement) (n int, missed uint64, closed bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.ring == nil || r.read == f.last {
		return 0, 0, f.closed
	}
	if behind := f.last - r.read; behind > feedSize {
		missed = behind - feedSize
		r.read += missed
	}
	for n < len(dst) && r.read < f.last {
		r.read++
		dst[n] = f.ring[r.read%feedSize]
		n++
	}
	return n, missed, false
}

// Followed returns how many follow at present.
func (r *Relay) Followed() int {
	r.feed.mu.Lock()
	defer r.feed.mu.Unlock()
	return len(r.feed.followers)
}
