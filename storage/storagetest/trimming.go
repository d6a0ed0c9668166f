package storagetest

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/caddyrelay/caddyrelay/relay"
)

// wantKept fails the test unless exactly these of the events are there, by all ways
// of looking for them.
func (h *Harness) wantKept(t *testing.T, all []*relay.Event, kept ...int) {
	t.Helper()
	for i, e := range all {
		_, err := h.Store.Event(t.Context(), e.Seq)
		if slices.Contains(kept, i) {
			if err != nil {
				t.Fatalf("event %d: %v", i, err)
			}
			continue
		}
		wantError(t, fmt.Sprintf("event %d", i), err, relay.ErrNotFound)
		_, err = h.Store.Find(t.Context(), e.ID)
		wantError(t, fmt.Sprintf("finding event %d", i), err, relay.ErrNotFound)
	}
	var want []*relay.Event
	positions := make(map[string][]uint64)
	for _, i := range kept {
		want = append(want, all[i])
		for _, p := range all[i].Deliveries {
			positions[p.Subscription] = append(positions[p.Subscription], p.Pos)
		}
	}
	wantList(t, "kept", h.list(t, relay.EventQuery{Limit: 7}), want)
	for name := range h.progress(t) {
		var read, logged []uint64
		for _, e := range h.read(t, name, 0) {
			read = append(read, e.Pos)
		}
		log, err := h.Store.Log(t.Context(), name, 0, 1<<20)
		if err != nil {
			t.Fatal(err)
		}
		for _, l := range log {
			logged = append(logged, l.Pos)
		}
		slices.Reverse(logged)
		if !slices.Equal(read, positions[name]) || !slices.Equal(logged, positions[name]) {
			t.Fatalf("%s: Read has %v, Log %v; want %v", name, read, logged, positions[name])
		}
	}
}

func before(t time.Time) relay.TrimPolicy {
	return relay.TrimPolicy{DeliveredBefore: t, FailedBefore: t}
}

func trimFinishedOnly(t *testing.T, h *Harness) {
	var all []*relay.Event
	for i := range 6 {
		names := []string{"crm", "billing"}
		if i == 4 {
			names = nil
		}
		all = append(all, h.add(t, 1, names...)...)
		h.Clock.Advance(time.Minute)
	}
	// crm has finished 1, 2, 4; billing 1, 3, 4.
	h.commit(t,
		relay.Update{Progress: relay.Progress{Subscription: "crm", Low: 2, Done: []relay.Span{{From: 4, To: 4}}}},
		relay.Update{Progress: relay.Progress{Subscription: "billing", Low: 1, Done: []relay.Span{{From: 3, To: 4}}}},
	)
	if n, _ := h.trim(t, before(Start)); n != 0 {
		t.Fatalf("trimmed %d events that are too young", n)
	}
	if n, _ := h.trim(t, before(Start.Add(time.Minute))); n != 1 {
		t.Fatalf("trimmed %d events, want 1", n)
	}
	h.wantKept(t, all, 1, 2, 3, 4, 5)
	if n, _ := h.trim(t, before(h.Clock.Now())); n != 2 {
		t.Fatalf("trimmed %d events, want 2", n)
	}
	h.wantKept(t, all, 1, 2, 5)
	h.reopen(t)
	h.wantKept(t, all, 1, 2, 5)
	h.finish(t, 5, "crm", "billing")
	if n, _ := h.trim(t, before(h.Clock.Now())); n != 3 {
		t.Fatalf("trimmed %d events, want 3", n)
	}
	h.wantKept(t, all)
	all = append(all, h.add(t, 2, "crm", "billing")...)
	h.wantKept(t, all, 6, 7)
	h.reopen(t)
	h.wantKept(t, all, 6, 7)
}

