package storagetest

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/caddyrelay/caddyrelay/relay"
)

// Read implements [relay.Store].
func (m *Memory) Read(ctx context.Context, name string, after uint64, limit, maxBytes int) (entries []relay.Entry, err error) {
	err = m.read(ctx, func(c *content) error {
		s := c.subs[name]
		if s == nil {
			return nil
		}
		bytes := 0
		i, _ := slices.BinarySearchFunc(s.log, after+1, comparePos)
		for _, l := range s.log[i:] {
			if len(entries) >= limit {
				break
			}
			at, err := c.find(l.Seq)
			if err != nil {
				return fmt.Errorf("reading position %d of %q: %w", l.Pos, name, err)
			}
			e := *c.events[at]
			bytes += len(e.Data)
			if len(entries) > 0 && bytes > maxBytes {
				break
			}
			entries = append(entries, relay.Entry{Pos: l.Pos, Event: &e})
		}
		return nil
	})
	return entries, err
}

func comparePos(l relay.LogEntry, pos uint64) int {
	switch {
	case l.Pos < pos:
		return -1
	case l.Pos > pos:
		return 1
	}
	return 0
}

// Log implements [relay.Store].
func (m *Memory) Log(ctx context.Context, name string, before uint64, limit int) (entries []relay.LogEntry, err error) {
	err = m.read(ctx, func(c *content) error {
		s := c.subs[name]
		if s == nil {
			return nil
		}
		i := len(s.log)
		if before > 0 {
			i, _ = slices.BinarySearchFunc(s.log, before, comparePos)
		}
		for i--; i >= 0 && len(entries) < limit; i-- {
			entries = append(entries, s.log[i])
		}
		return nil
	})
	return entries, err
}

// Open implements [relay.Store].
func (m *Memory) Open(ctx context.Context, name string, after uint64, limit int) (open []relay.Exception, err error) {
	err = m.read(ctx, func(c *content) error {
		s := c.subs[name]
		if s == nil || limit <= 0 {
			return nil
		}
		for _, x := range s.at {
			if x.From > after && !x.Kind.Closed() {
				open = append(open, x)
			}
		}
		for _, x := range s.replays {
			if x.From > after {
				open = append(open, x)
			}
		}
		slices.SortFunc(open, relay.Exception.Compare)
		open = relay.CutOpen(open, limit)
		return nil
	})
	return open, err
}

// Exception implements [relay.Store]. A position's own exception stands before a
// span over it, and that before a replay.
func (m *Memory) Exception(ctx context.Context, name string, pos uint64) (found relay.Exception, ok bool, err error) {
	err = m.read(ctx, func(c *content) error {
		s := c.subs[name]
		if s == nil {
			return nil
		}
		for _, set := range []map[uint64]relay.Exception{s.at, s.replays} {
			for _, x := range set {
				if x.From <= pos && pos <= x.To && (!ok || x.From > found.From) {
					found, ok = x, true
				}
			}
			if ok {
				return nil
			}
		}
		return nil
	})
	return found, ok, err
}

// Event implements [relay.Store].
func (m *Memory) Event(ctx context.Context, s relay.Seq) (e *relay.Event, err error) {
	err = m.read(ctx, func(c *content) error {
		i, err := c.find(s)
		if err != nil {
			return err
		}
		found := *c.events[i]
		e = &found
		return nil
	})
	return e, err
}

// Find implements [relay.Store].
func (m *Memory) Find(ctx context.Context, id string) (s relay.Seq, err error) {
	err = m.read(ctx, func(c *content) error {
		if s = c.seqOf(id); s == 0 {
			return fmt.Errorf("event %q: %w", id, relay.ErrNotFound)
		}
		return nil
	})
	return s, err
}

// Attempts implements [relay.Store].
func (m *Memory) Attempts(ctx context.Context, s relay.Seq, name string) (attempts []relay.Attempt, err error) {
	err = m.read(ctx, func(c *content) error {
		attempts = c.attemptsOf(s, name)
		return nil
	})
	return attempts, err
}

// Events implements [relay.Store].
func (m *Memory) Events(ctx context.Context, q relay.EventQuery) (page relay.EventPage, err error) {
	err = m.read(ctx, func(c *content) error {
		i := len(c.events)
		if q.Before > 0 {
			i, _ = c.find(q.Before)
		}
		for i--; i >= 0; i-- {
			e := c.events[i]
			switch {
			case !q.Since.IsZero() && e.Seq.Time().Before(q.Since):
				return nil
			case !q.Until.IsZero() && !e.Seq.Time().Before(q.Until),
				q.Type != "" && !strings.EqualFold(e.Type, q.Type),
				q.Unmatched && len(e.Deliveries) > 0:
				continue
			}
			if len(page.Events) >= q.Limit {
				if n := len(page.Events); n > 0 {
					page.Next = page.Events[n-1].Seq
				}
				return nil
			}
			found := *e
			found.Data = nil
			page.Events = append(page.Events, &found)
		}
		return nil
	})
	return page, err
}
