package badger

import (
	"errors"
	"math/rand/v2"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	bdb "github.com/dgraph-io/badger/v4"

	"github.com/caddyrelay/caddyrelay/relay"
)

// exceptionsFrom draws what the deliveries of two logs have, with long runs of those that
// had something once.
func exceptionsFrom(t *testing.T, s *Store, r *rand.Rand, positions uint64) {
	t.Helper()
	for sub := uint32(1); sub <= 2; sub++ {
		for pos := uint64(1); pos <= positions; {
			kind := r.IntN(5)
			for run := 1 + r.IntN(1+r.IntN(3*finderSteps)); run > 0 && pos <= positions; run-- {
				err := s.db.Load().Update(func(txn *bdb.Txn) error {
					for i, c := range singles {
						switch {
						case kind == i:
							return txn.Set(exceptKey(c, sub, pos), []byte{1})
						case kind > 2: // there were several, and none is left
							if err := txn.Delete(exceptKey(c, sub, pos)); err != nil {
								return err
							}
						}
					}
					return nil
				})
				if err != nil {
					t.Fatal(err)
				}
				pos++
			}
		}
	}
}

func TestExceptionFinderFindsWhatLooksIntoTheStoreFind(t *testing.T) {
	s := openAt(t, t.TempDir(), nil)
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	const positions = 600
	for range 3 { // older versions come to lie below
		exceptionsFrom(t, s, r, positions)
	}
	var ascending, any []uint64
	for pos := range uint64(positions + 3) {
		ascending = append(ascending, pos)
		any = append(any, r.Uint64N(positions+3))
	}
	for name, order := range map[string][]uint64{"ascending": ascending, "any": any} {
		found := map[class]int{}
		err := s.view(func(txn *bdb.Txn) error {
			f := newExceptionFinder(txn)
			defer f.close()
			for _, pos := range order {
				for sub := uint32(1); sub <= 3; sub++ { // the third has none
					want, err := exceptionOf(txn, sub, pos)
					if err != nil {
						return err
					}
					got, err := f.of(sub, pos)
					if err != nil || got != want {
						t.Fatalf("%s: position %d of %d: %v, %v; want %v", name, pos, sub, got, err, want)
					}
					found[got]++
				}
			}
			return nil
		})
		if err != nil || len(found) < 3 {
			t.Fatalf("found %v, %v; want some of each", found, err)
		}
	}
}

func TestAscendFindsTheFirstKeyThatIsNotBelow(t *testing.T) {
	s := openAt(t, t.TempDir(), nil)
	var all []uint64
	err := s.db.Load().Update(func(txn *bdb.Txn) error {
		for pos := uint64(1); pos < 2000; pos += 1 + rand.Uint64N(3*ascendSteps) {
			all = append(all, pos)
			if err := txn.Set(eventKey(relay.Seq(pos)), nil); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	err = s.view(func(txn *bdb.Txn) error {
		it := txn.NewIterator(bdb.IteratorOptions{Prefix: []byte{eventPrefix}})
		defer it.Close()
		keys := ascender{Iterator: it}
		for pos := uint64(0); pos < 2100; pos += rand.Uint64N(60) {
			found := keys.to(eventKey(relay.Seq(pos)))
			i, _ := slices.BinarySearch(all, pos)
			if there := i < len(all); found != there || keys.ValidForPrefix([]byte{eventPrefix}) != there {
				t.Fatalf("from %d: %t, and %t; want %t", pos, found, !found, there)
			}
			if !found {
				continue
			}
			if got, err := seqOf(it.Item().Key()); err != nil || uint64(got) != all[i] {
				t.Fatalf("from %d: %d, %v; want %d", pos, got, err, all[i])
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// What was looked at may have changed when the committer comes to remove it. Whether it has
// is told by counts, and only then looked up again.
func TestWhatChangedSinceTrimLookedStays(t *testing.T) {
	delivered := func(low uint64) relay.Update {
		return relay.Update{Progress: relay.Progress{Subscription: "crm", Low: low, Delivered: low}}
	}
	retried := delivered(3)
	retried.Put = []relay.Exception{{Kind: relay.Retry, From: 2, To: 2}}
	failed := delivered(3)
	failed.Put = []relay.Exception{{Kind: relay.Failed, From: 2, To: 2}}
	for _, c := range []struct {
		name   string
		change func(t *testing.T, s *Store, events []*relay.Event)
		left   int
	}{
		{"nothing", func(*testing.T, *Store, []*relay.Event) {}, 0},
		{"a delivery is to be made again", func(t *testing.T, s *Store, _ []*relay.Event) {
			if err := s.Commit(t.Context(), []relay.Update{retried}); err != nil {
				t.Fatal(err)
			}
		}, 1},
		{"a delivery was given up", func(t *testing.T, s *Store, _ []*relay.Event) {
			if err := s.Commit(t.Context(), []relay.Update{failed}); err != nil {
				t.Fatal(err)
			}
		}, 1}, // those that failed are kept longer
		{"one more subscription got an event", func(t *testing.T, s *Store, events []*relay.Event) {
			if err := s.Place(t.Context(), events[1].Seq, relay.Target{Subscription: "erp"}, func(*relay.Event) {}); err != nil {
				t.Fatal(err)
			}
		}, 1},
		{"a change was committed after all, though the disk said it was not", func(t *testing.T, s *Store, _ []*relay.Event) {
			var answered atomic.Bool
			withCommit(s, func(txn *bdb.Txn) error {
				err := txn.Commit()
				if !answered.Swap(true) {
					err = errors.Join(err, errors.New("no answer"))
				}
				return err
			})
			s.mendAfter = time.Millisecond
			if err := s.Commit(t.Context(), []relay.Update{retried}); err == nil {
				t.Fatal("the commit was answered")
			}
			eventually(t, "the store is open again", func() bool { return s.Err() == nil })
		}, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := openAt(t, t.TempDir(), nil)
			events := put(t, s, 3)
			if err := s.Commit(t.Context(), []relay.Update{delivered(3)}); err != nil {
				t.Fatal(err)
			}
			r := &trimRequest{
				policy: relay.TrimPolicy{DeliveredBefore: time.Now().Add(time.Hour)},
				walk:   &trimmer{},
				seen:   s.changes.Load(),
				done:   make(chan error, 1),
			}
			if err := s.view(func(txn *bdb.Txn) error { _, err := r.findEvents(s, txn); return err }); err != nil || len(r.events) != 3 {
				t.Fatalf("found %d events, %v; want 3", len(r.events), err)
			}
			c.change(t, s, events)
			if err := s.submit(t.Context(), r); err != nil {
				t.Fatal(err)
			}
			page, err := s.Events(t.Context(), relay.EventQuery{Limit: 10})
			if err != nil || len(page.Events) != c.left || c.left == 1 && page.Events[0].ID != events[1].ID {
				t.Errorf("left: %+v, %v; want %d", page.Events, err, c.left)
			}
		})
	}
}
