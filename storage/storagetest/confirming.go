package storagetest

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/caddyrelay/caddyrelay/relay"
)

// confirmHasTheLastWord: a target that is refused is as if it had never been one, and what
// Confirm is told is what the event becomes.
func confirmHasTheLastWord(t *testing.T, h *Harness) {
	type question struct {
		id       string
		accepted time.Time
		target   relay.Target
	}
	var asked []question
	confirm := func(refused string) func(string, time.Time, relay.Target) bool {
		return func(id string, accepted time.Time, to relay.Target) bool {
			asked = append(asked, question{id, accepted, to})
			return to.Subscription != refused
		}
	}
	key := &relay.Key{Kind: relay.KeyHeader, Text: "k"}
	targets := []relay.Target{{Subscription: "crm"}, {Subscription: "erp", Key: "k"}, {Subscription: "new"}}
	some, none := event("a", "1"), event("b", "2")
	batch := relay.Batch{Items: []relay.Item{
		{Event: some, Targets: targets, Key: key, Confirm: confirm("crm")},
		{Event: none, Targets: Targets("crm"), Confirm: confirm("crm")},
	}}
	var offered []*relay.Event
	receipts, err := h.Store.Append(t.Context(), batch, func(events []*relay.Event) { offered = slices.Clone(events) })
	if err != nil {
		t.Fatalf("Append: %v", err)
	}
	if len(asked) != 4 {
		t.Fatalf("asked %d times: %+v", len(asked), asked)
	}
	for i, q := range asked {
		e, target := some, targets[min(i, 2)]
		if i == 3 {
			e, target = none, relay.Target{Subscription: "crm"}
		}
		if q.id != e.ID || !q.accepted.Equal(e.Accepted) || q.target != target {
			t.Errorf("question %d: %+v; the event is %+v", i, q, e)
		}
	}
	want := []relay.Placement{{Subscription: "erp", Pos: 1, Key: "k"}, {Subscription: "new", Pos: 1}}
	check := func(events ...*relay.Event) {
		t.Helper()
		if !slices.Equal(events[0].Deliveries, want) || len(events[1].Deliveries) != 0 {
			t.Errorf("Deliveries: %+v and %+v", events[0].Deliveries, events[1].Deliveries)
		}
	}
	check(some, none)
	check(offered...)
	if got := fmt.Sprint(receipts[0].Matched, receipts[1].Matched); got != "[erp new] []" {
		t.Errorf("Matched: %s", got)
	}
	if again := h.append(t, relay.Batch{Items: []relay.Item{{Event: event("a", "1"), Targets: targets, Key: key, Confirm: confirm("erp")}}}); len(asked) != 4 ||
		!again[0].Duplicate || fmt.Sprint(again[0].Matched) != "[erp new]" {
		t.Errorf("a repeat is answered with %+v after %d questions", again[0], len(asked))
	}
	h.reopen(t)
	check(h.event(t, some.Seq), h.event(t, none.Seq))
	if entries, err := h.Store.Log(t.Context(), "crm", 0, 10); err != nil || len(entries) != 0 {
		t.Errorf("the log of who was refused: %+v, %v", entries, err)
	}
	page, err := h.Store.Events(t.Context(), relay.EventQuery{Unmatched: true, Limit: 10})
	if err != nil || len(page.Events) != 1 || page.Events[0].ID != none.ID {
		t.Errorf("unmatched: %+v, %v", page, err)
	}
}