func trimKeepsFailedLonger(t *testing.T, h *Harness) {
	all := h.add(t, 4, "crm", "billing")
	h.finish(t, 4, "crm", "billing")
	h.put(t, "crm", failed(2))
	h.commit(t, relay.Update{Progress: relay.Progress{Subscription: "crm", Low: 4}, Attempts: []relay.AttemptRecord{
		{Seq: all[1].Seq, Attempt: relay.Attempt{Number: 1}},
		{Seq: all[2].Seq, Attempt: relay.Attempt{Number: 1}},
	}})
	h.Clock.Advance(time.Hour)
	n, _ := h.trim(t, relay.TrimPolicy{DeliveredBefore: h.Clock.Now(), FailedBefore: Start})
	if n != 3 {
		t.Fatalf("trimmed %d events, want 3", n)
	}
	h.wantKept(t, all, 1)
	if h.exception(t, "crm", 2) == nil {
		t.Fatal("a kept delivery lost its exception")
	}
	for i, want := range map[int]int{1: 1, 2: 0} {
		if got, err := h.Store.Attempts(t.Context(), all[i].Seq, "crm"); err != nil || len(got) != want {
			t.Fatalf("event %d has %d attempts, want %d; %v", i, len(got), want, err)
		}
	}
	h.reopen(t)
	if n, _ := h.trim(t, before(h.Clock.Now())); n != 1 {
		t.Fatalf("trimmed %d events, want 1", n)
	}
	h.wantKept(t, all)
	if got := h.exception(t, "crm", 2); got != nil {
		t.Fatalf("a trimmed delivery left %+v", got)
	}
	if got, err := h.Store.Attempts(t.Context(), all[1].Seq, "crm"); err != nil || len(got) != 0 {
		t.Fatalf("a trimmed delivery left %d attempts; %v", len(got), err)
	}
}

func trimKeepsOpenAndReplays(t *testing.T, h *Harness) {
	all := h.add(t, 6, "crm", "billing")
	h.finish(t, 6, "crm", "billing")
	h.commit(t, relay.Update{
		Progress: relay.Progress{Subscription: "billing", Low: 6},
		Put:      []relay.Exception{retry(2), span(relay.Replay, 4, 5), failed(4)},
	})
	h.Clock.Advance(time.Hour)
	h.trim(t, before(h.Clock.Now()))
	h.wantKept(t, all, 1, 3, 4)
	h.reopen(t)
	h.trim(t, before(h.Clock.Now()))
	h.wantKept(t, all, 1, 3, 4)
	h.commit(t, relay.Update{Progress: relay.Progress{Subscription: "billing", Low: 6}, Drop: []uint64{2, 4}})
	h.trim(t, before(h.Clock.Now()))
	h.wantKept(t, all)
}

// trimKeepsSpansAhead: a span that reaches beyond the head of its log covers what is
// appended later, though nothing that it covers is in the log meanwhile.
func trimKeepsSpansAhead(t *testing.T, h *Harness) {
	all := h.add(t, 2, "crm")
	failures := span(relay.Failed, 2, 5)
	h.put(t, "crm", failures)
	h.finish(t, 2, "crm")
	h.Clock.Advance(time.Second)
	if n, _ := h.trim(t, before(h.Clock.Now())); n != 2 {
		t.Fatalf("trimmed %d events, want 2", n)
	}
	all = append(all, h.add(t, 4, "crm")...)
	for range 2 {
		h.wantKept(t, all, 2, 3, 4, 5)
		for pos, want := range map[uint64]*relay.Exception{3: &failures, 4: &failures, 5: &failures, 6: nil} {
			if got := h.exception(t, "crm", pos); !same(got, want) {
				t.Fatalf("position %d has %+v, want %+v", pos, got, want)
			}
		}
		h.reopen(t)
	}
	h.finish(t, 6, "crm")
	h.Clock.Advance(time.Second)
	if n, _ := h.trim(t, relay.TrimPolicy{DeliveredBefore: h.Clock.Now(), FailedBefore: Start}); n != 1 {
		t.Fatalf("trimmed %d events, want the one that did not fail", n)
	}
	h.wantKept(t, all, 2, 3, 4)
	if n, _ := h.trim(t, before(h.Clock.Now())); n != 3 {
		t.Fatalf("trimmed %d events, want 3", n)
	}
	h.wantKept(t, all)
}

