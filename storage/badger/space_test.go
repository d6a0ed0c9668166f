package badger

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddyrelay/caddyrelay/relay"
	"github.com/caddyrelay/caddyrelay/storage/storagetest"
)

// openOnVolume opens a store on a volume whose free bytes a test sets.
func openOnVolume(t *testing.T, dir string, free *atomic.Int64, l Limits) *Store {
	t.Helper()
	s, err := Open(dir, Options{Limits: l, volume: func(string) int64 { return free.Load() }})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func appendOne(t *testing.T, s *Store) error {
	t.Helper()
	_, err := s.Append(t.Context(), relay.Batch{Items: []relay.Item{{Event: &relay.Event{Type: "a", Data: []byte("x")}, Targets: storagetest.Targets("crm")}}}, nil)
	return err
}

// TestLittleRoomRefusesEventsOnly: below min_free no event is taken, and outcomes and
// trimming go on; a little more room changes nothing yet; below what the database itself
// needs nothing is written at all; with room everything goes on by itself.
func TestLittleRoomRefusesEventsOnly(t *testing.T) {
	var free atomic.Int64
	free.Store(100 << 30)
	s := openOnVolume(t, t.TempDir(), &free, Limits{MinFree: 1 << 30})
	set := func(n int64) {
		free.Store(n)
		time.Sleep(askEvery + 10*time.Millisecond)
	}
	outcome := func() error {
		return s.Commit(t.Context(), []relay.Update{{Progress: relay.Progress{Subscription: "crm", Low: 1}}})
	}
	steps := []struct {
		free            int64
		events, outcome bool
	}{
		{100 << 30, true, true},
		{1<<30 - 1, false, true},
		{1<<30 + 1<<20, false, true},
		{2 << 30, true, true},
		{4 << 20, false, false},
		{100 << 20, false, true},
		{100 << 30, true, true},
	}
	for i, step := range steps {
		set(step.free)
		err := appendOne(t, s)
		if (err == nil) != step.events || err != nil && !errors.Is(err, relay.ErrFull) {
			t.Fatalf("step %d: Append: %v", i, err)
		}
		if ready := s.Err(); (ready == nil) != step.events || ready != nil && !errors.Is(ready, relay.ErrFull) {
			t.Fatalf("step %d: Err: %v", i, ready)
		}
		if err := outcome(); (err == nil) != step.outcome || err != nil && !errors.Is(err, relay.ErrFull) {
			t.Fatalf("step %d: Commit: %v", i, err)
		}
		_, err = s.Trim(t.Context(), relay.TrimPolicy{})
		if step.outcome && err != nil {
			t.Fatalf("step %d: Trim: %v", i, err)
		}
	}
	set(512 << 20)
	if appendOne(t, s) == nil {
		t.Fatal("an event was taken below min_free")
	}
	s.Configure(Limits{MinFree: 256 << 20})
	if err := appendOne(t, s); err != nil {
		t.Fatalf("after min_free was lowered: %v", err)
	}
}

// TestRepeatIsAnsweredOnAFullVolume: what was stored before takes no room.
func TestRepeatIsAnsweredOnAFullVolume(t *testing.T) {
	var free atomic.Int64
	free.Store(100 << 30)
	s := openOnVolume(t, t.TempDir(), &free, Limits{})
	b := relay.Batch{Items: []relay.Item{{Event: &relay.Event{Type: "a"}, Key: &relay.Key{Kind: relay.KeyHeader, Text: "k"}}}}
	first, err := s.Append(t.Context(), b, nil)
	if err != nil {
		t.Fatal(err)
	}
	free.Store(512 << 20)
	time.Sleep(askEvery + 10*time.Millisecond)
	again, err := s.Append(t.Context(), relay.Batch{Items: []relay.Item{{Event: &relay.Event{Type: "a"}, Key: b.Items[0].Key}}}, nil)
	if err != nil || again[0].ID != first[0].ID || !again[0].Duplicate {
		t.Fatalf("%+v, %v", again, err)
	}
}

// TestBallast: it is made where there is room, given up where there is none, and made
// again.
func TestBallast(t *testing.T) {
	var free atomic.Int64
	free.Store(100 << 30)
	dir := t.TempDir()
	limits := Limits{MinFree: 16 << 20}
	s := openOnVolume(t, dir, &free, limits)
	name := filepath.Join(dir, ballastName)
	there := func() bool {
		info, err := os.Stat(name)
		return err == nil && info.Size() == 4<<20 && sizeOnDisk(info) >= 4<<20
	}
	eventually(t, "the ballast is made", there)
	free.Store(1 << 20)
	eventually(t, "it is given up", func() bool { return !there() })
	free.Store(100 << 30)
	eventually(t, "it is made again", there)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	free.Store(1 << 20)
	_, err := Open(dir, Options{Limits: limits, volume: func(string) int64 { return free.Load() }})
	if !errors.Is(err, relay.ErrFull) || !strings.Contains(err.Error(), dir) || there() {
		t.Fatalf("Open without room: %v", err)
	}
	free.Store(12 << 20)
	s = openOnVolume(t, dir, &free, limits)
	if err := appendOne(t, s); !errors.Is(err, relay.ErrFull) {
		t.Fatalf("Append: %v", err)
	}
}

// TestMergingTakesNewTablesAndTheFirstLevel: where all tables are in the last level, as after they
// were all merged, new ones do not go into that.
func TestMergingTakesNewTablesAndTheFirstLevel(t *testing.T) {
	if testing.Short() {
		t.Skip("writes two hundred megabytes")
	}
	dir := t.TempDir()
	s := openAt(t, dir, nil)
	fill(t, s, 2*firstLevelSize>>10)
	if !s.reclaim() {
		t.Fatal("tables were not merged")
	}
	db := s.db.Load()
	if err := db.Flatten(1); err != nil {
		t.Fatal(err)
	}
	check := func(when string, merging int64) {
		t.Helper()
		if merging > firstLevelSize {
			t.Errorf("%s merging would write %d MiB", when, merging>>20)
		}
	}
	if levels := db.Levels(); levels[lastLevel].Size < firstLevelSize {
		t.Fatalf("%d MiB are in the last level", levels[lastLevel].Size>>20)
	}
	check("open", db.merging())
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	check("closed", mergingIn(dir))
}
