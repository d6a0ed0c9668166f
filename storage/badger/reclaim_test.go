package badger

import (
	"errors"
	"os"
	"testing"
	"time"

	bdb "github.com/dgraph-io/badger/v4"

	"github.com/caddyrelay/caddyrelay/storage/badger/files"
)

// TestNobodyWaitsForMerging: while all tables are merged, which takes minutes where there are
// many, events are taken, the sentinel is synced, and who closes the database gives up.
func TestNobodyWaitsForMerging(t *testing.T) {
	begun, end := make(chan struct{}), make(chan struct{})
	s, err := Open(t.TempDir(), Options{hurry: true, flatten: func(*bdb.DB) error {
		close(begun)
		<-end
		return nil
	}})
	if err != nil {
		t.Fatal(err)
	}
	put(t, s, 3)
	s.Configure(Limits{MaxSize: 1}) // more is there, and not of events
	<-begun
	s.Configure(Limits{})
	eventually(t, "an event is taken", func() bool { return appendOne(t, s) == nil })
	eventually(t, "the sentinel is synced", func() bool {
		s.sentinel.mu.Lock()
		defer s.sentinel.mu.Unlock()
		return !s.sentinel.dirty
	})
	if err := s.db.Load().close(10*time.Millisecond, nil); !errors.Is(err, errNotClosed) {
		t.Errorf("closing while tables are merged: %v", err)
	}
	close(end)
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}

// TestQuiet: a store is quiet when no log was begun for a minute, and not before somebody has
// looked for as long.
func TestQuiet(t *testing.T) {
	dir := t.TempDir()
	began := time.Unix(0, 0)
	var r reclaimer
	if r.quiet(dir, began.Add(time.Hour), time.Minute) {
		t.Error("quiet without a log")
	}
	for _, c := range []struct {
		log   uint64
		at    time.Duration
		quiet bool
	}{
		{1, 0, false},
		{1, 59 * time.Second, false},
		{1, time.Minute, true},
		{2, 61 * time.Second, false},
		{2, 100 * time.Second, false},
		{10, 2 * time.Minute, false}, // behind 9, though not by its name
		{10, 3 * time.Minute, true},
		{10, time.Hour, true},
	} {
		if err := os.WriteFile(files.LogName(dir, c.log), nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if got := r.quiet(dir, began.Add(c.at), time.Minute); got != c.quiet {
			t.Errorf("with log %d, after %s: %t", c.log, c.at, got)
		}
	}
}
