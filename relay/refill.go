package relay

import (
	"context"
	"errors"
	"slices"
	"time"

	"go.uber.org/zap"
)

// storePause is how long a lane waits after the store could not be read.
const storePause = time.Second

// refill reads the next entries of the log after a position.
func (l *lane) refill(after uint64) {
	limit := refillEntries
	if l.engine.memory.Load() > memoryBudget {
		limit = refillFew
	}
	entries, err := l.engine.store.Read(context.Background(), l.name, after, limit, refillBytes)

	l.mu.Lock()
	defer l.mu.Unlock()
	l.refilling = false
	if l.next != after+1 { // held meanwhile, and unloaded: this is no longer what comes next
		l.advance(time.Now())
		return
	}
	unreadable, bad := errors.AsType[*UnreadableError](err)
	switch {
	case bad:
		l.quarantine(Span{l.next, unreadable.Pos}, unreadable.Seq, err)
	case errors.Is(err, ErrClosed):
		return
	case err != nil:
		l.engine.storeFailed("read", err, zap.String("subscription", l.name))
		l.engine.schedule.set(l, time.Now().Add(storePause))
		return
	case len(entries) == 0:
		l.quarantine(Span{l.next, l.head}, 0, errors.New("no entries where the log should have some"))
	}
	for _, e := range entries {
		if e.Pos < l.next || l.cur.has(e.Pos) {
			continue
		}
		if e.Pos > l.next {
			l.quarantine(Span{l.next, e.Pos - 1}, 0, errors.New("entries are missing in the log"))
		}
		l.push(entry{e.Pos, e.Event, packedKeys(e.Event, l.name)})
	}
	l.advance(time.Now())
}

// quarantine sets aside positions that cannot be delivered because their records are
// missing or unreadable, and says so. Those already finished are none of them: their
// records may have been removed. The caller holds the lock.
func (l *lane) quarantine(s Span, seq Seq, err error) {
	for from := l.cur.skip(s.From); from <= s.To; from = l.cur.skip(from) {
		to := from
		for to < s.To && !l.cur.has(to+1) {
			to++
		}
		l.engine.logger.Error("deliveries cannot be read and are set aside as failed",
			zap.String("subscription", l.name), zap.Uint64("from", from), zap.Uint64("to", to), zap.Error(err))
		l.gaveUp(Exception{From: from, To: to, Seq: seq, Kind: Quarantined, At: time.Now(), Reason: string(ReasonQuarantined)})
		l.cur.finishSpan(Span{from, to})
		l.engine.settler.add(l)
	}
	l.next = l.cur.skip(l.next)
}

// loadRetries reads the open exceptions that are due first. It is called before the
// lane runs (first: the order of keys is taken up too), and by scanRetries.
func (l *lane) loadRetries(ctx context.Context, since *watch, first bool) error {
	var (
		found   []*retry
		spilled time.Time
		after   uint64
	)
	const page = 1000
	l.mu.Lock()
	l.retries.spilled = time.Time{} // from here on add notes what the scan may miss
	l.mu.Unlock()
	for {
		open, err := l.engine.store.Open(ctx, l.name, after, page)
		if err != nil {
			return err
		}
		l.mu.Lock()
		for _, x := range open {
			after = x.From
			if first {
				l.restoreOrder(x)
				if x.Kind == Debounced {
					l.restoreWindow(x)
				}
			}
			if r := l.retryOf(x); r != nil && !since.has(r.pos) {
				found = append(found, r)
			}
		}
		limit := l.retries.limit
		l.mu.Unlock()
		if len(found) > 2*limit || len(open) < page {
			var rest time.Time
			found, rest = earliest(found, limit)
			found = slices.Clip(found)
			if spilled.IsZero() || (!rest.IsZero() && rest.Before(spilled)) {
				spilled = rest
			}
		}
		if len(open) < page {
			break
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	// What left memory, or came into it, since its page was read is not brought back.
	found = slices.DeleteFunc(found, func(r *retry) bool { return l.known(r.pos) || since.has(r.pos) })
	l.retries.load(found, spilled)
	if first {
		l.findOrphans()
	}
	return nil
}

// retryOf makes an entry of the schedule of an open exception, or nil if it has one.
func (l *lane) retryOf(x Exception) *retry {
	if (x.Kind != Retry && !l.order.heads(x)) || l.known(x.From) {
		return nil
	}
	due := x.Due
	if resumed := l.condition.ResumedAt; due.After(resumed) && !x.At.After(resumed) {
		due = resumed
	}
	return &retry{parcel: parcelOf(&x), due: due}
}

// known reports whether memory has a position, so that the store's view does not count.
func (l *lane) known(pos uint64) bool {
	if _, ok := l.retries.byPos[pos]; ok {
		return true
	}
	_, ok := l.inFlight[pos]
	return ok
}

// scanRetries brings into memory what is due first, when something that was left to the
// store may be due.
func (l *lane) scanRetries(since *watch) {
	err := l.engine.Flush(context.Background()) // so that the store knows all that memory let go
	if err == nil {
		err = l.loadRetries(context.Background(), since, false)
	}
	l.mu.Lock()
	l.retries.scanning = false
	l.retries.unwatch(since)
	if err != nil {
		l.retries.spill(time.Now())
		l.engine.schedule.set(l, time.Now().Add(storePause))
	}
	l.mu.Unlock()
	if err != nil {
		l.engine.storeFailed("read", err, zap.String("subscription", l.name))
		return
	}
	l.wake()
}
