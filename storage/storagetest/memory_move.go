package storagetest

import (
	"bytes"
	"context"
	"maps"
	"slices"
	"time"

	"github.com/caddyrelay/caddyrelay/relay"
)

var _ relay.Mover = (*Memory)(nil)

// Adopt implements [relay.Mover].
func (m *Memory) Adopt(ctx context.Context, moved []relay.Moved, stored func([]relay.Moved)) (int, error) {
	m.writing.Lock()
	defer m.writing.Unlock()
	var fresh []relay.Moved
	err := m.write(ctx, func(c *content) error {
		for i := range moved {
			if c.seqOf(moved[i].Event.ID) == 0 {
				fresh = append(fresh, c.adopt(&moved[i], m.clock()))
			}
		}
		return nil
	})
	if err == nil && len(fresh) > 0 {
		stored(fresh)
	}
	return len(fresh), err
}

func (c *content) adopt(m *relay.Moved, now time.Time) relay.Moved {
	c.last = max(relay.SeqAt(now), c.last+1)
	c.ordinal++
	e := *m.Event
	e.Seq, e.Moved, e.Size = c.last, true, len(e.Data)
	e.Deliveries = slices.Clone(e.Deliveries)
	out := relay.Moved{Event: &e, Exceptions: slices.Clone(m.Exceptions), Attempts: m.Attempts}
	for i := range e.Deliveries {
		s := c.sub(e.Deliveries[i].Subscription)
		s.progress.Head++
		pos := s.progress.Head
		s.log = append(s.log, relay.LogEntry{Pos: pos, Seq: e.Seq})
		e.Deliveries[i].Pos = pos
		x := &out.Exceptions[i]
		x.From, x.To, x.Seq = pos, pos, e.Seq
		s.at[pos] = *x
	}
	c.moved[e.ID] = e.Seq
	kept := e
	c.events = append(c.events, &kept)
	return out
}

// seqOf returns where the event with this ID stands, or 0.
func (c *content) seqOf(id string) relay.Seq {
	if seq, ok := c.moved[id]; ok {
		return seq
	}
	seq, tag, err := relay.ParseID(id)
	if err != nil || tag != c.tag {
		return 0
	}
	if i, err := c.find(seq); err != nil || c.events[i].Moved {
		return 0
	}
	return seq
}

// Keys implements [relay.Mover].
func (m *Memory) Keys(ctx context.Context, after *relay.KeyHash, limit int) (keys []relay.MovedKey, next *relay.KeyHash, err error) {
	err = m.read(ctx, func(c *content) error {
		for _, hash := range slices.SortedFunc(maps.Keys(c.keys), func(a, b relay.KeyHash) int { return bytes.Compare(a[:], b[:]) }) {
			if after != nil && bytes.Compare(hash[:], after[:]) <= 0 {
				continue
			}
			if len(keys) == limit {
				next = &keys[limit-1].Hash
				return nil
			}
			k := c.keys[hash]
			receipts := duplicates(k.receipts)
			for i := range receipts {
				receipts[i].Duplicate = false
			}
			keys = append(keys, relay.MovedKey{Hash: hash, Sum: k.sum, Stored: k.stored, Receipts: receipts})
		}
		return nil
	})
	return keys, next, err
}

// AdoptKeys implements [relay.Mover].
func (m *Memory) AdoptKeys(ctx context.Context, keys []relay.MovedKey) (adopted int, err error) {
	m.writing.Lock()
	defer m.writing.Unlock()
	err = m.write(ctx, func(c *content) error {
		for _, k := range keys {
			if c.keys[k.Hash] == nil {
				c.keys[k.Hash] = &keyRecord{sum: k.Sum, receipts: slices.Clone(k.Receipts), stored: k.Stored}
				adopted++
			}
		}
		return nil
	})
	return adopted, err
}
