package badger

import (
	"crypto/rand"
	"testing"
	"time"

	bdb "github.com/dgraph-io/badger/v4"
	sst "github.com/dgraph-io/badger/v4/table"
	"github.com/dgraph-io/badger/v4/y"

	"github.com/caddyrelay/caddyrelay/relay"
	"github.com/caddyrelay/caddyrelay/storage/badger/files"
	"github.com/caddyrelay/caddyrelay/storage/storagetest"
)

// TestRemovalsAndNewEventsAreMergedApart: while the oldest events are removed and new ones are
// added, no table reaches from the ones to the others. If one did, merging it would write all
// anew that lies between.
func TestRemovalsAndNewEventsAreMergedApart(t *testing.T) {
	if testing.Short() {
		t.Skip("writes a gigabyte")
	}
	clock := storagetest.NewClock(storagetest.Start)
	s := openAt(t, t.TempDir(), clock)
	defer s.db.Load().hurry()() // tables shall be merged while it goes on
	stored, removed := uint64(0), 0
	data := make([]byte, 500<<10)
	_, _ = rand.Read(data) // nothing that compresses
	add := func(megabytes int) {
		t.Helper()
		for range megabytes {
			b := relay.Batch{}
			for range 2 {
				b.Items = append(b.Items, relay.Item{Event: &relay.Event{Type: "a", Data: data}, Targets: storagetest.Targets("crm")})
			}
			if _, err := s.Append(t.Context(), b, nil); err != nil {
				t.Fatal(err)
			}
			stored += 2
			clock.Advance(time.Second)
			u := relay.Update{Progress: relay.Progress{Subscription: "crm", Low: stored, Delivered: stored}}
			if err := s.Commit(t.Context(), []relay.Update{u}); err != nil {
				t.Fatal(err)
			}
		}
	}
	const lasting = 300 // megabytes, of which one comes in each second
	add(lasting)
	for range 50 {
		add(6)
		step, err := s.Trim(t.Context(), relay.TrimPolicy{DeliveredBefore: clock.Now().Add(-lasting * time.Second)})
		if err != nil {
			t.Fatal(err)
		}
		removed += step.Events
		if most := mostBelow(s.db.Load()); most > fenceAhead+64<<20 {
			t.Fatalf("after %d of %d events were removed, to merge one table would write %d MiB", removed, stored, most>>20)
		}
	}
	if removed < 500 {
		t.Fatalf("%d events were removed", removed)
	}
	levels := 0
	for _, l := range s.db.Load().Levels() {
		if l.Level > 0 && l.Size > 0 {
			levels++
		}
	}
	if levels < 2 {
		t.Fatalf("%d levels have tables; the test needs two", levels)
	}
}

// mostBelow returns how many bytes lie at most below one table: in the next level, in the range
// of its keys.
func mostBelow(db *database) (most int64) {
	levels := make(map[int][]bdb.TableInfo)
	for _, t := range db.Tables() {
		levels[t.Level] = append(levels[t.Level], t)
	}
	for level, tables := range levels {
		if level == 0 {
			continue
		}
		for _, t := range tables {
			below := int64(0)
			for _, u := range levels[level+1] {
				if string(u.Left) <= string(t.Right) && string(t.Left) <= string(u.Right) {
					below += int64(u.OnDiskSize)
				}
			}
			most = max(most, below)
		}
	}
	return most
}

// TestFenceEndsItsTable: however much stands before it, the first key behind a fence begins
// another table.
func TestFenceEndsItsTable(t *testing.T) {
	for marks := range 40 {
		b := sst.NewTableBuilder(sst.Options{TableSize: tableSize, BlockSize: bdb.DefaultOptions("").BlockSize})
		add := func(key, rec []byte) (began bool) {
			if began = b.ReachedCapacity(); !began {
				b.Add(y.KeyWithTs(key, 1), y.ValueStruct{Value: rec}, 0)
			}
			return began
		}
		for seq := range 1000 * marks {
			add(eventKey(relay.Seq(seq)), nil)
		}
		at := relay.Seq(1 << 40)
		add(fenceKey(at, 0), make([]byte, fenceSize))
		if add(fenceKey(at, 1), nil) {
			t.Errorf("behind %d marks the fence does not take its second key along", 1000*marks)
		}
		if !add(eventKey(at+1), []byte("new")) {
			t.Errorf("behind %d marks and a fence the table goes on", 1000*marks)
		}
		b.Close()
	}
}

// TestFencesAreNotListed: a page that ends at a fence leaves out no event, even one of the same
// number.
func TestFencesAreNotListed(t *testing.T) {
	clock := storagetest.NewClock(storagetest.Start) // it stands, so that numbers follow one another
	s := openAt(t, t.TempDir(), clock)
	stored := make(map[relay.Seq]bool)
	for i := range 90 {
		seq := put(t, s, 1)[0].Seq
		stored[seq] = true
		if i%3 > 0 {
			continue
		}
		err := s.db.Load().Update(func(txn *bdb.Txn) error {
			return txn.SetEntry(&bdb.Entry{Key: fenceKey(seq, 0), Value: make([]byte, fenceSize), ExpiresAt: files.Gone})
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, limit := range []int{1, 7, 1000} {
		listed := 0
		q := relay.EventQuery{Limit: limit}
		for {
			page, err := s.Events(t.Context(), q)
			if err != nil {
				t.Fatal(err)
			}
			for _, e := range page.Events {
				if !stored[e.Seq] {
					t.Errorf("limit %d: %d is listed, which is none", limit, e.Seq)
				}
			}
			listed += len(page.Events)
			if q.Before = page.Next; page.Next == 0 {
				break
			}
		}
		if listed != len(stored) {
			t.Errorf("limit %d: %d of %d events are listed", limit, listed, len(stored))
		}
	}
}
