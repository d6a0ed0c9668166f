package console

import (
	"math"
	"sync"
	"sync/atomic"
	"time"
)

// History counts what became of deliveries of late, for the charts. It takes what an
// engine's observer sees, without a lock and without allocating, and forgets what is older
// than its window; a restart forgets all. What it was not there for is not known, and not 0.
type History struct {
	// since is when it began to count, as Unix time in ns; 0 while it does not.
	since atomic.Int64
	total [totalSlots]minute

	mu             sync.RWMutex
	bySubscription map[string]*Series
	backlogs       [totalSlots]sample
}

// Windows of a history.
const (
	totalSlots, totalStep   = 180, time.Minute
	seriesSlots, seriesStep = 48, 30 * time.Minute
)

// slot counts one span of time. number is that of the span since 1970, so that a slot that
// comes round again is known to be old.
type slot struct {
	number            atomic.Int64
	delivered, failed atomic.Uint32
}

// minute is a slot with how long deliveries took, from acceptance.
type minute struct {
	slot
	latency [latencyBuckets]atomic.Uint32
}

// latencyBuckets is their number; bucket i holds what took less than 2^i ms.
const latencyBuckets = 30

// Series is the history of one subscription: of 24 hours, and its backlog of three.
type Series struct {
	slots [seriesSlots]slot
	// made is when it was, as Unix time in ns.
	made int64
	// holders are those who hold it. The history's lock guards it.
	holders int
	// backlog is nil as long as nothing has waited. The history's lock guards it.
	backlog *[totalSlots]uint32
}

// Record begins to count: nobody pays for charts that nobody can see.
func (h *History) Record() { h.since.CompareAndSwap(0, time.Now().UnixNano()) }

func (h *History) on() bool { return h.since.Load() != 0 }

// Hold returns the series of the names, new where there is none, and keeps them until Release was
// called as often: beside the configuration that runs there is the next, which may be refused.
func (h *History) Hold(names []string) map[string]*Series {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.bySubscription == nil {
		h.bySubscription = make(map[string]*Series)
	}
	held := make(map[string]*Series, len(names))
	for _, name := range names {
		s := h.bySubscription[name]
		if s == nil {
			s = &Series{made: time.Now().UnixNano()}
			h.bySubscription[name] = s
		}
		s.holders++
		held[name] = s
	}
	return held
}

// Release forgets the series of the names that nobody else holds.
func (h *History) Release(names []string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, name := range names {
		if s := h.bySubscription[name]; s != nil {
			if s.holders--; s.holders == 0 {
				delete(h.bySubscription, name)
			}
		}
	}
}

// Delivered counts deliveries that have arrived.
func (h *History) Delivered(s *Series, n uint64) {
	if h.on() {
		h.count(s, uint32(min(n, math.MaxUint32)), 0)
	}
}

// Failed counts an attempt that failed.
func (h *History) Failed(s *Series) {
	if h.on() {
		h.count(s, 0, 1)
	}
}

// Took counts how long a delivery took from acceptance.
func (h *History) Took(d time.Duration) {
	if !h.on() {
		return
	}
	m := h.minute(time.Now())
	i := 0
	for ms := d.Milliseconds(); ms > 0 && i < latencyBuckets-1; ms >>= 1 {
		i++
	}
	m.latency[i].Add(1)
}

func (h *History) count(s *Series, delivered, failed uint32) {
	now := time.Now()
	h.minute(now).add(delivered, failed)
	if s != nil {
		half := &s.slots[index(now, seriesStep, seriesSlots)]
		half.begin(ordinal(now, seriesStep))
		half.add(delivered, failed)
	}
}

// minute returns the present one.
func (h *History) minute(now time.Time) *minute {
	m := &h.total[index(now, totalStep, totalSlots)]
	if m.begin(ordinal(now, totalStep)) {
		for i := range m.latency {
			m.latency[i].Store(0)
		}
	}
	return m
}

// begin makes the slot that of a span, and reports whether it was that of an older one. What
// others count in the same instant may be lost: a chart need not be exact, and nobody waits.
func (s *slot) begin(ordinal int64) bool {
	old := s.number.Load()
	if old == ordinal || !s.number.CompareAndSwap(old, ordinal) {
		return false
	}
	s.delivered.Store(0)
	s.failed.Store(0)
	return true
}

func (s *slot) add(delivered, failed uint32) {
	s.delivered.Add(delivered)
	s.failed.Add(failed)
}

func ordinal(t time.Time, step time.Duration) int64 { return t.UnixNano() / int64(step) }

func index(t time.Time, step time.Duration, slots int64) int64 { return ordinal(t, step) % slots }
