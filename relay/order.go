package relay

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"slices"
	"time"

	"go.uber.org/zap"
)

// maxKeyLength is in bytes; longer keys are kept as their digest.
const maxKeyLength = 64

// orderKey returns the event's value of a subscription's ordering key, empty if it has
// none. It is computed once, when the event is accepted.
func (s *Subscription) orderKey(e *Event) string {
	if s.OrderBy == nil {
		return ""
	}
	key := s.OrderBy.Value(e)
	if len(key) > maxKeyLength {
		sum := sha256.Sum256([]byte(key))
		key = "sha256:" + hex.EncodeToString(sum[:16])
	}
	return key
}

// keyOf returns the ordering key that an event has in a subscription's log.
func keyOf(e *Event, subscription string) string {
	for _, p := range e.Deliveries {
		if p.Subscription == subscription {
			return p.Key
		}
	}
	return ""
}

// behind is a delivery that stands behind another one of its key.
type behind struct {
	pos uint64
	seq Seq
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
	// loading says that the next ones are being read, late that others were set aside
	// meanwhile, which the reading may have missed.
	loading, late bool
}

// order keeps deliveries of one key first-in-first-out. A head that fails holds its key
// alone: the lane goes on with the others.
type order struct {
	lines map[string]*line
	// waiting counts those in memory; limit bounds them.
	waiting, limit int
	// orphans are the keys whose head is not known, by the position of the first that
	// waits.
	orphans []orphan
}

type orphan struct {
	pos uint64
	key string
}

func newOrder() order { return order{lines: make(map[string]*line), limit: retriesInMemory} }

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

// queue puts a delivery behind the others of its key. The first of a key is always kept
// in memory, so that what comes from the log can be told to stand before or behind it.
func (l *line) queue(o *order, b behind) {
	if l.spilled || (o.waiting >= o.limit && len(l.waiting) > 0) {
		l.spilled, l.late = true, l.loading
		return
	}
	l.waiting = append(l.waiting, b)
	o.waiting++
}

// next takes the first that waits.
func (l *line) next(o *order) (behind, bool) {
	if len(l.waiting) == 0 {
		return behind{}, false
	}
	b := l.waiting[0]
	l.waiting = l.waiting[1:]
	o.waiting--
	return b, true
}

// setAside puts a delivery behind the head of its key, so that the log goes on. The
// caller holds the lock.
func (l *lane) setAside(e Entry, key string, now time.Time) {
	b := behind{e.Pos, e.Event.Seq}
	l.outbox.put(Exception{From: e.Pos, To: e.Pos, Seq: e.Event.Seq, Kind: Ordered, At: now, Due: now, Key: key})
	l.cur.finish(e.Pos)
	l.condition.Open++
	l.order.line(key).queue(&l.order, b)
	l.engine.settler.add(l)
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

// promote makes the first that waits the head of its key. The caller holds the lock.
func (l *lane) promote(key string, line *line, now time.Time) {
	b, ok := line.next(&l.order)
	switch {
	case ok:
		line.head = b
		l.retries.add(&retry{pos: b.pos, seq: b.seq, key: key, due: now, stored: true})
	case line.spilled && !line.loading:
		line.loading = true
		go l.loadLine(key)
	case !line.spilled:
		delete(l.order.lines, key)
	}
}

// adopt makes heads of those that wait and have nothing before them in the log any more.
// The caller holds the lock.
func (l *lane) adopt(now time.Time) {
	front := l.next
	if len(l.queue) > 0 {
		front = l.queue[0].Pos
	}
	for len(l.order.orphans) > 0 && l.order.orphans[0].pos < front {
		key := l.order.orphans[0].key
		l.order.orphans = l.order.orphans[1:]
		if line := l.order.lines[key]; line != nil && line.head.pos == 0 {
			l.promote(key, line, now)
		}
	}
}

// restoreOrder takes up what the store knows of a line, when the lane is made.
func (l *lane) restoreOrder(x Exception) {
	if x.Key == "" {
		return
	}
	line := l.order.line(x.Key)
	b := behind{x.From, x.Seq}
	if x.Kind == Ordered {
		line.queue(&l.order, b)
	} else {
		line.head = b
	}
}

// findOrphans notes the lines without a head, when the lane is made.
func (l *lane) findOrphans() {
	for key, line := range l.order.lines {
		if line.head.pos == 0 && len(line.waiting) > 0 {
			l.order.orphans = append(l.order.orphans, orphan{line.waiting[0].pos, key})
		}
	}
	slices.SortFunc(l.order.orphans, func(a, b orphan) int { return int(a.pos) - int(b.pos) })
}

// loadLine reads those of a key that wait in the store, when memory has no more of them.
func (l *lane) loadLine(key string) {
	found, more, err := l.readLine(key)
	l.mu.Lock()
	defer l.mu.Unlock()
	line := l.order.lines[key]
	if line == nil {
		return // dropped meanwhile
	}
	line.loading = false
	if err != nil {
		l.engine.storeFailed("read", err, zap.String("subscription", l.name))
		l.order.orphans = slices.Insert(l.order.orphans, 0, orphan{0, key}) // the next wake tries again
		l.engine.schedule.set(l, time.Now().Add(storePause))
		return
	}
	line.waiting, line.spilled, line.late = found, more || line.late, false
	l.order.waiting += len(found)
	l.promote(key, line, time.Now())
	l.advance(time.Now())
}

// linePage is how many of a key are read at once.
const linePage = 1000

func (l *lane) readLine(key string) (found []behind, more bool, err error) {
	ctx := context.Background()
	if err := l.engine.Flush(ctx); err != nil {
		return nil, false, err
	}
	for after := uint64(0); ; {
		open, err := l.engine.store.Open(ctx, l.name, after, linePage)
		if err != nil {
			return nil, false, err
		}
		for _, x := range open {
			after = x.From
			if x.Kind != Ordered || x.Key != key {
				continue
			}
			if len(found) == linePage {
				return found, true, nil
			}
			found = append(found, behind{x.From, x.Seq})
		}
		if len(open) < linePage {
			return found, false, nil
		}
	}
}
