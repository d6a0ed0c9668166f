package storagetest

import (
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/caddyrelay/caddyrelay/relay"
)

// What several members write stands in one order, which all of them see.
func appendsOfAllInOneOrder(t *testing.T, h *SharedHarness) {
	const each = 40
	peers := []*peer{h.join(t), h.join(t), h.join(t)}
	var wg sync.WaitGroup
	for _, p := range peers {
		wg.Go(func() {
			last := relay.Seq(0)
			for i := range each {
				_, err := p.Append(t.Context(), one(event("a", fmt.Sprint(i)), "crm"), func(events []*relay.Event) {
					for _, e := range events {
						if e.Seq <= last {
							t.Errorf("told of %d after %d", e.Seq, last)
						}
						last = e.Seq
					}
				})
				if err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	for _, p := range peers {
		reader := Harness{Store: p.Shared}
		entries := reader.read(t, "crm", 0)
		if len(entries) != each*len(peers) {
			t.Fatalf("%d entries, want %d", len(entries), each*len(peers))
		}
		for i, e := range entries {
			if e.Pos != uint64(i)+1 || i > 0 && e.Event.Seq <= entries[i-1].Event.Seq {
				t.Fatalf("the entry %d is the event %d at position %d", i, e.Event.Seq, e.Pos)
			}
		}
		p.knows("crm", func(q relay.Progress) bool { return q.Head >= each*2 }) // its own it knows anyway
	}
}

// Of requests with one key that come to several members at once one is stored.
func keysHoldOverMembers(t *testing.T, h *SharedHarness) {
	peers := []*peer{h.join(t), h.join(t), h.join(t)}
	for round := range 5 {
		key := func() *relay.Key {
			return &relay.Key{Kind: relay.KeyHeader, Text: fmt.Sprint("order ", round), Sum: [32]byte{1}}
		}
		receipts := make([]relay.Receipt, len(peers))
		var wg sync.WaitGroup
		for i, p := range peers {
			wg.Go(func() {
				all, err := p.Append(t.Context(), relay.Batch{Items: []relay.Item{{Event: event("a", "{}"), Targets: Targets("crm"), Key: key()}}}, nil)
				if err != nil {
					t.Error(err)
					return
				}
				receipts[i] = all[0]
			})
		}
		wg.Wait()
		fresh := 0
		for _, r := range receipts {
			if !r.Duplicate {
				fresh++
			}
			if r.ID != receipts[0].ID {
				t.Errorf("one key, two events: %s and %s", r.ID, receipts[0].ID)
			}
		}
		if fresh != 1 {
			t.Errorf("%d of %d requests with one key were stored", fresh, len(peers))
		}
		other := key()
		other.Sum = [32]byte{2}
		_, err := peers[round%3].Append(t.Context(), relay.Batch{Items: []relay.Item{{Event: event("a", "[]"), Key: other}}}, nil)
		if !errors.Is(err, relay.ErrKeyReused) {
			t.Errorf("a key with another content: %v", err)
		}
	}
	if head := peers[0].stands("crm").Head; head != 5 {
		t.Errorf("the log has %d entries, want 5", head)
	}
}

func notesAreShared(t *testing.T, h *SharedHarness) {
	a, b := h.join(t), h.join(t)
	if ok, err := a.SwapNote(t.Context(), "n", nil, []byte("1")); !ok || err != nil {
		t.Fatal(ok, err)
	}
	if ok, err := b.SwapNote(t.Context(), "n", nil, []byte("2")); ok || err != nil {
		t.Fatal(ok, err)
	}
	if ok, err := b.SwapNote(t.Context(), "n", []byte("1"), []byte("2")); !ok || err != nil {
		t.Fatal(ok, err)
	}
	if note, err := a.Note(t.Context(), "n"); string(note) != "2" || err != nil {
		t.Fatalf("%q, %v", note, err)
	}
}

// What one member adds to a log, those that carry it and those that do not learn.
func othersLearnOfAppends(t *testing.T, h *SharedHarness) {
	a, b, c := h.join(t, "crm"), h.join(t), h.join(t)
	a.carries("crm")
	b.append(3, "crm")
	a.knows("crm", func(q relay.Progress) bool { return q.Head == 3 })
	c.knows("crm", func(q relay.Progress) bool { return q.Head == 3 })
	events := b.append(1, "other")
	if err := b.Place(t.Context(), events[0].Seq, Targets("crm")[0], func(*relay.Event) {}); err != nil {
		t.Fatal(err)
	}
	a.knows("crm", func(q relay.Progress) bool { return q.Head == 4 })
	c.knows("other", func(q relay.Progress) bool { return q.Head == 1 })
}

func othersLearnOfCommits(t *testing.T, h *SharedHarness) {
	a, b := h.join(t, "crm"), h.join(t)
	epoch := a.carries("crm").Epoch
	b.append(5, "crm")
	u := finishing("crm", epoch, 2)
	u.Progress.Done = []relay.Span{{From: 4, To: 5}}
	u.Progress.Paused, u.Progress.PausedReason = true, "for now"
	if err := a.Commit(t.Context(), []relay.Update{u}); err != nil {
		t.Fatal(err)
	}
	b.knows("crm", func(q relay.Progress) bool {
		return q.Low == 2 && len(q.Done) == 1 && q.Delivered == 2 && q.Paused && q.PausedReason == "for now" && q.Head == 5
	})
}

// Between reading how everything stands and joining, others go on.
func joinMissesNothing(t *testing.T, h *SharedHarness) {
	a := h.join(t, "crm")
	epoch := a.carries("crm").Epoch
	a.append(2, "crm")
	b := h.open(t)
	for _, err := range b.Progress(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
	}
	a.append(2, "crm", "late")
	if err := a.commit("crm", epoch, 3); err != nil {
		t.Fatal(err)
	}
	if err := b.Join(t.Context(), b); err != nil {
		t.Fatal(err)
	}
	b.knows("crm", func(q relay.Progress) bool { return q.Head == 4 && q.Low == 3 })
	b.knows("late", func(q relay.Progress) bool { return q.Head == 2 })
}

// Records that are finished go once, by the hand of one member.
func oneMemberTrims(t *testing.T, h *SharedHarness) {
	const n = 12
	peers := []*peer{h.join(t, "crm"), h.join(t), h.join(t)}
	epoch := peers[0].carries("crm").Epoch
	peers[1].append(n, "crm")
	if err := peers[0].commit("crm", epoch, n); err != nil {
		t.Fatal(err)
	}
	tomorrow := time.Now().Add(24 * time.Hour)
	busy := 0
	for _, p := range peers {
		trimmer := Harness{Store: p.Shared}
		events, _ := trimmer.trim(t, relay.TrimPolicy{DeliveredBefore: tomorrow, FailedBefore: tomorrow, KeysBefore: tomorrow})
		if events > 0 {
			busy++
		}
	}
	if busy > 1 {
		t.Errorf("%d members have trimmed", busy)
	}
}
