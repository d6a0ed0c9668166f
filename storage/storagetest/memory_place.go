package storagetest

import (
	"context"
	"fmt"
	"slices"

	"github.com/caddyrelay/caddyrelay/relay"
)

// Place implements [relay.Store].
func (m *Memory) Place(ctx context.Context, s relay.Seq, to relay.Target, placed func(*relay.Event)) error {
	m.writing.Lock()
	defer m.writing.Unlock()
	var found *relay.Event
	err := m.write(ctx, func(c *content) error {
		i, err := c.find(s)
		if err != nil {
			return err
		}
		e := *c.events[i]
		if !e.Erased.IsZero() {
			return fmt.Errorf("event at %d: %w", s, relay.ErrErased)
		}
		if slices.ContainsFunc(e.Deliveries, func(p relay.Placement) bool { return p.Subscription == to.Subscription }) {
			return nil
		}
		target := c.sub(to.Subscription)
		target.progress.Head++
		target.log = append(target.log, relay.LogEntry{Pos: target.progress.Head, Seq: s})
		e.Deliveries = append(slices.Clone(e.Deliveries), relay.Placement{
			Subscription: to.Subscription, Pos: target.progress.Head, Key: to.Key,
		})
		c.events[i] = &e // the one before may be in readers' hands
		found = &e
		return nil
	})
	if err == nil && found != nil {
		placed(found)
	}
	return err
}
