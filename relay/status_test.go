package relay_test

import (
	"context"
	"sync/atomic"
	"testing"

	"github.com/caddyrelay/caddyrelay/relay"
)

// away is a store whose disk or server is not there while it is set.
type away struct {
	relay.Store
	set atomic.Bool
}

func (s *away) Err() error {
	if s.set.Load() {
		return relay.ErrBroken
	}
	return s.Store.Err()
}

func (s *away) Event(ctx context.Context, seq relay.Seq) (*relay.Event, error) {
	if s.set.Load() {
		return nil, relay.ErrBroken
	}
	return s.Store.Event(ctx, seq)
}

func (s *away) Open(ctx context.Context, name string, after uint64, limit int) ([]relay.Exception, error) {
	if s.set.Load() {
		return nil, relay.ErrBroken
	}
	return s.Store.Open(ctx, name, after, limit)
}

func (s *away) Log(ctx context.Context, name string, before uint64, limit int) ([]relay.LogEntry, error) {
	if s.set.Load() {
		return nil, relay.ErrBroken
	}
	return s.Store.Log(ctx, name, before, limit)
}

// Who looks while the store is away is told what is known without it: that is when people
// look.
func TestStatusIsToldWhileTheStoreIsAway(t *testing.T) {
	run(t, func(w *world) {
		w.stop()
		store := &away{Store: w.memory}
		w.store = store
		w.open()
		paused := subscription("crm", &receiver{})
		paused.Paused = true
		w.plan(paused)
		for range 3 {
			w.publish("a", "{}")
		}
		before, err := w.engine.Status(t.Context())
		if err != nil || len(before) != 1 || before[0].Pending != 3 || before[0].OldestDue.IsZero() {
			t.Fatalf("%+v, %v; want 3 pending, the oldest of which only the store knows", before, err)
		}
		store.set.Store(true)
		all, err := w.engine.Status(t.Context())
		if err != nil || len(all) != 1 || all[0].Pending != 3 || all[0].State != relay.SubscriptionPaused {
			t.Errorf("while the store is away: %+v, %v", all, err)
		}
		store.set.Store(false)
	})
}
