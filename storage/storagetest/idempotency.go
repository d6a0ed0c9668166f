package storagetest

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/caddyrelay/caddyrelay/relay"
)

func key(text string, sum byte) *relay.Key {
	return &relay.Key{Kind: relay.KeyHeader, Text: text, Sum: [32]byte{sum, 31: sum}}
}

// keyed is a batch of one item with a key of its own.
func keyed(e *relay.Event, text string, sum byte, subscriptions ...string) relay.Batch {
	b := one(e, subscriptions...)
	b.Items[0].Key = key(text, sum)
	return b
}

func sameKeysOneEvent(t *testing.T, h *Harness) {
	const callers = 64
	ids := make([]string, callers)
	var mu sync.Mutex
	fresh, calls := 0, 0
	var wait sync.WaitGroup
	for i := range callers {
		wait.Go(func() {
			receipts, err := h.Store.Append(background, keyed(event("order.paid", "1"), "k", 1, "crm"), func(events []*relay.Event) {
				calls += len(events)
			})
			if err != nil {
				t.Errorf("Append: %v", err)
				return
			}
			ids[i] = receipts[0].ID
			mu.Lock()
			defer mu.Unlock()
			if !receipts[0].Duplicate {
				fresh++
			}
		})
	}
	wait.Wait()
	slices.Sort(ids)
	if ids = slices.Compact(ids); len(ids) != 1 || fresh != 1 || calls != 1 {
		t.Fatalf("IDs %v, %d answers as new, %d events given to stored; want one of each", ids, fresh, calls)
	}
	if got := h.read(t, "crm", 0); len(got) != 1 || got[0].Event.ID != ids[0] {
		t.Fatalf("the log has %d entries, want 1", len(got))
	}
}

func keyReused(t *testing.T, h *Harness) {
	first := h.append(t, keyed(event("order.paid", "1"), "k", 1, "crm", "billing"))[0]
	check := func() {
		t.Helper()
		_, err := h.Store.Append(t.Context(), keyed(event("order.paid", "2"), "k", 2, "crm"), nil)
		var reused *relay.KeyReusedError
		if !errors.As(err, &reused) || reused.Item != 0 || !errors.Is(err, relay.ErrKeyReused) {
			t.Fatalf("Append: %v, want a conflict of item 0", err)
		}
		again := h.append(t, keyed(event("other.type", "1"), "k", 1))[0]
		first.Duplicate = true
		if fmt.Sprint(again) != fmt.Sprint(first) {
			t.Fatalf("the repeat got %+v, want %+v", again, first)
		}
	}
	check()
	h.reopen(t)
	check()
	if got := h.read(t, "crm", 0); len(got) != 1 {
		t.Fatalf("the log has %d entries, want 1", len(got))
	}
}

func keyKindsDoNotCollide(t *testing.T, h *Harness) {
	for i, kind := range []relay.KeyKind{relay.KeyHeader, relay.KeyCloudEvent, relay.KeyEnvelope, relay.KeyFrom} {
		b := keyed(event("order.paid", "1"), "k", byte(i), "crm")
		b.Items[0].Key.Kind = kind
		if r := h.append(t, b); r[0].Duplicate {
			t.Fatalf("a key of kind %d collides", kind)
		}
	}
}

func batchKey(t *testing.T, h *Harness) {
	batch := func(sum byte) relay.Batch {
		return relay.Batch{Key: key("batch", sum), Items: []relay.Item{
			{Event: event("a", "1"), Targets: Targets("crm")},
			{Event: event("b", "2"), Targets: Targets("crm", "billing")},
			{Event: event("c", "3")},
		}}
	}
	first := h.append(t, batch(1))
	for i := range first {
		first[i].Duplicate = true
	}
	check := func() {
		t.Helper()
		if again := h.append(t, batch(1)); fmt.Sprint(again) != fmt.Sprint(first) {
			t.Fatalf("the repeat got %+v, want %+v", again, first)
		}
		_, err := h.Store.Append(t.Context(), batch(2), nil)
		var reused *relay.KeyReusedError
		if !errors.As(err, &reused) || reused.Item != -1 {
			t.Fatalf("Append: %v, want a conflict of the whole", err)
		}
	}
	check()
	h.reopen(t)
	check()
	if got := h.read(t, "crm", 0); len(got) != 2 {
		t.Fatalf("the log has %d entries, want 2", len(got))
	}
}

// keyOfBatchForItem: a key means one request. That the digests agree, which real
// ones do not, must not make one answer out of two.
func keyOfBatchForItem(t *testing.T, h *Harness) {
	two := relay.Batch{Key: key("batch", 1), Items: []relay.Item{{Event: event("a", "1")}, {Event: event("b", "2")}}}
	h.append(t, two)
	_, err := h.Store.Append(t.Context(), keyed(event("a", "1"), "batch", 1), nil)
	wantError(t, "a batch's key for an item", err, relay.ErrKeyReused)

	h.append(t, keyed(event("a", "1"), "item", 1))
	two.Key = key("item", 1)
	_, err = h.Store.Append(t.Context(), two, nil)
	wantError(t, "an item's key for a batch", err, relay.ErrKeyReused)
}

