package integration

import (
	"crypto/sha256"
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"github.com/caddyrelay/caddyrelay/relay"
	"github.com/caddyrelay/caddyrelay/storage/badger"
	"github.com/caddyrelay/caddyrelay/storage/storagetest"
)

// F12: the clock jumps, also while the store is closed. Events keep their order and are all
// there, repeats are known, and what is younger than its retention is not removed.
func TestClockJumpsLoseNothingAndExpireNothingEarly(t *testing.T) {
	t.Parallel()
	const hour, year = time.Hour, 365 * 24 * time.Hour
	for _, jump := range []time.Duration{hour, -hour, 10 * year, -10 * year} {
		for _, closed := range []bool{false, true} {
			t.Run(fmt.Sprint(jump, " closed=", closed), func(t *testing.T) {
				t.Parallel()
				testClockJump(t, jump, closed)
			})
		}
	}
}

func testClockJump(t *testing.T, jump time.Duration, closed bool) {
	start := time.Date(2026, 11, 22, 1, 0, 0, 0, time.UTC)
	clock := storagetest.NewClock(start)
	dir := filepath.Join(t.TempDir(), "store")
	reopen := func() *badger.Store {
		t.Helper()
		s, err := openWith(dir, badger.Options{Clock: clock.Now})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = s.Close() })
		return s
	}
	s := reopen()
	move := func(d time.Duration) {
		if !closed {
			clock.Advance(d)
			return
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		clock.Advance(d)
		s = reopen()
	}
	var last relay.Seq
	ids := make(map[int]string)
	put := func(n int) relay.Receipt {
		t.Helper()
		body := []byte(fmt.Sprint(n))
		e := &relay.Event{Type: "order.paid", Data: body}
		key := &relay.Key{Kind: relay.KeyHeader, Text: fmt.Sprint("key-", n), Sum: sha256.Sum256(body)}
		got, err := s.Append(t.Context(), relay.Batch{
			Items: []relay.Item{{Event: e, Targets: []relay.Target{{Subscription: "crm"}}}}, Key: key,
		}, nil)
		if err != nil {
			t.Fatal(err)
		}
		if !got[0].Duplicate {
			if e.Seq <= last {
				t.Errorf("event %d has %d, after %d", n, e.Seq, last)
			}
			last = e.Seq
		}
		return got[0]
	}
	accept := func(from int) {
		for n := from; n < from+5; n++ {
			got := put(n)
			if ids[n] = got.ID; got.Duplicate {
				t.Errorf("event %d is taken for a repeat", n)
			}
		}
	}
	// trim removes what a day of retention allows, by the clock as it is.
	trim := func() relay.Trimmed {
		t.Helper()
		before := clock.Now().Add(-24 * time.Hour)
		done, err := s.Trim(t.Context(), relay.TrimPolicy{DeliveredBefore: before, FailedBefore: before, KeysBefore: before})
		if err != nil {
			t.Fatal(err)
		}
		return done
	}
	repeats := func(what string, to int) {
		t.Helper()
		for n := range to {
			if got := put(n); !got.Duplicate || got.ID != ids[n] {
				t.Errorf("%s: event %d has the id %s; want %s again", what, n, got.ID, ids[n])
			}
		}
	}
	accept(0)
	move(jump)
	accept(5)
	if jump < 24*time.Hour { // older than a day by no clock
		if done := trim(); done.Keys != 0 {
			t.Errorf("after the jump: %+v removed", done)
		}
		repeats("after the jump", 10)
	} else {
		trim()
	}
	move(-jump)
	accept(10)
	if done := trim(); done.Keys != 0 {
		t.Errorf("after the way back: %+v removed", done)
	}
	if jump < 24*time.Hour {
		repeats("after the way back", 15)
	}
	// Nothing was delivered: every event is there, in the order in which it came.
	entries, err := s.Read(t.Context(), "crm", 0, 100, 1<<20)
	if err != nil || len(entries) != 15 {
		t.Fatalf("%d entries, %v; want 15", len(entries), err)
	}
	for n, entry := range entries {
		if entry.Event.ID != ids[n] || string(entry.Event.Data) != fmt.Sprint(n) {
			t.Errorf("entry %d is %s with %q; want %s", n, entry.Event.ID, entry.Event.Data, ids[n])
		}
	}
	// In the end the keys go: nothing is kept for ever because of a jump.
	clock.Advance(11 * 365 * 24 * time.Hour)
	trim()
	if got := put(0); got.Duplicate {
		t.Error("a key is kept for ever")
	}
}
