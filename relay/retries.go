package relay

import (
	"container/heap"
	"slices"
	"sync/atomic"
	"time"
)

// Bounds of the open exceptions that are held in memory. Those due later stay in the store
// until their time comes. Tests lower them.
var (
	// retriesInMemory bounds those of one lane, retriesOfAll those of all lanes together.
	retriesInMemory       = 1 << 16
	retriesOfAll    int64 = 1 << 17
)

// Where the lanes have too many together, one holds fewRetries, or a share of what it has
// open: each time that it needs more, it reads all of them.
const (
	fewRetries  = 64
	shareOfOpen = 16
)

// retry is a delivery that waits for its next attempt.
type retry struct {
	parcel
	due   time.Time
	index int
}

// retries are the deliveries of one lane that wait, ordered by due time.
type retries struct {
	heap  retryHeap
	byPos map[uint64]*retry
	// limit bounds them, least while the lanes have too many together; held counts those of
	// all lanes.
	limit, least int
	held         *atomic.Int64
	// spilled is the earliest due time among those that are only in the store; zero if
	// there are none. While they are read, reading is what it was before.
	spilled, reading time.Time
	// scanning says that a scan of the store is under way.
	scanning bool
	// outdated says that what the scan under way has found was dropped since it began.
	outdated bool
	*watches
}

// watches are those of everybody who reads what a lane has in the store.
type watches struct{ all []*watch }

// watch collects the positions that leave memory, or are settled, while somebody reads the
// store: of these the reader's view is out of date.
type watch struct{ left map[uint64]struct{} }

func (w *watch) has(pos uint64) bool {
	_, ok := w.left[pos]
	return ok
}

// watch begins one, which is to be ended. The caller holds the lane's lock.
func (o *watches) watch() *watch {
	w := &watch{left: make(map[uint64]struct{})}
	o.all = append(o.all, w)
	return w
}

// watch begins one for somebody who will read the store, until end is called.
func (l *lane) watch() (since *watch, end func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	since = l.retries.watch()
	return since, func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.retries.unwatch(since)
	}
}

func (o *watches) unwatch(w *watch) {
	o.all = slices.DeleteFunc(o.all, func(other *watch) bool { return other == w })
}

func newRetries(held *atomic.Int64, seen *watches) retries {
	return retries{byPos: make(map[uint64]*retry), limit: retriesInMemory, least: fewRetries, held: held, watches: seen}
}

// bound is how many the lane may hold at present.
func (q *retries) bound() int {
	if q.held.Load() < retriesOfAll {
		return q.limit
	}
	return min(q.least, q.limit)
}

// add puts a retry in order, or leaves it to the store if there are too many.
func (q *retries) add(r *retry) {
	if len(q.heap) >= q.bound() && r.stored {
		q.spill(r.due)
		return
	}
	q.held.Add(1)
	q.byPos[r.pos] = r
	heap.Push(&q.heap, r)
}

// load adds what a scan of the store found among so many that are open, and keeps those
// that are due first.
func (q *retries) load(found []*retry, spilled time.Time, open uint64) {
	q.least = max(fewRetries, int(open/shareOfOpen))
	if !spilled.IsZero() {
		q.spill(spilled)
	}
	all := slices.Concat(q.heap, found)
	all, rest := earliest(all, q.bound())
	q.held.Add(int64(len(all) - len(q.heap)))
	if !rest.IsZero() {
		q.spill(rest)
	}
	q.heap = all
	clear(q.byPos)
	for i, r := range all {
		r.index = i
		q.byPos[r.pos] = r
	}
	heap.Init(&q.heap)
}

// earliest keeps the limit retries that are due first, and all that are not stored
// anywhere else. It returns the due time of the first one left out, or zero.
func earliest(all []*retry, limit int) (kept []*retry, rest time.Time) {
	if len(all) <= limit {
		return all, time.Time{}
	}
	slices.SortFunc(all, func(a, b *retry) int { return a.due.Compare(b.due) })
	kept = all[:limit:limit]
	for _, r := range all[limit:] {
		switch {
		case !r.stored:
			kept = append(kept, r)
		case rest.IsZero():
			rest = r.due
		}
	}
	return kept, rest
}

func (q *retries) spill(due time.Time) {
	if q.spilled.IsZero() || due.Before(q.spilled) {
		q.spilled = due
	}
}

// first returns the retry that is due first, or nil.
func (q *retries) first() *retry {
	if len(q.heap) == 0 {
		return nil
	}
	return q.heap[0]
}

// firstDue returns when the first in memory is due; zero if there is none.
func (q *retries) firstDue() time.Time {
	if r := q.first(); r != nil {
		return r.due
	}
	return time.Time{}
}

func (q *retries) remove(r *retry) {
	heap.Remove(&q.heap, r.index)
	q.held.Add(-1)
	delete(q.byPos, r.pos)
	q.leave(r.pos)
}

// leave notes that what a reader may have seen of a position is out of date.
func (o *watches) leave(pos uint64) {
	for _, w := range o.all {
		w.left[pos] = struct{}{}
	}
}

// dueAll makes everything due now, also what is only in the store.
func (q *retries) dueAll(now time.Time) {
	for _, r := range q.heap {
		if r.due.After(now) {
			r.due = now
		}
	}
	heap.Init(&q.heap)
	if !q.spilled.IsZero() {
		q.spill(now)
	}
}

// wantsScan reports whether something that is only in the store is due, and nothing in
// memory is: what is in memory goes first.
func (q *retries) wantsScan(now time.Time) bool {
	if q.spilled.IsZero() || q.spilled.After(now) {
		return false
	}
	r := q.first()
	return r == nil || r.due.After(now)
}

// nextDue returns when the next one is due, in memory or not; zero if there is none.
func (q *retries) nextDue() time.Time {
	due := q.spilled
	if r := q.first(); r != nil && (due.IsZero() || r.due.Before(due)) {
		due = r.due
	}
	return due
}

// oldest is nextDue, with what is being read of the store.
func (q *retries) oldest() time.Time { return earlier(q.nextDue(), q.reading) }

type retryHeap []*retry

func (h retryHeap) Len() int           { return len(h) }
func (h retryHeap) Less(i, j int) bool { return h[i].due.Before(h[j].due) }
func (h retryHeap) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].index, h[j].index = i, j
}

func (h *retryHeap) Push(x any) {
	r := x.(*retry)
	r.index = len(*h)
	*h = append(*h, r)
}

func (h *retryHeap) Pop() any {
	old := *h
	r := old[len(old)-1]
	old[len(old)-1] = nil
	*h = old[:len(old)-1]
	return r
}
