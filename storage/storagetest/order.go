package storagetest

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddyrelay/caddyrelay/relay"
)

const (
	writers         = 16
	eventsPerWriter = 40
)

// cursorSkipsNothing is what a store fails that gives out numbers before it commits.
func cursorSkipsNothing(t *testing.T, h *Harness) {
	var wait sync.WaitGroup
	for w := range writers {
		wait.Go(func() {
			for i := range eventsPerWriter {
				e := event("order.paid", fmt.Sprintf("%d-%d", w, i))
				if _, err := h.Store.Append(background, one(e, "crm"), nil); err != nil {
					t.Errorf("Append: %v", err)
					return
				}
			}
		})
	}
	done := make(chan struct{})
	go func() { wait.Wait(); close(done) }()

	var cursor uint64
	var last relay.Seq
	seen := make(map[string]bool)
	for finished := false; ; {
		entries, err := h.Store.Read(t.Context(), "crm", cursor, 7, 1<<20)
		if err != nil {
			t.Fatalf("Read: %v", err)
		}
		for _, e := range entries {
			if e.Pos != cursor+1 {
				t.Fatalf("position %d follows %d", e.Pos, cursor)
			}
			if e.Event.Seq <= last {
				t.Fatalf("Seq %d follows %d", e.Event.Seq, last)
			}
			cursor, last = e.Pos, e.Event.Seq
			seen[string(e.Event.Data)] = true
		}
		if len(entries) > 0 {
			continue
		}
		if finished {
			break
		}
		select {
		case <-done:
			finished = true
		default:
		}
	}
	if len(seen) != writers*eventsPerWriter {
		t.Fatalf("the reader saw %d events of %d", len(seen), writers*eventsPerWriter)
	}
}

func storedInCommitOrder(t *testing.T, h *Harness) {
	var inside atomic.Int32
	var order []relay.Seq // needs no lock if the calls are one after the other
	positions := make(map[string]uint64)
	stored := func(events []*relay.Event) {
		if inside.Add(1) != 1 {
			t.Error("two calls of stored at the same time")
		}
		for _, e := range events {
			order = append(order, e.Seq)
			for _, p := range e.Deliveries {
				if p.Pos != positions[p.Subscription]+1 {
					t.Errorf("stored got position %d of %s after %d", p.Pos, p.Subscription, positions[p.Subscription])
				}
				positions[p.Subscription] = p.Pos
			}
		}
		inside.Add(-1)
	}
	var wait sync.WaitGroup
	for w := range writers {
		wait.Go(func() {
			for i := range eventsPerWriter {
				b := one(event("a", ""), "crm", fmt.Sprintf("own-%d", w))
				b.Items = append(b.Items, relay.Item{Event: event("b", ""), Targets: Targets("crm")})
				called := false
				_, err := h.Store.Append(background, b, func(events []*relay.Event) { called = true; stored(events) })
				if err != nil || !called {
					t.Errorf("Append %d: %v, stored called: %v", i, err, called)
					return
				}
			}
		})
	}
	wait.Wait()
	if len(order) != 2*writers*eventsPerWriter {
		t.Fatalf("stored got %d events of %d", len(order), 2*writers*eventsPerWriter)
	}
	for i := 1; i < len(order); i++ {
		if order[i] <= order[i-1] {
			t.Fatalf("stored got Seq %d after %d", order[i], order[i-1])
		}
	}
}

