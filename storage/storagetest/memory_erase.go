package storagetest

import (
	"context"
	"slices"

	"github.com/caddyrelay/caddyrelay/relay"
)

// Erase implements [relay.Store].
func (m *Memory) Erase(ctx context.Context, s relay.Seq, updates []relay.Update) error {
	m.writing.Lock()
	defer m.writing.Unlock()
	return m.write(ctx, func(c *content) error {
		i, err := c.find(s)
		if err != nil {
			return err
		}
		e := *c.events[i] // the one before may be in readers' hands
		if e.Erased.IsZero() {
			e.Erased = m.clock()
		}
		e.Data, e.Size = nil, 0
		e.Deliveries = slices.Clone(e.Deliveries)
		for j := range e.Deliveries {
			e.Deliveries[j].Key = ""
		}
		c.events[i] = &e
		m.apply(c, updates)
		for _, p := range e.Deliveries {
			sub := c.subs[p.Subscription]
			if x, ok := sub.at[p.Pos]; ok && x.Kind.Closed() && x.From == x.To {
				x.Key = ""
				sub.at[p.Pos] = x
			}
		}
		return nil
	})
}

// attemptsOf returns the attempts of a delivery. Those of an erased event tell nothing of
// it, whenever they were added.
func (c *content) attemptsOf(s relay.Seq, name string) []relay.Attempt {
	attempts := slices.Clone(c.attempts[delivery{s, name}])
	if i, err := c.find(s); err == nil && !c.events[i].Erased.IsZero() {
		for j := range attempts {
			attempts[j].Error, attempts[j].Excerpt = "", nil
		}
	}
	return attempts
}
