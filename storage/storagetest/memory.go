package storagetest

import (
	"context"
	"fmt"
	"iter"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/caddyrelay/caddyrelay/relay"
)

// Memory is a [relay.Store] in memory. It is the reference for what a store does,
// written to be read and not to be fast. It has no goroutines, and blocks only on
// its own mutexes, so that it may be used inside testing/synctest.
type Memory struct {
	clock func() time.Time

	*locks
	closed  bool
	fail    error
	content *content

	// Of a member of a [Cluster]: reading comes before each read, and takes decides about
	// each update. Both are nil elsewhere.
	reading func(ctx context.Context) error
	takes   func(u *relay.Update) bool
}

// locks are those of a content.
type locks struct {
	// writing is held over a whole write with its callback, which puts callbacks in
	// commit order; mu guards the data alone, so that a callback may read.
	writing sync.Mutex
	mu      sync.RWMutex
}

var _ relay.Store = (*Memory)(nil)

// content is what outlives a [Memory.Reopen].
type content struct {
	tag     uint16
	last    relay.Seq
	ordinal uint64
	events  []*relay.Event // ascending
	names   []string       // in order of their first use
	subs    map[string]*subscription
	keys    map[keyID]*keyRecord
	// attempts by delivery, ascending by number.
	attempts map[delivery][]relay.Attempt
	notes    map[string][]byte
	// moved are the events of other stores, by their IDs.
	moved map[string]relay.Seq
}

type subscription struct {
	progress relay.Progress
	log      []relay.LogEntry // ascending
	// at holds open and closed exceptions by From, of which a position has at most
	// one; replays stand beside them.
	at, replays map[uint64]relay.Exception
}

type delivery struct {
	seq          relay.Seq
	subscription string
}

type keyID = relay.KeyHash

type keyRecord struct {
	sum      [32]byte
	receipts []relay.Receipt
	stored   time.Time
}

// tags makes the IDs of stores differ.
var tags atomic.Uint32

// NewMemory returns an empty store that takes the time from clock.
func NewMemory(clock func() time.Time) *Memory {
	return &Memory{clock: clock, locks: new(locks), content: newContent()}
}

func newContent() *content {
	return &content{
		tag:      uint16(tags.Add(1)),
		subs:     make(map[string]*subscription),
		keys:     make(map[keyID]*keyRecord),
		attempts: make(map[delivery][]relay.Attempt),
		notes:    make(map[string][]byte),
		moved:    make(map[string]relay.Seq),
	}
}

// Fail makes Append and Commit return err and store nothing, and Err report it,
// until it is called with nil.
func (m *Memory) Fail(err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.fail = err
}

// Reopen closes the store and returns another one with its content, as a process
// finds it that starts again.
func (m *Memory) Reopen() *Memory {
	_ = m.Close()
	return &Memory{clock: m.clock, locks: m.locks, content: m.content}
}

// writable says why nothing can be written, or returns nil. The caller holds mu.
func (m *Memory) writable(ctx context.Context) error {
	switch {
	case m.closed:
		return relay.ErrClosed
	case m.fail != nil:
		return m.fail
	}
	return ctx.Err()
}

// read runs fn under the read lock, unless the store is closed.
func (m *Memory) read(ctx context.Context, fn func(c *content) error) error {
	if m.reading != nil {
		if err := m.reading(ctx); err != nil {
			return err
		}
	}
	m.mu.RLock()
	defer m.mu.RUnlock()
	if m.closed {
		return relay.ErrClosed
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	return fn(m.content)
}

// write runs fn under both locks, unless the store cannot be written.
func (m *Memory) write(ctx context.Context, fn func(c *content) error) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.writable(ctx); err != nil {
		return err
	}
	return fn(m.content)
}

// sub returns the subscription of that name and makes it if it is new.
func (c *content) sub(name string) *subscription {
	s := c.subs[name]
	if s == nil {
		s = &subscription{
			progress: relay.Progress{Subscription: name},
			at:       make(map[uint64]relay.Exception),
			replays:  make(map[uint64]relay.Exception),
		}
		c.subs[name] = s
		c.names = append(c.names, name)
	}
	return s
}

// Append implements [relay.Store].
func (m *Memory) Append(ctx context.Context, b relay.Batch, stored func([]*relay.Event)) ([]relay.Receipt, error) {
	m.writing.Lock()
	defer m.writing.Unlock()
	var receipts []relay.Receipt
	var fresh []*relay.Event
	err := m.write(ctx, func(c *content) (err error) {
		receipts, fresh, err = c.append(b, m.clock())
		return err
	})
	if err != nil {
		return nil, err
	}
	if len(fresh) > 0 && stored != nil {
		stored(fresh)
	}
	return receipts, nil
}

