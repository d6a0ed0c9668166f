package transfer

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/caddyrelay/caddyrelay/relay"
)

// Bounds of what is stored at once.
const (
	importEvents = 200
	importBytes  = 1 << 20
)

// Imported says what was taken.
type Imported struct {
	// Events and Keys are new; KnownEvents and KnownKeys were there, and are left as they are.
	Events      int `json:"events"`
	KnownEvents int `json:"known_events"`
	Keys        int `json:"keys"`
	KnownKeys   int `json:"known_keys"`
	// Subscriptions were paused or disabled.
	Subscriptions int `json:"subscriptions"`
	// Egress says that announcements of addresses are gone on from.
	Egress bool `json:"egress"`
}

// Import hands what an export says to an engine. What was taken before an error stays, and to
// import the same again does no harm. The error is an [Error] where the export is wrong.
func Import(ctx context.Context, engine *relay.Relay, r *Reader) (done Imported, err error) {
	t := &taking{engine: engine, done: &done}
	for {
		item, err := r.Next()
		whole := errors.Is(err, io.EOF)
		if err != nil && !whole {
			return done, errors.Join(err, t.flush(ctx))
		}
		if whole {
			return done, t.flush(ctx)
		}
		if err := t.take(ctx, &item); err != nil {
			return done, err
		}
	}
}

// taking gathers lines.
type taking struct {
	engine *relay.Relay
	done   *Imported
	events []relay.Moved
	keys   []relay.MovedKey
	size   int
}

func (t *taking) take(ctx context.Context, item *Item) error {
	switch {
	case item.Subscription != nil:
		if err := t.engine.ImportSteering(ctx, *item.Subscription); err != nil {
			return err
		}
		t.done.Subscriptions++
	case item.Egress != nil:
		taken, err := t.engine.ImportEgress(item.Egress)
		if err != nil {
			return err
		}
		t.done.Egress = taken
	case item.Event != nil:
		t.events = append(t.events, *item.Event)
		t.size += len(item.Event.Event.Data)
	case item.Key != nil:
		t.keys = append(t.keys, *item.Key)
	}
	if len(t.events)+len(t.keys) >= importEvents || t.size >= importBytes {
		return t.flush(ctx)
	}
	return nil
}

// flush stores what was gathered, and waits until the engine has stored what follows from it:
// an import must not run ahead of the disk.
func (t *taking) flush(ctx context.Context) error {
	events, keys := t.events, t.keys
	t.events, t.keys, t.size = nil, nil, 0
	if len(events) > 0 {
		n, err := t.engine.Import(ctx, events)
		t.done.Events += n
		if err != nil {
			return fmt.Errorf("storing events: %w", err)
		}
		t.done.KnownEvents += len(events) - n
	}
	if len(keys) > 0 {
		n, err := t.engine.ImportKeys(ctx, keys)
		t.done.Keys += n
		if err != nil {
			return fmt.Errorf("storing idempotency keys: %w", err)
		}
		t.done.KnownKeys += len(keys) - n
	}
	return t.engine.Flush(ctx)
}
