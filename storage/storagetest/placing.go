package storagetest

import (
	"errors"
	"testing"
	"time"

	"github.com/caddyrelay/caddyrelay/relay"
)

func orderKeysSurviveReopen(t *testing.T, h *Harness) {
	keyed, plain := event("order.paid", "1"), event("order.paid", "2")
	h.append(t, relay.Batch{Items: []relay.Item{
		{Event: keyed, Targets: []relay.Target{{Subscription: "crm"}, {Subscription: "billing", Key: "customer-1"}, {Subscription: "erp", Key: "b"}}},
		{Event: plain, Targets: Targets("crm")},
	}})
	want := []relay.Placement{{Subscription: "crm", Pos: 1}, {Subscription: "billing", Pos: 1, Key: "customer-1"}, {Subscription: "erp", Pos: 1, Key: "b"}}
	check := func() {
		t.Helper()
		for _, e := range []*relay.Event{keyed, h.event(t, keyed.Seq), h.read(t, "billing", 0)[0].Event} {
			if len(e.Deliveries) != 3 || e.Deliveries[0] != want[0] || e.Deliveries[1] != want[1] || e.Deliveries[2] != want[2] {
				t.Fatalf("Deliveries: %+v, want %+v", e.Deliveries, want)
			}
		}
	}
	check()
	h.reopen(t)
	check()
}

func (h *Harness) event(t *testing.T, s relay.Seq) *relay.Event {
	t.Helper()
	e, err := h.Store.Event(t.Context(), s)
	if err != nil {
		t.Fatalf("Event: %v", err)
	}
	return e
}

func placeAddsToOneMoreLog(t *testing.T, h *Harness) {
	events := h.add(t, 3, "crm")
	var placed *relay.Event
	note := func(e *relay.Event) {
		if placed != nil {
			t.Error("placed was called twice")
		}
		placed = e
	}
	to := relay.Target{Subscription: "late", Key: "k"}
	if err := h.Store.Place(t.Context(), events[1].Seq, to, note); err != nil {
		t.Fatalf("Place: %v", err)
	}
	want := relay.Placement{Subscription: "late", Pos: 1, Key: "k"}
	if placed == nil || placed.ID != events[1].ID || string(placed.Data) != string(events[1].Data) ||
		len(placed.Deliveries) != 2 || placed.Deliveries[1] != want {
		t.Fatalf("placed got %+v", placed)
	}
	// Once is enough, and what is not there cannot be placed.
	if err := h.Store.Place(t.Context(), events[1].Seq, to, note); err != nil {
		t.Fatalf("Place again: %v", err)
	}
	if err := h.Store.Place(t.Context(), events[2].Seq+1, to, note); !errors.Is(err, relay.ErrNotFound) {
		t.Fatalf("Place of nothing: %v", err)
	}
	// An older event may come after a younger one.
	placed = nil
	if err := h.Store.Place(t.Context(), events[0].Seq, to, note); err != nil {
		t.Fatalf("Place: %v", err)
	}
	check := func() {
		t.Helper()
		got := h.read(t, "late", 0)
		if len(got) != 2 || got[0].Pos != 1 || got[0].Event.Seq != events[1].Seq || got[1].Pos != 2 || got[1].Event.Seq != events[0].Seq {
			t.Fatalf("Read: %+v", got)
		}
		if e := h.event(t, events[1].Seq); len(e.Deliveries) != 2 || e.Deliveries[1] != want {
			t.Fatalf("Deliveries: %+v", e.Deliveries)
		}
		if e := h.event(t, events[2].Seq); len(e.Deliveries) != 1 {
			t.Fatalf("Deliveries: %+v", e.Deliveries)
		}
	}
	check()
	h.reopen(t)
	check()
}

// What was placed and not delivered yet keeps its event.
func placeKeepsFromTrim(t *testing.T, h *Harness) {
	events := h.add(t, 2, "crm")
	h.commit(t, relay.Update{Progress: relay.Progress{Subscription: "crm", Low: 2, Delivered: 2}})
	if err := h.Store.Place(t.Context(), events[0].Seq, relay.Target{Subscription: "late"}, func(*relay.Event) {}); err != nil {
		t.Fatalf("Place: %v", err)
	}
	h.Clock.Advance(time.Hour)
	policy := relay.TrimPolicy{DeliveredBefore: h.Clock.Now(), FailedBefore: h.Clock.Now()}
	removed, kept := 0, 0
	for more := true; more; {
		step, err := h.Store.Trim(t.Context(), policy)
		if err != nil {
			t.Fatalf("Trim: %v", err)
		}
		removed, kept, more = removed+step.Events, kept+step.Kept, step.More
	}
	if removed != 1 || kept != 1 {
		t.Errorf("%d events are said to be removed, %d looked at and left; one each", removed, kept)
	}
	h.event(t, events[0].Seq)
	if _, err := h.Store.Event(t.Context(), events[1].Seq); !errors.Is(err, relay.ErrNotFound) {
		t.Fatalf("the event that was delivered everywhere: %v", err)
	}
	if got := h.read(t, "late", 0); len(got) != 1 || got[0].Event.Seq != events[0].Seq {
		t.Fatalf("Read: %+v", got)
	}
}
