package relay

import (
	"container/heap"
	"sync/atomic"
	"time"
)

// Debounce says that of the events of one key within a window of time only the last one is
// sent. The window opens with the first event and does not slide.
type Debounce struct {
	Window time.Duration
	// By is the key. Events that do not have it are sent at once.
	By Placeholder
}

// debounceWindow is open for the events of one key: a newer one takes the place of those before.
type debounceWindow struct {
	key  string
	ends time.Time
	// newest is the delivery that is sent at the end. Its key is that of its order.
	newest parcel
	index  int
}

// debounceWindows are the open ones of a lane. All of them are in memory; when there is no room for
// another one, the log waits until one has ended.
type debounceWindows struct {
	heap  debounceHeap
	byKey map[string]*debounceWindow
	limit int
	// open counts those of all lanes.
	open *atomic.Int64
	// refused says that the head of the queue has found no room for a window.
	refused bool
}

// windowsOfAll bounds the windows of all lanes together. Where there are so many, a lane has
// fewRetries. Tests lower it.
var windowsOfAll int64 = 1 << 17

func newDebounceWindows(open *atomic.Int64) debounceWindows {
	return debounceWindows{byKey: make(map[string]*debounceWindow), limit: retriesInMemory, open: open}
}

// full reports whether there is no room for another one. A lane that is full has one of its own,
// at whose end it looks again: how many others have is not told to it.
func (q *debounceWindows) full() bool {
	if q.open.Load() < windowsOfAll {
		return len(q.heap) >= q.limit
	}
	return len(q.heap) >= min(fewRetries, q.limit)
}

// hasRoomAgain reports whether there is room since something was refused: other lanes have let go
// of some, and tell nobody.
func (q *debounceWindows) hasRoomAgain() bool {
	if !q.refused || q.full() {
		return false
	}
	q.refused = false
	return true
}

func (q *debounceWindows) add(w *debounceWindow) {
	q.open.Add(1)
	q.byKey[w.key] = w
	heap.Push(&q.heap, w)
}

func (q *debounceWindows) remove(w *debounceWindow) {
	q.open.Add(-1)
	heap.Remove(&q.heap, w.index)
	delete(q.byKey, w.key)
}

// clear forgets all of them.
func (q *debounceWindows) clear() {
	q.open.Add(-int64(len(q.heap)))
	*q = newDebounceWindows(q.open)
}

// nextEnd returns when the first one ends; zero if there is none.
func (q *debounceWindows) nextEnd() time.Time {
	if len(q.heap) == 0 {
		return time.Time{}
	}
	return q.heap[0].ends
}

// beyond reports whether the window of a key has a delivery behind the one at pos: that was under
// way, while debouncing was off, when the process ended. It goes by itself.
func (q *debounceWindows) beyond(key string, pos uint64) bool {
	w := q.byKey[key]
	return w != nil && w.newest.pos > pos
}

// endAll makes all of them end now.
func (q *debounceWindows) endAll(now time.Time) {
	for _, w := range q.heap {
		if w.ends.After(now) {
			w.ends = now
		}
	}
	heap.Init(&q.heap)
}

// debounce takes the head of the queue into the window of its key. It reports whether there
// was room. The caller holds the lock.
func (l *lane) debounce(k keys, now time.Time) bool {
	accepted := earlier(l.queue[0].event.Accepted, now) // after now if the clock fell back
	w := l.windows.byKey[k.debounce]
	if w != nil && !accepted.Before(w.ends) {
		l.closeWindow(w, now)
		w = nil
	}
	if l.windows.refused = w == nil && l.windows.full(); l.windows.refused {
		return false
	}
	p := l.pop().parcel(k.order)
	p.event, p.stored = nil, true
	if w == nil {
		w = &debounceWindow{key: k.debounce, ends: accepted.Add(l.sub.Debounce.Window)}
		l.windows.add(w)
	} else {
		l.supersede(&w.newest, now)
	}
	w.newest = p
	x := p.exception(Debounced, now)
	x.Due, x.Key = w.ends, k.pack()
	l.outbox.put(x)
	l.cur.finish(p.pos)
	l.retries.leave(p.pos)
	l.condition.Open++
	l.engine.settler.add(l)
	return true
}

// supersede ends a delivery in whose place a newer one stands. The caller holds the lock.
func (l *lane) supersede(p *parcel, now time.Time) {
	x := p.exception(Superseded, now)
	x.Due, x.Reason = time.Time{}, string(ReasonDebounce)
	l.retries.leave(p.pos)
	l.condition.Open--
	l.gaveUp(x)
}

// closeWindows lets go what is newest in the windows that have ended. It reports whether
// there were any, or there is room for others again. The caller holds the lock.
func (l *lane) closeWindows(now time.Time) (closed bool) {
	if l.sub == nil || len(l.windows.heap) == 0 {
		return false
	}
	if reason, _ := l.condition.held(l.sub, now); reason != ReasonNone {
		return false
	}
	for len(l.windows.heap) > 0 {
		w, d := l.windows.heap[0], l.sub.Debounce
		switch {
		case d == nil: // the word was taken out: nothing takes its place any more
		case w.ends.After(now.Add(d.Window)): // the clock fell back, or the window is a shorter one now
			w.ends = now.Add(d.Window)
			heap.Fix(&l.windows.heap, 0)
			continue
		case l.engine.known(w.ends).After(now):
			return closed
		case l.windows.hasRoomAgain():
			return true
		case !l.hasPassed(w.ends, now):
			return closed
		}
		l.closeWindow(w, now)
		closed = true
	}
	return closed
}

// hasPassed reports whether the log has nothing left that was accepted before t: after a
// pause, what the window would have seen is still there. If there is no room for more
// windows the first one has to end first. The caller holds the lock.
func (l *lane) hasPassed(t, now time.Time) bool {
	if len(l.queue) > 0 {
		return l.windows.refused || !earlier(l.queue[0].event.Accepted, now).Before(t)
	}
	return l.next > l.head
}

// closeWindow makes the newest delivery of a window due. The caller holds the lock.
func (l *lane) closeWindow(w *debounceWindow, now time.Time) {
	l.windows.remove(w)
	p := w.newest
	if l.sub.OrderBy == nil {
		p.key = ""
	}
	l.lineUp(&p, now)
}

// restoreWindow takes up a window that the store knows, when the lane is made.
func (l *lane) restoreWindow(x Exception) {
	p, k := parcelOf(&x), unpackKeys(x.Key)
	p.key = k.order
	w := &debounceWindow{key: k.debounce, ends: ticking(x.Due, time.Now()), newest: p}
	if resumed := l.engine.wall.today(l.condition.ResumedAt); w.ends.After(resumed) && !x.At.After(resumed) {
		w.ends = resumed
	}
	l.windows.add(w)
}

// forget takes a delivery out of the window of its key.
func (q *debounceWindows) forget(key string, pos uint64) {
	if w := q.byKey[key]; w != nil && w.newest.pos == pos {
		q.remove(w)
	}
}

type debounceHeap []*debounceWindow

func (h debounceHeap) Len() int           { return len(h) }
func (h debounceHeap) Less(i, j int) bool { return h[i].ends.Before(h[j].ends) }
func (h debounceHeap) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].index, h[j].index = i, j
}

func (h *debounceHeap) Push(x any) {
	w := x.(*debounceWindow)
	w.index = len(*h)
	*h = append(*h, w)
}

func (h *debounceHeap) Pop() any {
	old := *h
	w := old[len(old)-1]
	old[len(old)-1] = nil
	*h = old[:len(old)-1]
	return w
}