func trimNeverReusesNumbers(t *testing.T, h *Harness) {
	var last *relay.Event
	for i := range 3 {
		e := h.add(t, 2, "crm")
		if last != nil && (e[0].Seq <= last.Seq || e[0].Deliveries[0].Pos != last.Deliveries[0].Pos+1) {
			t.Fatalf("round %d: Seq %d at %v after %d at %v", i, e[0].Seq, e[0].Deliveries, last.Seq, last.Deliveries)
		}
		last = e[1]
		h.finish(t, last.Deliveries[0].Pos, "crm")
		h.trim(t, before(Start.Add(time.Hour)))
		h.reopen(t)
		if p := h.progress(t)["crm"]; p.Head != last.Deliveries[0].Pos || p.Low != p.Head {
			t.Fatalf("round %d: Progress %+v, want head %d", i, p, last.Deliveries[0].Pos)
		}
	}
}

// trimInSteps walks more events than a step takes, with some that stay among them.
func trimInSteps(t *testing.T, h *Harness) {
	const n = 1300
	var all []*relay.Event
	for range n / 100 {
		all = append(all, h.add(t, 100, "crm")...)
	}
	h.Clock.Advance(time.Hour)
	h.finish(t, n, "crm")
	var put []relay.Exception
	var kept []int
	for i := 0; i < n; i += 130 {
		put = append(put, failed(uint64(i+1)))
		kept = append(kept, i)
	}
	h.commit(t, relay.Update{Progress: relay.Progress{Subscription: "crm", Low: n}, Put: put})
	policy := relay.TrimPolicy{DeliveredBefore: h.Clock.Now(), FailedBefore: Start}
	if events, _ := h.trim(t, policy); events != n-len(kept) {
		t.Fatalf("trimmed %d events, want %d", events, n-len(kept))
	}
	h.wantKept(t, all, kept...)
	if events, _ := h.trim(t, policy); events != 0 {
		t.Fatalf("trimmed %d events again", events)
	}
	h.reopen(t)
	h.wantKept(t, all, kept...)
	if events, _ := h.trim(t, before(h.Clock.Now())); events != len(kept) {
		t.Fatalf("trimmed %d events, want %d", events, len(kept))
	}
	h.wantKept(t, all)
}

// trimSpares what was appended after a trimming went over everything.
func trimSpares(t *testing.T, h *Harness) {
	first := h.add(t, 3, "crm")
	h.trim(t, before(Start.Add(time.Hour)))
	h.wantKept(t, first, 0, 1, 2)
	second := h.add(t, 3, "crm")
	h.finish(t, 4, "crm")
	h.trim(t, before(Start.Add(time.Hour)))
	h.wantKept(t, slices.Concat(first, second), 4, 5)
	h.finish(t, 6, "crm")
	h.trim(t, before(Start.Add(time.Hour)))
	h.wantKept(t, slices.Concat(first, second))
}

// trimBySize removes finished events of any age, and nothing else.
func trimBySize(t *testing.T, h *Harness) {
	all := h.add(t, 6, "crm", "billing")
	h.finish(t, 6, "crm")
	h.commit(t, relay.Update{Progress: relay.Progress{Subscription: "billing", Low: 4}, Put: []relay.Exception{retry(2)}})
	if n, _ := h.trim(t, relay.TrimPolicy{MaxBytes: 1 << 40}); n != 0 {
		t.Fatalf("trimmed %d events of a store that is small enough", n)
	}
	if n, _ := h.trim(t, relay.TrimPolicy{MaxBytes: 1}); n != 3 {
		t.Fatalf("trimmed %d events, want the 3 that are finished", n)
	}
	h.wantKept(t, all, 1, 4, 5)
	if n, _ := h.trim(t, relay.TrimPolicy{MaxBytes: 1}); n != 0 {
		t.Fatalf("trimmed %d events that are not finished", n)
	}
	h.reopen(t)
	h.wantKept(t, all, 1, 4, 5)
}