func itemKeys(t *testing.T, h *Harness) {
	first := h.append(t, keyed(event("a", "1"), "k1", 1, "crm"))[0]
	b := keyed(event("a", "1"), "k1", 1, "crm")
	b.Items = append(b.Items, keyed(event("b", "2"), "k2", 2, "crm").Items...)
	b.Items = append(b.Items, relay.Item{Event: event("c", "3"), Targets: Targets("crm")})
	b.Key = key("batch", 7)
	var stored []*relay.Event
	receipts, err := h.Store.Append(t.Context(), b, func(events []*relay.Event) { stored = events })
	if err != nil {
		t.Fatal(err)
	}
	if !receipts[0].Duplicate || receipts[0].ID != first.ID || receipts[1].Duplicate || receipts[2].Duplicate {
		t.Fatalf("receipts %+v; want the first to be a duplicate of %s", receipts, first.ID)
	}
	if len(stored) != 2 || stored[0] != b.Items[1].Event || stored[1] != b.Items[2].Event {
		t.Fatalf("stored got %v, want the last two", stored)
	}
	if b.Items[0].Event.ID != "" {
		t.Fatal("a duplicate's event was filled in")
	}
	// Repeated as a whole, all of it is as it was answered.
	again := h.append(t, b)
	for i, r := range again {
		if !r.Duplicate || r.ID != receipts[i].ID {
			t.Fatalf("the repeat got %+v, want the IDs of %+v", again, receipts)
		}
	}
	if got := h.read(t, "crm", 0); len(got) != 3 {
		t.Fatalf("the log has %d entries, want 3", len(got))
	}
}

func repeatsWithinBatch(t *testing.T, h *Harness) {
	b := keyed(event("a", "1"), "k", 1, "crm")
	b.Items = append(b.Items, keyed(event("b", "2"), "other", 1, "crm").Items...)
	b.Items = append(b.Items, keyed(event("a", "1"), "k", 1, "crm").Items...)
	receipts := h.append(t, b)
	if receipts[0].Duplicate || receipts[1].Duplicate || !receipts[2].Duplicate || receipts[2].ID != receipts[0].ID || receipts[2].Type != "a" {
		t.Fatalf("receipts %+v; want the third to repeat the first", receipts)
	}
	if got := h.read(t, "crm", 0); len(got) != 2 {
		t.Fatalf("the log has %d entries, want 2", len(got))
	}

	b = keyed(event("a", "1"), "new", 1, "crm")
	b.Items = append(b.Items, keyed(event("b", "2"), "new", 2, "crm").Items...)
	_, err := h.Store.Append(t.Context(), b, nil)
	var reused *relay.KeyReusedError
	if !errors.As(err, &reused) || reused.Item != 1 {
		t.Fatalf("Append: %v, want a conflict of item 1", err)
	}
	if got := h.read(t, "crm", 2); len(got) != 0 {
		t.Fatalf("a refused batch left %d entries", len(got))
	}
}

// keysOutliveEvents: the first answer is repeated though its event was trimmed.
func keysOutliveEvents(t *testing.T, h *Harness) {
	first := h.append(t, keyed(event("order.paid", "1"), "k", 1, "crm"))[0]
	h.finish(t, 1, "crm")
	h.Clock.Advance(time.Hour)
	if events, keys := h.trim(t, relay.TrimPolicy{DeliveredBefore: h.Clock.Now()}); events != 1 || keys != 0 {
		t.Fatalf("trimmed %d events, %d keys; want 1 and 0", events, keys)
	}
	h.reopen(t)
	again := h.append(t, keyed(event("order.paid", "1"), "k", 1, "crm"))[0]
	first.Duplicate = true
	if fmt.Sprint(again) != fmt.Sprint(first) {
		t.Fatalf("the repeat got %+v, want %+v", again, first)
	}
}

func keysAreForgotten(t *testing.T, h *Harness) {
	h.append(t, keyed(event("order.paid", "1"), "old", 1, "crm"))
	h.Clock.Advance(time.Hour)
	b := keyed(event("order.paid", "2"), "young", 1, "crm")
	b.Key = key("batch", 1)
	h.append(t, b)
	if events, keys := h.trim(t, relay.TrimPolicy{KeysBefore: h.Clock.Now()}); events != 0 || keys != 1 {
		t.Fatalf("trimmed %d events, %d keys; want 0 and 1", events, keys)
	}
	h.reopen(t)
	if r := h.append(t, keyed(event("order.paid", "1"), "old", 2, "crm")); r[0].Duplicate {
		t.Fatal("a trimmed key is still known")
	}
	if r := h.append(t, keyed(event("order.paid", "2"), "young", 1, "crm")); !r[0].Duplicate {
		t.Fatal("a key was forgotten too early")
	}
	h.Clock.Advance(time.Hour)
	if _, keys := h.trim(t, relay.TrimPolicy{KeysBefore: h.Clock.Now()}); keys != 3 {
		t.Fatalf("trimmed %d keys, want 3", keys)
	}
	if _, keys := h.trim(t, relay.TrimPolicy{KeysBefore: h.Clock.Now()}); keys != 0 {
		t.Fatalf("trimmed %d keys again", keys)
	}
}
