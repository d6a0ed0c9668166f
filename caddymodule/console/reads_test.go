package console_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/caddyrelay/caddyrelay/caddymodule/console"
	"github.com/caddyrelay/caddyrelay/relay"
	"github.com/caddyrelay/caddyrelay/storage/storagetest"
)

// reads are what a page asks of the store.
type reads struct{ calls, records int }

// countedStore counts what is read of a store, and takes its time for each call.
type countedStore struct {
	relay.Store
	slow time.Duration

	mu sync.Mutex
	reads
}

func (s *countedStore) count(records int) {
	time.Sleep(s.slow)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.calls++
	s.records += records
}

// read returns what was counted since it was asked last.
func (s *countedStore) read() reads {
	s.mu.Lock()
	defer s.mu.Unlock()
	counted := s.reads
	s.reads = reads{}
	return counted
}

func (s *countedStore) Log(ctx context.Context, name string, before uint64, limit int) ([]relay.LogEntry, error) {
	all, err := s.Store.Log(ctx, name, before, limit)
	s.count(len(all))
	return all, err
}

func (s *countedStore) Open(ctx context.Context, name string, after uint64, limit int) ([]relay.Exception, error) {
	all, err := s.Store.Open(ctx, name, after, limit)
	s.count(len(all))
	return all, err
}

func (s *countedStore) Exception(ctx context.Context, name string, pos uint64) (relay.Exception, bool, error) {
	x, ok, err := s.Store.Exception(ctx, name, pos)
	s.count(1)
	return x, ok, err
}

func (s *countedStore) Event(ctx context.Context, at relay.Seq) (*relay.Event, error) {
	e, err := s.Store.Event(ctx, at)
	s.count(1)
	return e, err
}

func (s *countedStore) Find(ctx context.Context, id string) (relay.Seq, error) {
	at, err := s.Store.Find(ctx, id)
	s.count(1)
	return at, err
}

func (s *countedStore) Attempts(ctx context.Context, at relay.Seq, name string) ([]relay.Attempt, error) {
	all, err := s.Store.Attempts(ctx, at, name)
	s.count(len(all))
	return all, err
}

func (s *countedStore) Events(ctx context.Context, q relay.EventQuery) (relay.EventPage, error) {
	page, err := s.Store.Events(ctx, q)
	s.count(len(page.Events))
	return page, err
}

func (s *countedStore) Stats(ctx context.Context) (relay.StoreStats, error) {
	stats, err := s.Store.Stats(ctx)
	s.count(1)
	return stats, err
}

// filled runs a console with a number of events, half of them delivered, half held, and
// nothing to be done.
func filled(t *testing.T, n int, test func(w *world, store *countedStore, newest string)) {
	t.Helper()
	store := new(countedStore)
	runOn(t, func() relay.Store {
		store.Store = storagetest.NewMemory(time.Now)
		return store
	}, func(w *world) {
		w.setup.names = []string{"well", "paused"}
		w.attach()
		w.options.History = new(console.History)
		w.options.History.Hold(w.setup.names)
		w.options.History.Record()
		const batch = 100
		for range n / batch {
			all := make([]relay.Publication, batch)
			for i := range all {
				all[i] = relay.Publication{Event: &relay.Event{Type: "order.paid", ContentType: "application/json", Data: []byte("1")}}
			}
			if _, err := w.engine.Publish(context.Background(), all, nil); err != nil {
				t.Fatal(err)
			}
			w.wait(time.Second)
		}
		newest := w.publish("order.paid", `{}`)
		w.wait(time.Hour)
		test(w, store, newest)
	})
}

// A page costs the same reads of the store, whatever number of deliveries there are: none
// counts, and none walks over what it does not show. With cursors, the last page of a list
// costs what the first one does.
func TestPagesReadTheSameHoweverMuchThereIs(t *testing.T) {
	cost := func(n int) map[string]reads {
		all := make(map[string]reads)
		filled(t, n, func(w *world, store *countedStore, newest string) {
			for _, target := range []string{
				"/", "/deliveries", "/deliveries?state=held", "/deliveries?subscription=well", "/deliveries?subscription=paused&state=held", "/deliveries?since=90m&type=order.paid",
				"/events", "/events/ID", "/events/ID/deliveries/well", "/subscriptions", "/subscriptions/paused", "/system", "/subscriptions/paused/drop", "/subscriptions/paused/recover",
			} {
				page := strings.Replace(target, "ID", newest, 1)
				w.get(page)
				store.read() // the first one may fill what is kept in memory
				body := w.get(page)
				all[target] = store.read()
				if i := strings.LastIndex(body, `href="?`); i > 0 && strings.Contains(body[i:], "cursor=") {
					query, _, _ := strings.Cut(body[i+len(`href="`):], `"`)
					path, _, _ := strings.Cut(page, "?")
					w.get(path + strings.ReplaceAll(query, "&amp;", "&"))
					all[target+", second page"] = store.read()
				}
			}
		})
		return all
	}
	few, many := cost(3000), cost(9000)
	seconds := 0
	for target, want := range few {
		if got := many[target]; got != want {
			t.Errorf("%s: %+v of 3,000 events, %+v of 9,000", target, want, got)
		}
		if want.calls == 0 && !strings.HasPrefix(target, "/subscriptions") {
			t.Errorf("%s: nothing was counted", target)
		}
		if strings.HasSuffix(target, "second page") {
			seconds++
		}
		t.Log(fmt.Sprintf("%-60s", target), want.calls, "calls,", want.records, "records")
	}
	if seconds < 5 {
		t.Errorf("only %d lists have a second page", seconds)
	}
}

// Who looks for what is rare is shown how far the search came, and waits for no end of it.
func TestASearchEndsInTime(t *testing.T) {
	filled(t, 3000, func(w *world, store *countedStore, _ string) {
		store.slow = 20 * time.Millisecond
		store.read()
		w.wants("/deliveries?state=superseded", "None among those that were looked at so far.", "Search further back")
		if got := store.read(); got.calls > 2000 {
			t.Errorf("it went on for %d calls, which is more than one step may take", got.calls)
		}
	})
}