func (c *content) append(b relay.Batch, now time.Time) ([]relay.Receipt, []*relay.Event, error) {
	if b.Key != nil {
		if known := c.keys[b.Key.Hash()]; known != nil {
			// The same content gives as many answers; a key of one event for a batch does not.
			if known.sum != b.Key.Sum || len(known.receipts) != len(b.Items) {
				return nil, nil, &relay.KeyReusedError{Item: -1}
			}
			return duplicates(known.receipts), nil, nil
		}
	}
	// First is the index of the first item with a key, by which the repeats within
	// the batch are known.
	first := make(map[keyID]int)
	for i, item := range b.Items {
		if item.Key == nil {
			continue
		}
		id := item.Key.Hash()
		sum := item.Key.Sum
		if known := c.keys[id]; known != nil {
			if sum = known.sum; len(known.receipts) != 1 {
				return nil, nil, &relay.KeyReusedError{Item: i}
			}
		} else if j, ok := first[id]; ok {
			sum = b.Items[j].Key.Sum
		} else {
			first[id] = i
		}
		if sum != item.Key.Sum {
			return nil, nil, &relay.KeyReusedError{Item: i}
		}
	}

	floor := max(relay.SeqAt(now), c.last)
	receipts := make([]relay.Receipt, len(b.Items))
	var fresh []*relay.Event
	for i, item := range b.Items {
		if item.Key != nil {
			id := item.Key.Hash()
			if known := c.keys[id]; known != nil {
				receipts[i] = duplicates(known.receipts)[0]
				continue
			}
			receipts[i] = c.add(item, now)
			c.keys[id] = &keyRecord{sum: item.Key.Sum, receipts: receipts[i : i+1], stored: floor.Time()}
		} else {
			receipts[i] = c.add(item, now)
		}
		fresh = append(fresh, item.Event)
	}
	if b.Key != nil {
		c.keys[b.Key.Hash()] = &keyRecord{
			sum: b.Key.Sum, receipts: slices.Clone(receipts), stored: floor.Time(),
		}
	}
	return receipts, fresh, nil
}

// add stores the event of one item.
func (c *content) add(item relay.Item, now time.Time) relay.Receipt {
	e := item.Event
	c.last = relay.NextSeq(c.last, now)
	c.ordinal++
	e.Seq, e.ID, e.Accepted = c.last, relay.FormatID(c.last, c.tag), c.last.Time()
	e.Size = len(e.Data)
	targets := item.Confirmed(e.ID, e.Accepted)
	e.Deliveries = make([]relay.Placement, len(targets))
	for i, target := range targets {
		s := c.sub(target.Subscription)
		s.progress.Head++
		s.log = append(s.log, relay.LogEntry{Pos: s.progress.Head, Seq: e.Seq})
		e.Deliveries[i] = relay.Placement{Subscription: target.Subscription, Pos: s.progress.Head, Key: target.Key}
	}
	kept := *e
	c.events = append(c.events, &kept)
	return relay.Receipt{ID: e.ID, Type: e.Type, Matched: e.Matched()}
}

func duplicates(receipts []relay.Receipt) []relay.Receipt {
	out := slices.Clone(receipts)
	for i := range out {
		out[i].Duplicate = true
		out[i].Matched = slices.Clone(out[i].Matched)
	}
	return out
}

// Progress implements [relay.Store].
func (m *Memory) Progress(ctx context.Context) iter.Seq2[relay.Progress, error] {
	return func(yield func(relay.Progress, error) bool) {
		var all []relay.Progress
		err := m.read(ctx, func(c *content) error {
			for _, name := range c.names {
				p := c.subs[name].progress
				p.Done = slices.Clone(p.Done)
				all = append(all, p)
			}
			return nil
		})
		if err != nil {
			yield(relay.Progress{}, err)
			return
		}
		for _, p := range all {
			if !yield(p, nil) {
				return
			}
		}
	}
}

// Stats implements [relay.Store].
func (m *Memory) Stats(ctx context.Context) (stats relay.StoreStats, err error) {
	err = m.read(ctx, func(c *content) error {
		stats = relay.StoreStats{
			Engine: "memory",
			Size:   map[string]int64{"events": c.size()},
			Free:   -1,
			Events: c.ordinal,
		}
		return nil
	})
	return stats, err
}

// Err implements [relay.Store].
func (m *Memory) Err() error {
	m.mu.RLock()
	defer m.mu.RUnlock()
	if m.closed {
		return relay.ErrClosed
	}
	return m.fail
}

// Close implements [relay.Store].
func (m *Memory) Close() error {
	m.writing.Lock()
	defer m.writing.Unlock()
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		return relay.ErrClosed
	}
	m.closed = true
	return nil
}

// find returns the index of the event at s.
func (c *content) find(s relay.Seq) (int, error) {
	i, ok := slices.BinarySearchFunc(c.events, s, func(e *relay.Event, s relay.Seq) int {
		switch {
		case e.Seq < s:
			return -1
		case e.Seq > s:
			return 1
		}
		return 0
	})
	if !ok {
		return i, fmt.Errorf("event at %d: %w", s, relay.ErrNotFound)
	}
	return i, nil
}
