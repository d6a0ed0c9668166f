package relay

import (
	"container/heap"
	"sync"
	"time"
)

// schedule wakes lanes when something of theirs becomes due. It holds one entry for
// each lane that waits, so that a million deliveries that wait for one endpoint cost
// one entry.
type schedule struct {
	mu     sync.Mutex
	lanes  laneHeap
	timer  *time.Timer
	closed bool
}

func newSchedule() *schedule { return &schedule{} }

// set makes the lane wake at the given time, in place of an earlier wish; a zero time
// takes it out.
func (s *schedule) set(l *lane, due time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return
	}
	switch {
	case due.IsZero() && l.heapIndex < 0:
		return
	case due.IsZero():
		heap.Remove(&s.lanes, l.heapIndex)
	case l.heapIndex < 0:
		l.heapDue = due
		heap.Push(&s.lanes, l)
	case l.heapDue.Equal(due):
		return
	default:
		l.heapDue = due
		heap.Fix(&s.lanes, l.heapIndex)
	}
	s.arm()
}

// arm sets the timer to the first lane. The caller holds the lock.
func (s *schedule) arm() {
	if len(s.lanes) == 0 {
		if s.timer != nil {
			s.timer.Stop()
		}
		return
	}
	wait := max(time.Until(s.lanes[0].heapDue), 0)
	if s.timer == nil {
		s.timer = time.AfterFunc(wait, s.fire)
		return
	}
	s.timer.Reset(wait)
}

func (s *schedule) fire() {
	now := time.Now()
	var due []*lane
	s.mu.Lock()
	for !s.closed && len(s.lanes) > 0 && !s.lanes[0].heapDue.After(now) {
		due = append(due, heap.Pop(&s.lanes).(*lane))
	}
	if !s.closed {
		s.arm()
	}
	s.mu.Unlock()
	for _, l := range due {
		l.wake()
	}
}

func (s *schedule) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	if s.timer != nil {
		s.timer.Stop()
	}
}

// laneHeap orders lanes by heapDue. Both heap fields of a lane belong to the schedule.
type laneHeap []*lane

func (h laneHeap) Len() int           { return len(h) }
func (h laneHeap) Less(i, j int) bool { return h[i].heapDue.Before(h[j].heapDue) }
func (h laneHeap) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].heapIndex, h[j].heapIndex = i, j
}

func (h *laneHeap) Push(x any) {
	l := x.(*lane)
	l.heapIndex = len(*h)
	*h = append(*h, l)
}

func (h *laneHeap) Pop() any {
	old := *h
	l := old[len(old)-1]
	old[len(old)-1] = nil
	*h = old[:len(old)-1]
	l.heapIndex = -1
	return l
}
