package storagetest

import (
	"context"
	"maps"
	"slices"

	"github.com/caddyrelay/caddyrelay/relay"
)

// Trim implements [relay.Store]. It needs one step only.
func (m *Memory) Trim(ctx context.Context, p relay.TrimPolicy) (relay.Trimmed, error) {
	m.writing.Lock()
	defer m.writing.Unlock()
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		return relay.Trimmed{}, relay.ErrClosed
	}
	if err := ctx.Err(); err != nil {
		return relay.Trimmed{}, err
	}
	c := m.content
	before := len(c.events)
	excess := int64(0)
	if p.MaxBytes > 0 {
		excess = c.size() - p.MaxBytes
	}
	c.events = slices.DeleteFunc(c.events, func(e *relay.Event) bool {
		if !c.trimmable(e, p, excess > 0) {
			return false
		}
		excess -= int64(len(e.Data))
		for _, at := range e.Deliveries {
			s := c.subs[at.Subscription]
			s.log = slices.DeleteFunc(s.log, func(l relay.LogEntry) bool { return l.Pos == at.Pos })
			if x, ok := s.at[at.Pos]; ok && x.From == x.To {
				delete(s.at, at.Pos)
			}
		}
		delete(c.moved, e.ID)
		maps.DeleteFunc(c.attempts, func(d delivery, _ []relay.Attempt) bool { return d.seq == e.Seq })
		return true
	})
	keys := len(c.keys)
	maps.DeleteFunc(c.keys, func(_ keyID, k *keyRecord) bool { return k.stored.Before(p.KeysBefore) })
	return relay.Trimmed{Events: before - len(c.events), Keys: keys - len(c.keys), Kept: len(c.events)}, nil
}

// trimmable reports whether p lets e go, or the store's size does.
func (c *content) trimmable(e *relay.Event, p relay.TrimPolicy, forSize bool) bool {
	kept := e.Seq.Time() // not Accepted, which of a moved event is older
	if !forSize && !kept.Before(p.DeliveredBefore) && !kept.Before(p.FailedBefore) {
		return false
	}
	limit := p.DeliveredBefore
	for _, at := range e.Deliveries {
		s := c.subs[at.Subscription]
		if !finished(&s.progress, at.Pos) {
			return false
		}
		for _, x := range s.at {
			if x.From <= at.Pos && at.Pos <= x.To {
				if !x.Kind.Closed() {
					return false
				}
				limit = p.FailedBefore
			}
		}
		for _, x := range s.replays {
			if x.From <= at.Pos && at.Pos <= x.To {
				return false
			}
		}
	}
	return forSize || kept.Before(limit)
}

// finished reports whether pos is finished or has an exception.
func finished(p *relay.Progress, pos uint64) bool {
	if pos <= p.Low {
		return true
	}
	return slices.ContainsFunc(p.Done, func(s relay.Span) bool { return s.From <= pos && pos <= s.To })
}

// size is what the store takes: the data of its events.
func (c *content) size() (size int64) {
	for _, e := range c.events {
		size += int64(len(e.Data))
	}
	return size
}
