package relay

import (
	"cmp"
	"slices"
	"sync/atomic"
	"time"
)

// behind is a delivery that stands behind another one of its key: what of its parcel
// must be kept in memory meanwhile.
type behind struct {
	pos      uint64
	seq      Seq
	attempts int
	marks
}

func behindOf(p *parcel) behind { return behind{p.pos, p.seq, p.attempts, p.marks} }

// parcel is the reverse of behindOf.
func (b behind) parcel(key string) parcel {
	return parcel{pos: b.pos, seq: b.seq, attempts: b.attempts, marks: b.marks, key: key, stored: true}
}

// line is the deliveries of one key that are not finished.
type line struct {
	// head is being attempted or retried. Its pos is 0 if it is not known: after a
	// restart it may be in the log, before those that wait.
	head behind
	// waiting are ascending; each has an exception of its own in the store. If spilled is
	// set, more of them are only there.
	waiting []behind
	spilled bool
	// loading says that the next ones are read, or will be, late is the first of those that were
	// left to the store meanwhile, which the reading may have missed; 0 if there is none.
	loading bool
	late    uint64
}

// order keeps deliveries of one key first-in-first-out. A head that fails holds its key
// alone: the lane goes on with the others.
type order struct {
	lines map[string]*line
	// waiting counts those in memory, and limit bounds them; all counts those of all lanes.
	waiting, limit int
	all            *atomic.Int64
	// orphans are the keys whose head is not known, by the position of the first that
	// waits.
	orphans []orphan
	// starved are the lines of which the next ones are only in the store.
	starved map[string]*line
}

type orphan struct {
	pos uint64
	key string
}

// behindOfAll bounds those that wait in the memory of all lanes together. Where there are so
// many, a lane keeps fewRetries, beside the first of each key. Tests lower it.
var behindOfAll int64 = 1 << 18

func newOrder(all *atomic.Int64) order {
	return order{lines: make(map[string]*line), starved: make(map[string]*line), limit: retriesInMemory, all: all}
}

// count notes that n more wait in memory.
func (o *order) count(n int) {
	o.waiting += n
	o.all.Add(int64(n))
}

// bound is how many may wait in memory at present, beside the first of each key.
func (o *order) bound() int {
	if o.all.Load() < behindOfAll {
		return o.limit
	}
	return min(fewRetries, o.limit)
}

// line returns that of a key, made if need be.
func (o *order) line(key string) *line {
	l := o.lines[key]
	if l == nil {
		l = new(line)
		o.lines[key] = l
	}
	return l
}

// free reports whether no delivery of the key is before the one at pos.
func (o *order) free(key string, pos uint64) bool {
	l := o.lines[key]
	return l == nil || (l.head.pos == 0 && !l.loading && (len(l.waiting) == 0 || pos < l.waiting[0].pos))
}

// heads reports whether a delivery that was set aside has become the head of its key.
func (o *order) heads(x Exception) bool {
	l := o.lines[x.Key]
	return x.Kind == Ordered && l != nil && l.head.pos == x.From
}

// claim makes a delivery the head of its key.
func (o *order) claim(key string, b behind) { o.line(key).head = b }

// queue puts a delivery in its place behind the others of its key, in the order of the
// log: what is replayed is older than what waits. Memory has the first ones; the first of a
// key is always there, so that what comes from the log can be told to stand before or
// behind it.
func (l *line) queue(o *order, b behind) {
	i, has := slices.BinarySearchFunc(l.waiting, b.pos, behind.compare)
	if has {
		return
	}
	last := i == len(l.waiting)
	full := len(l.waiting) > 0 && o.waiting >= o.bound()
	switch {
	case last && (full || l.spilled && !l.loading):
		l.leave(b.pos)
		return
	case full:
		end := len(l.waiting) - 1
		l.leave(l.waiting[end].pos)
		l.waiting = l.waiting[:end]
		o.count(-1)
	}
	l.waiting = slices.Insert(l.waiting, i, b)
	o.count(1)
}

// leave notes that from pos on the line is only in the store.
func (l *line) leave(pos uint64) {
	l.spilled = true
	if l.loading && (l.late == 0 || pos < l.late) {
		l.late = pos
	}
}

func (b behind) compare(pos uint64) int { return cmp.Compare(b.pos, pos) }

// loaded takes the first ones that were read of the store, beside what came meanwhile.
func (l *line) loaded(o *order, found []behind, more bool) {
	o.count(-len(l.waiting))
	for _, b := range l.waiting {
		i, has := slices.BinarySearchFunc(found, b.pos, behind.compare)
		switch {
		case has:
		case i == len(found) && more: // behind others that are only in the store
		default:
			found = slices.Insert(found, i, b)
		}
	}
	if l.late > 0 {
		i, _ := slices.BinarySearchFunc(found, l.late, behind.compare)
		found, more = found[:i], true
	}
	l.waiting, l.spilled, l.loading, l.late = found, more, false, 0
	o.count(len(found))
}

// next takes the first that waits.
func (l *line) next(o *order) (behind, bool) {
	if len(l.waiting) == 0 {
		return behind{}, false
	}
	b := l.waiting[0]
	l.waiting = l.waiting[1:]
	o.count(-1)
	return b, true
}

