package badger

import (
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	bdb "github.com/dgraph-io/badger/v4"

	"github.com/caddyrelay/caddyrelay/relay"
	"github.com/caddyrelay/caddyrelay/storage/storagetest"
)

// eventually waits until a condition holds.
func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for end := time.Now().Add(2 * time.Minute); !holds(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("it never came about that %s", what)
		}
	}
}

// TestStoreOpensItselfAgain: after a commit that failed, before or after its records came
// to the disk, the store opens itself again, with all that was acknowledged.
func TestStoreOpensItselfAgain(t *testing.T) {
	for _, stored := range []bool{false, true} {
		t.Run(fmt.Sprintf("stored=%v", stored), func(t *testing.T) {
			s := openAt(t, t.TempDir(), nil)
			before := put(t, s, 3)
			var broken atomic.Bool
			withCommit(s, func(txn *bdb.Txn) error {
				if !broken.Load() {
					return txn.Commit()
				}
				if stored { // as a sync that fails after its pages were written
					if err := txn.Commit(); err != nil {
						return err
					}
				}
				return errors.New("input/output error")
			})
			s.mendAfter = 50 * time.Millisecond
			var reopened atomic.Int32
			s.OnReopen(func() {
				if s.Err() == nil {
					t.Error("the store takes events before those of before are known")
				}
				reopened.Add(1)
			})

			broken.Store(true)
			e := &relay.Event{Type: "order.paid", Data: []byte("not acknowledged")}
			_, err := s.Append(t.Context(), relay.Batch{Items: []relay.Item{{Event: e, Targets: storagetest.Targets("crm", "new")}}}, nil)
			if !errors.Is(err, relay.ErrBroken) {
				t.Fatalf("Append: %v, want ErrBroken", err)
			}
			broken.Store(false)
			eventually(t, "the store is open again", func() bool { return s.Err() == nil })
			if reopened.Load() != 1 {
				t.Fatalf("OnReopen was called %d times", reopened.Load())
			}

			want := uint64(3)
			if stored {
				want = 4
			}
			heads := make(map[string]uint64)
			for p := range s.Progress(t.Context()) {
				heads[p.Subscription] = p.Head
			}
			if heads["crm"] != want || heads["new"] != want-3 {
				t.Fatalf("heads %v, want %d", heads, want)
			}
			after := put(t, s, 1)[0]
			if after.Deliveries[0].Pos != want+1 {
				t.Fatalf("the next event has position %d, want %d", after.Deliveries[0].Pos, want+1)
			}
			entries, err := s.Read(t.Context(), "crm", 0, 10, 1<<20)
			if err != nil || uint64(len(entries)) != want+1 {
				t.Fatalf("Read: %d entries, %v; want %d", len(entries), err, want+1)
			}
			for i, e := range before {
				if entries[i].Event.ID != e.ID {
					t.Fatalf("entry %d is %s, want %s", i, entries[i].Event.ID, e.ID)
				}
			}
			if s.committed().ordinal != want+1 {
				t.Fatalf("%d ordinals, want %d", s.committed().ordinal, want+1)
			}
		})
	}
}

// TestReopenFindsLoss: what the disk has lost meanwhile keeps the store broken.
func TestReopenFindsLoss(t *testing.T) {
	s := openAt(t, t.TempDir(), nil)
	put(t, s, 3)
	var broken atomic.Bool
	withCommit(s, func(txn *bdb.Txn) error {
		if broken.Load() {
			return errors.New("input/output error")
		}
		return txn.Commit()
	})
	s.mendAfter = 10 * time.Millisecond
	if err := s.sentinel.note(5, s.committed().last+2); err != nil { // two more were acknowledged
		t.Fatal(err)
	}
	broken.Store(true)
	_ = s.Commit(t.Context(), []relay.Update{{Progress: relay.Progress{Subscription: "crm"}}})
	broken.Store(false)
	var loss *LossError
	eventually(t, "the loss is found", func() bool { return errors.As(s.Err(), &loss) })
	if !errors.Is(s.Err(), relay.ErrBroken) || loss.Count() != 2 {
		t.Fatalf("Err: %v", s.Err())
	}
	if _, err := s.Append(t.Context(), relay.Batch{Items: []relay.Item{{Event: &relay.Event{Type: "a"}}}}, nil); !errors.Is(err, relay.ErrBroken) {
		t.Fatalf("Append: %v", err)
	}
}

// TestFailuresUnderLoad fails one commit in ten while events come in, outcomes go out, and
// each failure is mended.
func TestFailuresUnderLoad(t *testing.T) {
	if testing.Short() {
		t.Skip("takes seconds")
	}
	s := openAt(t, t.TempDir(), nil)
	var n atomic.Int32
	withCommit(s, func(txn *bdb.Txn) error {
		switch n.Add(1) % 20 {
		case 7:
			return errors.New("input/output error")
		case 17:
			return errors.Join(txn.Commit(), errors.New("input/output error"))
		}
		return txn.Commit()
	})
	s.mendAfter = time.Millisecond
	var acknowledged []string
	for end := time.Now().Add(2 * time.Second); time.Now().Before(end); {
		e := &relay.Event{Type: "a", Data: []byte("x")}
		if _, err := s.Append(background, relay.Batch{Items: []relay.Item{{Event: e, Targets: storagetest.Targets("crm")}}}, nil); err == nil {
			acknowledged = append(acknowledged, e.ID)
		} else if !errors.Is(err, relay.ErrBroken) {
			t.Fatal(err)
		}
	}
	eventually(t, "the store is open", func() bool { return s.Err() == nil })
	checkLog(t, s, "crm")
	entries, err := s.Read(t.Context(), "crm", 0, 1<<20, 1<<30)
	if err != nil {
		t.Fatal(err)
	}
	var stored []string
	for _, e := range entries {
		stored = append(stored, e.Event.ID)
	}
	for _, id := range acknowledged {
		if !slices.Contains(stored, id) {
			t.Fatalf("%s was acknowledged and is lost", id)
		}
	}
	t.Logf("%d acknowledged, %d stored, %d commits", len(acknowledged), len(stored), n.Load())
}
