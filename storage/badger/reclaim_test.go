package badger

import (
	"errors"
	"testing"
	"time"

	bdb "github.com/dgraph-io/badger/v4"
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
