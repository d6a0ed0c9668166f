package badger

import (
	"crypto/rand"
	"errors"
	"fmt"
	"testing"
	"time"

	bdb "github.com/dgraph-io/badger/v4"

	"github.com/caddyrelay/caddyrelay/relay"
	"github.com/caddyrelay/caddyrelay/storage/storagetest"
)

// TestMaxSize: a store that outgrows its limit loses what is finished, oldest first; if
// that is not enough no event is taken, and nothing accepted is lost.
func TestMaxSize(t *testing.T) {
	if testing.Short() {
		t.Skip("writes a hundred megabytes")
	}
	s, err := Open(t.TempDir(), Options{Limits: Limits{MaxSize: 64 << 20}, hurry: true})
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

// TestSizeCountsIdempotencyKeys: they take room as events do, and go with them where a store is too
// large: a key stays as long as its event.
func TestSizeCountsIdempotencyKeys(t *testing.T) {
	s := openAt(t, t.TempDir(), nil)
	post := func(n int) bool { t.Helper(); return postKeyed(t, s, n) }
	const n, waits = 1200, 900
	for i := range n {
		post(i)
	}
	counted := func() (keys, size uint64) {
		t.Helper()
		for key, rec := range snapshot(t, s, "IJ") {
			keys++
			size += uint64(len(key) + len(rec))
		}
		return keys / 2, size
	}
	keys, size := counted()
	if tail := s.committed(); keys != n || tail.keys != keys || tail.keyBytes != size || s.space.live.Load() != int64(tail.live+size) {
		t.Fatalf("%d keys take %d bytes, and %+v says otherwise", keys, size, tail)
	}
	deliver(t, s, 0, waits)
	removed := 0
	for more := true; more; {
		step, err := s.Trim(t.Context(), relay.TrimPolicy{MaxBytes: 1})
		if err != nil {
			t.Fatal(err)
		}
		more = step.More
		removed += step.Keys
	}
	keys, size = counted()
	tail := s.committed()
	if removed < waits-1 || removed > waits || keys != uint64(n-removed) || tail.keys != keys || max(tail.keyBytes, size)-min(tail.keyBytes, size) > size/100 {
		t.Errorf("of %d keys %d are left, of %d bytes; %d were removed, and the tail is %+v", n, keys, size, removed, tail)
	}
	if post(waits - 2) {
		t.Error("a key is known whose event was removed")
	}
	if !post(waits) || !post(n-1) {
		t.Error("a key is not known whose event waits")
	}
	s, _ = mended(t, s)
	if again := s.committed(); again.keys != keys+1 {
		t.Errorf("of %d keys a salvage counts %d", keys+1, again.keys)
	}
}

// postKeyed appends an event of the idempotency key of a number, and reports whether it was known.
func postKeyed(t *testing.T, s *Store, n int) bool {
	t.Helper()
	key := &relay.Key{Kind: relay.KeyHeader, Text: fmt.Sprint("key", n)}
	receipts, err := s.Append(t.Context(), relay.Batch{Items: []relay.Item{{Key: key, Event: &relay.Event{Type: "order.paid"}, Targets: storagetest.Targets("crm")}}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	return receipts[0].Duplicate
}

// TestKeyOfReplayedEventStays: a replay is ordered after trimming has looked, and before it removes
// anything. The event stays, and so does its idempotency key.
func TestKeyOfReplayedEventStays(t *testing.T) {
	s := openAt(t, t.TempDir(), nil)
	const n, again = 10, 4
	for i := range n {
		postKeyed(t, s, i)
	}
	deliver(t, s, 0, n)
	r := &trimRequest{
		policy: relay.TrimPolicy{MaxBytes: 1},
		walk:   &trimmer{},
		seen:   s.changes.Load(),
		done:   make(chan error, 1),
		excess: 1 << 20,
	}
	if err := s.view(func(txn *bdb.Txn) error {
		if _, err := r.findEvents(s, txn); err != nil {
			return err
		}
		_, err := r.findKeys(s, txn)
		return err
	}); err != nil || len(r.events) != n || len(r.keys) != n {
		t.Fatalf("found %d events and %d keys, %v; want %d", len(r.events), len(r.keys), err, n)
	}
	err := s.Commit(t.Context(), []relay.Update{{
		Progress: relay.Progress{Subscription: "crm", Low: n, Delivered: n},
		Put:      []relay.Exception{{Kind: relay.Retry, From: again + 1, To: again + 1}},
	}})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.submit(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	if !postKeyed(t, s, again) {
		t.Error("the key of the event that is delivered again was removed")
	}
	if postKeyed(t, s, again-1) {
		t.Error("a key is known whose event was removed")
	}
	tail := s.committed()
	if keys := uint64(len(snapshot(t, s, "J"))); len(r.keys) != again || keys != n-again+1 || tail.keys != keys {
		t.Errorf("%d keys were removed, %d are left, and %d are counted; want %d, and %d left", len(r.keys), keys, tail.keys, again, n-again+1)
	}
}

// TestRoomComesBackAfterRetention: what retention has removed leaves the disk, without a limit
// of size and on a volume with room, once not much is written any more.
func TestRoomComesBackAfterRetention(t *testing.T) {
	if testing.Short() {
		t.Skip("writes a hundred megabytes")
	}
	s := openAt(t, t.TempDir(), nil)
	n := fill(t, s, 80_000)
	deliver(t, s, 0, uint64(n))
	before := count(s.dir).tables
	if before < 2*tidyFrom {
		t.Fatalf("tables take %d bytes; the test needs %d", before, 2*tidyFrom)
	}
	trimAll(t, s)
	var r reclaimer
	now := time.Now()
	if s.tidy(&r, now); !r.tidied.IsZero() {
		t.Error("tables are merged while much is written")
	}
	if s.tidy(&r, now.Add(quietFor)); r.tidied.IsZero() {
		t.Fatal("tables are not merged")
	}
	// What is removed while tables are merged stays in them where they are small then.
	eventually(t, "tables are small", func() bool { return count(s.dir).tables < tidyFrom })
	t.Logf("%d bytes became %d", before, count(s.dir).tables)
}

// trimAll removes all that is delivered.
func trimAll(t *testing.T, s *Store) {
	t.Helper()
	later := time.Now().AddDate(1, 0, 0)
	for more := true; more; {
		step, err := s.Trim(t.Context(), relay.TrimPolicy{DeliveredBefore: later})
		if err != nil {
			t.Fatal(err)
		}
		more = step.More
	}
}

// fill appends events until there is no room, and returns how many it were.
func fill(t *testing.T, s *Store, most int) (stored int) {
	t.Helper()
	data := make([]byte, 1024)
	for stored < most {
		var b relay.Batch
		for range 20 {
			_, _ = rand.Read(data) // nothing that compresses
			b.Items = append(b.Items, relay.Item{
				Event:   &relay.Event{Type: "a", Data: append([]byte(nil), data...)},
				Targets: storagetest.Targets("crm"),
			})
		}
		_, err := s.Append(t.Context(), b, nil)
		if errors.Is(err, relay.ErrFull) {
			return stored
		}
		if err != nil {
			t.Fatal(err)
		}
		stored += len(b.Items)
	}
	return stored
}

// deliver commits an outcome with an attempt for each of the events up to a position.
func deliver(t *testing.T, s *Store, from, to uint64) {
	t.Helper()
	for at := from; at < to; {
		entries, err := s.Read(t.Context(), "crm", at, 100, 1<<20)
		if err != nil || len(entries) == 0 {
			t.Fatalf("Read after %d: %d entries, %v", at, len(entries), err)
		}
		at = entries[len(entries)-1].Pos
		u := relay.Update{Progress: relay.Progress{Subscription: "crm", Low: at, Delivered: at}}
		for _, e := range entries {
			u.Attempts = append(u.Attempts, relay.AttemptRecord{Seq: e.Event.Seq, Attempt: relay.Attempt{Number: 1, Status: 200}})
		}
		// While a log becomes a table both are there: then outcomes wait, as an engine does.
		var failed error
		for range 100 {
			if failed = s.Commit(t.Context(), []relay.Update{u}); failed == nil {
				break
			}
			time.Sleep(50 * time.Millisecond)
		}
		if failed != nil {
			t.Fatalf("the outcomes up to %d: %v", at, failed)
		}
	}
}
