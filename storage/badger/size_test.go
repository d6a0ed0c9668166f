package badger

import (
	"errors"
	"testing"
	"time"

	"github.com/caddyrelay/caddyrelay/relay"
)

// TestMaxSize: a store that outgrows its limit loses what is finished, oldest first; if
// that is not enough no event is taken, and nothing accepted is lost.
func TestMaxSize(t *testing.T) {
	if testing.Short() {
		t.Skip("writes a hundred megabytes")
	}
	s, err := Open(t.TempDir(), Options{Limits: Limits{MaxSize: 64 << 20}})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	const n = 100_000
	for stored := 0; stored < n; {
		if got := fill(t, s, 5000); got > 0 {
			deliver(t, s, uint64(stored), uint64(stored+got))
			stored += got
			continue
		}
		time.Sleep(50 * time.Millisecond) // faster than records can be removed
	}
	eventually(t, "the store is below its limit", func() bool { return count(s.dir).total <= 64<<20 && s.space.size() <= 64<<20 })
	page, err := s.Events(t.Context(), relay.EventQuery{Limit: 1})
	if err != nil || len(page.Events) != 1 || page.Events[0].Deliveries[0].Pos < n {
		t.Fatalf("the newest event is gone: %+v, %v", page, err)
	}
	if n := s.committed().removed; n < 30_000 || n > 75_000 {
		t.Fatalf("%d events were removed", n)
	}

	head := page.Events[0].Deliveries[0].Pos
	unfinished := fill(t, s, n)
	eventually(t, "events are refused, and nothing that is finished is left", func() bool {
		unfinished += fill(t, s, 2000)
		tail := s.committed()
		return errors.Is(s.Err(), relay.ErrFull) && tail.ordinal-tail.removed == uint64(unfinished)
	})
	deliver(t, s, head, head+uint64(unfinished)) // all of them are there
	eventually(t, "events are taken again", func() bool { return s.Err() == nil })
	t.Logf("%d unfinished events were kept", unfinished)
}
