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
	c.last = relay.NextSeq(c.last, now)
	c.ordinal++
	here := m.At(c.last, func(p relay.Placement) uint64 {
		s := c.sub(p.Subscription)
		s.progress.Head++
		s.log = append(s.log, relay.LogEntry{Pos: s.progress.Head, Seq: c.last})
		return s.progress.Head
	})
	for i, x := range here.Exceptions {
		c.sub(here.Event.Deliveries[i].Subscription).at[x.From] = x
	}
	c.moved[here.Event.ID] = c.last
	kept := *here.Event
	c.events = append(c.events, &kept)
	return here
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
