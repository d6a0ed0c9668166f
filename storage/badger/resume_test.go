package badger

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddyrelay/caddyrelay/relay"
	"github.com/caddyrelay/caddyrelay/storage/storagetest"
)

// TestMergingGoesOnWithRoom: a store that was opened without merging of tables, for lack of
// room, merges again by itself when there is room. Nobody notices, but for the wait.
func TestMergingGoesOnWithRoom(t *testing.T) {
	var free atomic.Int64
	free.Store(100 << 30)
	dir := t.TempDir()
	open := func() *Store {
		t.Helper()
		s, err := Open(dir, Options{Limits: Limits{MinFree: 16 << 20}, volume: func(string) int64 { return free.Load() }, hurry: true})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = s.Close() })
		return s
	}
	s := open()
	put(t, s, 20)
	fill(t, s, 3000)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	// What opening takes, and not what merging does.
	free.Store(count(dir).toOpen() + 1<<20)
	s = open()
	if !s.resting.Load() || s.db.Load().Opts().NumCompactors != 0 {
		t.Skip("the store is so small that merging takes no room")
	}
	if err := appendOne(t, s); !errors.Is(err, relay.ErrFull) {
		t.Fatalf("Append: %v", err)
	}
	s.mergeAgain(new(time.Time), time.Now())
	if !s.resting.Load() {
		t.Fatal("it merges without room")
	}

	ctx, cancel := context.WithCancel(t.Context())
	var group sync.WaitGroup
	var reads, appends atomic.Int64
	for range 4 {
		group.Go(func() {
			for ctx.Err() == nil {
				if entries, err := s.Read(background, "crm", 0, 20, 1<<20); err != nil || len(entries) != 20 {
					t.Errorf("Read: %d entries, %v", len(entries), err)
					return
				}
				if _, err := s.Stats(background); err != nil {
					t.Errorf("Stats: %v", err)
				}
				reads.Add(1)
			}
		})
		group.Go(func() {
			for ctx.Err() == nil {
				e := &relay.Event{Type: "a", Data: []byte("x")}
				_, err := s.Append(background, relay.Batch{Items: []relay.Item{{Event: e, Targets: storagetest.Targets("crm")}}}, nil)
				if err == nil {
					appends.Add(1)
				} else if !errors.Is(err, relay.ErrFull) {
					t.Errorf("Append: %v", err)
					return
				}
			}
		})
	}
	free.Store(100 << 30)
	eventually(t, "the store merges its tables", func() bool { return !s.resting.Load() })
	before, taken := reads.Load(), appends.Load()
	eventually(t, "all goes on", func() bool { return reads.Load() > before+10 && appends.Load() > taken+10 })
	cancel()
	group.Wait()
	if n := s.db.Load().Opts().NumCompactors; n == 0 {
		t.Error("the database does not merge")
	}
	if err := s.Err(); err != nil {
		t.Error(err)
	}
	checkLog(t, s, "crm")
	t.Logf("%d reads, %d events", reads.Load(), appends.Load())
}
