package relay_test

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddyrelay/caddyrelay/relay"
)

// slowStore is a store that takes its time to commit, as on a disk that hangs.
type slowStore struct {
	relay.Store
	takes atomic.Int64
}

func (s *slowStore) Commit(ctx context.Context, updates []relay.Update) error {
	time.Sleep(time.Duration(s.takes.Load()))
	return s.Store.Commit(ctx, updates)
}

// While the store hangs attempts do not go on for ever: nobody could say what became of them
// after a crash.
func TestAttemptsWaitForAStoreThatHangs(t *testing.T) {
	run(t, func(w *world) {
		w.stop()
		store := &slowStore{Store: w.memory}
		w.store = store
		w.open()
		var to receiver
		s := subscription("crm", &to)
		s.RateLimit = relay.RateLimit{Events: 1, Window: 100 * time.Millisecond}
		w.plan(s)
		const events = 100
		for range events {
			w.publish("a", "1")
		}
		w.wait(500 * time.Millisecond)

		store.takes.Store(int64(time.Minute))
		w.wait(2 * time.Second)
		before := len(to.all())
		w.wait(50 * time.Second)
		if n := len(to.all()); n != before || n > 20 {
			t.Errorf("%d attempts while the store hangs, %d after 2 seconds", n, before)
		}
		store.takes.Store(0)
		w.wait(time.Minute)
		if n := len(to.all()); n != events {
			t.Errorf("%d attempts once it hangs no more, want %d", n, events)
		}

		// One that is as slow as is put up with holds nothing up.
		store.takes.Store(int64(900 * time.Millisecond))
		for range events {
			w.publish("a", "1")
		}
		w.wait(11 * time.Second)
		if n := len(to.all()); n != 2*events {
			t.Errorf("%d attempts with a slow store, want %d", n, 2*events)
		}
		store.takes.Store(0)
	})
}
