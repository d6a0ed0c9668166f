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
	// theirs says that another relay has told it; unknown, that it is no settlement: another
	// relay has had more before, and nobody knows how many.
	theirs, unknown bool
	// own counts those of this engine up to this one.
	own uint64
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
	own         uint64 // how many of them are this engine's own
	followers   map[*Follower]struct{}
	off         *time.Timer
	closed      bool
	// users counts the followers that are not other relays; left is when there were none left.
	users int
	left  time.Time
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
	if !s.theirs {
		f.own++
	}
	s.Number, s.own = f.last, f.own
	f.ring[s.Number%feedSize] = s
	for r := range f.followers {
		r.notify()
	}
}

// skip notes that n were missed by all who follow: their numbers are nobody's.
func (f *feed) skip(n uint64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.last += n
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
	if !r.relayed {
		if f.users == 0 && time.Since(f.left) > feedLinger {
			r.read = ^uint64(0) // nobody has asked the other relays since
		}
		f.users++
	}
	if f.ring == nil {
		f.ring = make([]Settlement, feedSize)
		f.since = f.last
		f.followers = make(map[*Follower]struct{})
		f.on.Store(true)
	}
	if r.read > f.last || r.read < f.since {
		r.read, r.unknown, r.own = f.last, r.resumed, f.own
	}
	f.followers[r] = struct{}{}
	r.notify()
}

// leave takes a follower out, and turns the feed off a while after the last one.
func (f *feed) leave(r *Follower) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if _, ok := f.followers[r]; ok && !r.relayed {
		f.users--
		f.left = time.Now()
	}
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
// many before that were overwritten, or never came here.
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
		switch s := &f.ring[(r.read+1)%feedSize]; {
		case s.Number == r.read+1:
			dst[n] = *s
			n++
		case n > 0:
			return n, missed, false
		default:
			missed++
		}
		r.read++
	}
	return n, missed, false
}

// wanted reports whether somebody follows who is not another relay, or may come back.
func (f *feed) wanted() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.users > 0 || time.Since(f.left) <= feedLinger
}

// Followed returns how many follow at present.
func (r *Relay) Followed() int {
	r.feed.mu.Lock()
	defer r.feed.mu.Unlock()
	return len(r.feed.followers)
}