// setAside puts a delivery behind the head of its key, so that the log goes on. The
// caller holds the lock.
func (l *lane) setAside(p parcel, now time.Time) {
	l.outbox.put(p.exception(Ordered, now))
	l.cur.finish(p.pos)
	l.retries.leave(p.pos)
	l.condition.Open++
	l.order.line(p.key).queue(&l.order, behindOf(&p))
	l.engine.settler.add(l)
}

// lineUp makes a delivery due that the store knows, in its turn among those of its key. The
// caller holds the lock.
func (l *lane) lineUp(p *parcel, now time.Time) {
	kind := Retry
	switch {
	case p.key == "":
	case l.unread: // whose turn it is will be seen when the store is read
		kind = Ordered
		l.order.line(p.key).queue(&l.order, behindOf(p))
		l.retries.spill(now)
	case !l.claim(p):
		kind = Ordered
	}
	if kind == Retry {
		l.retries.add(&retry{parcel: *p, due: now})
	}
	l.retries.leave(p.pos)
	l.outbox.put(p.exception(kind, now))
	l.engine.settler.add(l)
}

// claim makes a delivery that the store knows the head of its key, or puts it in its place among
// those that wait: where others of the key are before it, or may be in what was not taken from
// the log yet. The caller holds the lock.
func (l *lane) claim(p *parcel) bool {
	ahead := p.pos >= l.front()
	if !ahead && l.order.free(p.key, p.pos) {
		l.order.claim(p.key, behindOf(p))
		return true
	}
	line := l.order.line(p.key)
	line.queue(&l.order, behindOf(p))
	if ahead && line.head.pos == 0 && len(line.waiting) > 0 && line.waiting[0].pos == p.pos {
		l.order.orphan(p.pos, p.key)
	}
	return false
}

// release lets the next delivery of a key go, once its head is finished. The caller holds
// the lock.
func (l *lane) release(key string, now time.Time) {
	if key == "" {
		return
	}
	line := l.order.lines[key]
	if line == nil {
		return
	}
	line.head = behind{}
	l.promote(key, line, now)
}

// promote makes the first that waits the head of its key, if the log has none before it:
// after a restart it may. The caller holds the lock.
func (l *lane) promote(key string, line *line, now time.Time) {
	if len(line.waiting) > 0 && line.waiting[0].pos >= l.front() {
		l.order.orphan(line.waiting[0].pos, key)
		return
	}
	b, ok := line.next(&l.order)
	switch {
	case ok:
		line.head = b
		l.retries.add(&retry{parcel: b.parcel(key), due: now})
	case line.spilled && !line.loading:
		line.loading = true
		l.order.starved[key] = line
	case !line.spilled:
		delete(l.order.lines, key)
	}
}

// front returns the first position of the log that was not taken from it yet. The caller
// holds the lock.
func (l *lane) front() uint64 {
	if len(l.queue) > 0 {
		return l.queue[0].pos
	}
	return l.next
}

// orphan notes that a key has no head before the one at pos is passed.
func (o *order) orphan(pos uint64, key string) {
	i, _ := slices.BinarySearchFunc(o.orphans, pos, func(a orphan, pos uint64) int { return cmp.Compare(a.pos, pos) })
	o.orphans = slices.Insert(o.orphans, i, orphan{pos, key})
}

// adopt makes heads of those that wait and have nothing before them in the log any more.
// The caller holds the lock.
func (l *lane) adopt(now time.Time) {
	for front := l.front(); len(l.order.orphans) > 0 && l.order.orphans[0].pos < front; {
		key := l.order.orphans[0].key
		l.order.orphans = l.order.orphans[1:]
		if line := l.order.lines[key]; line != nil && line.head.pos == 0 {
			l.promote(key, line, now)
		}
	}
}

// restore takes up what the store knows of a line.
func (o *order) restore(x Exception) {
	if x.Key == "" {
		return
	}
	line := o.line(x.Key)
	p := parcelOf(&x)
	if x.Kind == Ordered {
		line.queue(o, behindOf(&p))
	} else {
		line.head = behindOf(&p)
	}
}

// takeOver makes what the store knew of the lines the lane's own, when it was read for the
// first time. Of what has changed since then, the lane knows better: nothing of a line was
// attempted, but some may be over, and some replayed. The caller holds the lock.
func (l *lane) takeOver(stored order, since *watch) {
	for _, line := range stored.lines {
		if since.has(line.head.pos) {
			line.head = behind{}
		}
		before := len(line.waiting)
		line.waiting = slices.DeleteFunc(line.waiting, func(b behind) bool { return since.has(b.pos) })
		stored.count(len(line.waiting) - before)
	}
	for key, replayed := range l.order.lines {
		line := stored.line(key)
		for _, b := range replayed.waiting {
			line.queue(&stored, b)
		}
		line.spilled = line.spilled || replayed.spilled
	}
	l.order.count(-l.order.waiting)
	l.order = stored
	l.findOrphans()
}

// findOrphans notes the lines without a head.
func (l *lane) findOrphans() {
	o := &l.order
	for key, line := range o.lines {
		switch {
		case line.head.pos > 0:
		case len(line.waiting) > 0:
			o.orphans = append(o.orphans, orphan{line.waiting[0].pos, key})
		case line.spilled:
			o.orphans = append(o.orphans, orphan{0, key})
		default:
			delete(o.lines, key)
		}
	}
	slices.SortFunc(o.orphans, func(a, b orphan) int { return cmp.Compare(a.pos, b.pos) })
}
