package relay_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/caddyrelay/caddyrelay/relay"
)

// reopening is a store that fails as a disk does: what it was told to store may be there
// once it is open again.
type reopening struct {
	relay.Store
	fails, stores bool
	reopened      func()
}

func (s *reopening) OnReopen(fn func()) { s.reopened = fn }

func (s *reopening) Append(ctx context.Context, b relay.Batch, stored func([]*relay.Event)) ([]relay.Receipt, error) {
	if !s.fails {
		return s.Store.Append(ctx, b, stored)
	}
	if s.stores {
		if _, err := s.Store.Append(ctx, b, nil); err != nil {
			return nil, err
		}
	}
	return nil, relay.ErrBroken
}

func (s *reopening) Commit(ctx context.Context, updates []relay.Update) error {
	if s.fails {
		return relay.ErrBroken
	}
	return s.Store.Commit(ctx, updates)
}

// TestDeliveriesGoOnAfterTheStoreReopened: what a failed Append has left in the store is
// delivered, though nobody offered it and nothing follows it.
func TestDeliveriesGoOnAfterTheStoreReopened(t *testing.T) {
	for _, stores := range []bool{false, true} {
		run(t, func(w *world) {
			w.stop()
			store := &reopening{Store: w.memory, stores: stores}
			w.store = store
			w.open()
			var to receiver
			w.plan(subscription("crm", &to))
			w.publish("a", "1")
			w.wait(time.Second)

			store.fails = true
			_, err := w.engine.Publish(context.Background(), []relay.Publication{{Event: &relay.Event{Type: "a", Data: []byte("2")}}}, nil)
			if !errors.Is(err, relay.ErrBroken) {
				t.Fatalf("Publish: %v", err)
			}
			w.wait(time.Minute)
			if n := len(to.all()); n != 1 {
				t.Fatalf("%d deliveries while the store is broken, want 1", n)
			}
			store.fails = false
			store.reopened()
			w.wait(time.Minute)
			want := 1
			if stores {
				want = 2
			}
			if n := len(to.all()); n != want {
				t.Fatalf("%d deliveries after it was opened again, want %d", n, want)
			}
			w.publish("a", "3")
			w.wait(time.Second)
			if n := len(to.all()); n != want+1 {
				t.Fatalf("%d deliveries, want %d", n, want+1)
			}
		})
	}
}