// storedMayRead: what is handed out is there.
func storedMayRead(t *testing.T, h *Harness) {
	e := event("order.paid", "1")
	_, err := h.Store.Append(t.Context(), one(e, "crm"), func(events []*relay.Event) {
		if _, err := h.Store.Event(background, events[0].Seq); err != nil {
			t.Errorf("Event inside stored: %v", err)
		}
		if got, err := h.Store.Read(background, "crm", 0, 10, 1000); err != nil || len(got) != 1 {
			t.Errorf("Read inside stored: %v, %v", got, err)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
}

func endedContextStoresNothing(t *testing.T, h *Harness) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	e := event("order.paid", "1")
	_, err := h.Store.Append(ctx, one(e, "crm"), func([]*relay.Event) { t.Error("stored was called") })
	wantError(t, "Append", err, context.Canceled)
	if e.ID != "" || e.Seq != 0 || len(h.read(t, "crm", 0)) != 0 {
		t.Fatalf("the event was stored: %+v", e)
	}
}

func seqNeverFallsBack(t *testing.T, h *Harness) {
	var last *relay.Event
	step := func(what string) {
		t.Helper()
		e := h.add(t, 3, "crm")
		if last != nil && e[0].Seq <= last.Seq {
			t.Fatalf("after %s Seq %d follows %d", what, e[0].Seq, last.Seq)
		}
		if last != nil && e[0].Accepted.Before(last.Accepted) {
			t.Fatalf("after %s Accepted %v follows %v", what, e[0].Accepted, last.Accepted)
		}
		last = e[2]
	}
	step("the start")
	h.Clock.Advance(-time.Hour)
	step("a step back")
	h.reopen(t)
	step("opening again")
	h.Clock.Advance(10 * 365 * 24 * time.Hour)
	step("ten years")
	h.Clock.Set(Start)
	step("ten years back")
	h.reopen(t)
	step("opening again ten years back")
	h.finish(t, last.Deliveries[0].Pos, "crm")
	far := last.Accepted.Add(time.Hour)
	if n, _ := h.trim(t, relay.TrimPolicy{DeliveredBefore: far, FailedBefore: far}); n != 18 {
		t.Fatalf("trimmed %d events, want 18", n)
	}
	step("trimming all")
	h.finish(t, last.Deliveries[0].Pos, "crm")
	h.trim(t, relay.TrimPolicy{DeliveredBefore: far, FailedBefore: far})
	h.reopen(t)
	step("trimming all and opening again")
	if pos := last.Deliveries[0].Pos; pos != 24 {
		t.Fatalf("the position is %d, want 24", pos)
	}
}

// refusedBatchLeavesNothing: a conflict of the last item takes back the others.
func refusedBatchLeavesNothing(t *testing.T, h *Harness) {
	h.append(t, keyed(event("order.paid", "1"), "k", 1, "crm"))
	before, err := h.Store.Stats(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	b := keyed(event("order.paid", "2"), "other", 2, "crm", "new-name")
	b.Items = append(b.Items, keyed(event("order.paid", "3"), "k", 3, "crm").Items...)
	_, err = h.Store.Append(t.Context(), b, func([]*relay.Event) { t.Error("stored was called") })
	var reused *relay.KeyReusedError
	if !errors.As(err, &reused) || reused.Item != 1 {
		t.Fatalf("Append: %v, want a conflict of item 1", err)
	}
	for _, item := range b.Items {
		if e := item.Event; e.ID != "" || e.Seq != 0 || !e.Accepted.IsZero() || e.Deliveries != nil {
			t.Fatalf("a refused event was filled in: %+v", e)
		}
	}
	check := func() {
		t.Helper()
		if got := h.read(t, "crm", 0); len(got) != 1 {
			t.Fatalf("the log has %d entries, want 1", len(got))
		}
		if _, ok := h.progress(t)["new-name"]; ok {
			t.Fatal("a refused batch made a subscription")
		}
		after, err := h.Store.Stats(t.Context())
		if err != nil || after.Events != before.Events {
			t.Fatalf("%d events, want %d (%v)", after.Events, before.Events, err)
		}
	}
	check()
	h.reopen(t)
	check()
	// The key of the refused item is free.
	if r := h.append(t, keyed(event("order.paid", "4"), "other", 9, "crm")); r[0].Duplicate {
		t.Fatal("the key of a refused item counts as used")
	}
	if got := h.read(t, "crm", 1); len(got) != 1 || got[0].Pos != 2 {
		t.Fatalf("Read: %+v, want position 2", got)
	}
}
