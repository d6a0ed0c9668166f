package relay

import (
	"context"
	"errors"
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
	var carried map[uint64]Exception
	if err == nil {
		carried, err = l.carried(entries)
	}

	l.mu.Lock()
	defer l.mu.Unlock()
	l.refilling = false
	if l.tenure.mirror {
		return
	}
	if l.next != after+1 { // held meanwhile, and unloaded: this is no longer what comes next
		l.advance(time.Now())
		return
	}
	unreadable, bad := errors.AsType[*UnreadableError](err)
	switch {
	case bad:
		l.quarantine(Span{l.next, unreadable.Pos}, unreadable.Seq, err)
	case err != nil:
		l.unreadable(err, time.Now())
		l.advance(time.Now())
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
		if x, ok := carried[e.Pos]; ok {
			l.takeIn(x, time.Now())
			continue
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
