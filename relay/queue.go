package relay

import "time"

// Bounds of what a lane keeps in memory of its log; the rest is read from the store
// when its turn comes.
const (
	queueBytes = 1 << 20
	// memoryBudget bounds the queued data of all lanes together, in bytes. A lane over
	// budget goes on, reading a few entries at a time.
	memoryBudget = 64 << 20

	refillEntries = 256
	refillFew     = 8
	refillBytes   = 512 << 10
)

// queueEntries bounds a lane's queue; tests lower it.
var queueEntries = 512

// entry is an event of the log that waits for its turn.
type entry struct {
	pos   uint64
	event *Event
	// keys are packed.
	keys string
}

// offer hands over an event that was just stored. It is called in log order. An event
// that finds no room stays in the store and is read when its turn comes. It reports whether
// the lane still stands for its name.
func (l *lane) offer(p Placement, e *Event) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.head = max(l.head, p.Pos); l.tenure.mirror {
		return !l.tenure.over
	}
	size := int64(len(e.Data))
	if p.Pos == l.next && !l.refilling && len(l.queue) < queueEntries && l.queued+size <= queueBytes &&
		l.engine.memory.Load()+size <= memoryBudget {
		l.push(entry{p.Pos, e, p.Key})
	}
	l.advance(time.Now())
	return true
}

// extend tells the lane that its log goes up to head.
func (l *lane) extend(head uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.head = max(l.head, head)
	l.advance(time.Now())
}

// push appends to the queue. The caller holds the lock.
func (l *lane) push(e entry) {
	l.queue = append(l.queue, e)
	l.next = l.cur.skip(e.pos + 1)
	size := int64(len(e.event.Data))
	l.queued += size
	l.engine.memory.Add(size)
	l.strip(&l.queue[len(l.queue)-1])
}

// pop takes the head of the queue. The caller holds the lock.
func (l *lane) pop() entry {
	e := l.queue[0]
	delete(l.erased, e.pos)
	l.queue[0] = entry{}
	l.queue = l.queue[1:]
	if len(l.queue) == 0 {
		l.queue = nil // the array behind it is not kept for a quiet lane
	}
	size := int64(len(e.event.Data))
	l.queued -= size
	l.engine.memory.Add(-size)
	return e
}

// unload drops the queue of a lane that is held: the entries are in the store, and
// lanes that move need the memory. The caller holds the lock.
func (l *lane) unload() {
	if len(l.queue) == 0 {
		return
	}
	l.next = l.queue[0].pos
	l.engine.memory.Add(-l.queued)
	l.queue, l.queued = nil, 0
}

// parcel returns the entry as a delivery that is the head of key, or of none.
func (e entry) parcel(key string) parcel {
	p := parcel{pos: e.pos, seq: e.event.Seq, event: e.event, key: key}
	p.replayed = e.keys != "" && unpackKeys(e.keys).placed
	return p
}
