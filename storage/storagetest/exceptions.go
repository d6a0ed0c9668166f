package storagetest

import (
	"bytes"
	"testing"
	"time"

	"github.com/caddyrelay/caddyrelay/relay"
)

func retry(pos uint64) relay.Exception {
	return relay.Exception{From: pos, To: pos, Kind: relay.Retry, Attempts: 1, Due: Start.Add(time.Minute)}
}

func failed(pos uint64) relay.Exception {
	return relay.Exception{From: pos, To: pos, Kind: relay.Failed, Attempts: 3, Reason: "schedule"}
}

func span(kind relay.Kind, from, to uint64) relay.Exception {
	return relay.Exception{From: from, To: to, Kind: kind}
}

// put commits exceptions beside a progress that does not matter.
func (h *Harness) put(t *testing.T, name string, put ...relay.Exception) {
	t.Helper()
	h.commit(t, relay.Update{Progress: relay.Progress{Subscription: name}, Put: put})
}

func (h *Harness) drop(t *testing.T, name string, from ...uint64) {
	t.Helper()
	h.commit(t, relay.Update{Progress: relay.Progress{Subscription: name}, Drop: from})
}

func (h *Harness) open(t *testing.T, name string, after uint64, limit int) []relay.Exception {
	t.Helper()
	open, err := h.Store.Open(t.Context(), name, after, limit)
	if err != nil {
		t.Fatalf("Open: %v", err)
	}
	return open
}

func exceptionTransitions(t *testing.T, h *Harness) {
	h.add(t, 5, "crm", "billing")
	check := func(what string, want *relay.Exception) {
		t.Helper()
		if got := h.exception(t, "crm", 3); !same(got, want) {
			t.Fatalf("%s: %+v, want %+v", what, got, want)
		}
		open := h.open(t, "crm", 0, 10)
		if wantOpen := want != nil && !want.Kind.Closed(); len(open) > 1 || (len(open) == 1) != wantOpen {
			t.Fatalf("%s: open are %+v", what, open)
		}
		for _, pos := range []uint64{2, 4} {
			if got := h.exception(t, "crm", pos); got != nil {
				t.Fatalf("%s: position %d has %+v", what, pos, got)
			}
		}
		if got := h.exception(t, "billing", 3); got != nil {
			t.Fatalf("%s: the other subscription has %+v", what, got)
		}
	}
	check("none", nil)
	for _, kind := range []relay.Kind{relay.Waiting, relay.Debounced, relay.Ordered, relay.Retry} {
		x := retry(3)
		x.Kind = kind
		h.put(t, "crm", x)
		check("put open", &x)
	}
	x := retry(3)
	x.Attempts, x.Due = 2, x.Due.Add(time.Hour)
	h.put(t, "crm", x)
	check("put open again", &x)
	for _, kind := range []relay.Kind{relay.Superseded, relay.Erased, relay.Quarantined, relay.Failed} {
		x = failed(3)
		x.Kind = kind
		h.put(t, "crm", x)
		check("put closed", &x)
	}
	h.reopen(t)
	check("opened again", &x)
	x = retry(3)
	h.put(t, "crm", x)
	check("put open over closed", &x)
	h.reopen(t)
	check("opened again with an open one", &x)
	h.drop(t, "crm", 3)
	check("dropped", nil)
	h.drop(t, "crm", 3)
	check("dropped again", nil)
	x = failed(3)
	h.put(t, "crm", x)
	h.drop(t, "crm", 3)
	check("dropped closed", nil)
	// Drop comes before Put.
	h.commit(t, relay.Update{Progress: relay.Progress{Subscription: "crm"}, Drop: []uint64{3}, Put: []relay.Exception{x}})
	check("dropped and put", &x)
}

func replaysStandBeside(t *testing.T, h *Harness) {
	h.add(t, 20, "crm")
	h.put(t, "crm", failed(5), span(relay.Replay, 5, 10), retry(7))
	check := func(pos uint64, want relay.Exception) {
		t.Helper()
		if got := h.exception(t, "crm", pos); !same(got, &want) {
			t.Fatalf("position %d has %+v, want %+v", pos, got, want)
		}
	}
	all := func() {
		t.Helper()
		check(5, failed(5))
		check(6, span(relay.Replay, 5, 10))
		check(7, retry(7))
		check(10, span(relay.Replay, 5, 10))
		if got := h.exception(t, "crm", 11); got != nil {
			t.Fatalf("position 11 has %+v", got)
		}
		if got := h.open(t, "crm", 0, 10); !same(got, []relay.Exception{span(relay.Replay, 5, 10), retry(7)}) {
			t.Fatalf("open are %+v", got)
		}
	}
	all()
	h.reopen(t)
	all()
	// The replay moves on: 5 was delivered.
	h.commit(t, relay.Update{
		Progress: relay.Progress{Subscription: "crm"}, Drop: []uint64{5},
		Put: []relay.Exception{span(relay.Replay, 6, 10)},
	})
	if got := h.exception(t, "crm", 5); got != nil {
		t.Fatalf("position 5 has %+v", got)
	}
	check(6, span(relay.Replay, 6, 10))
	// It moves on again: 6 failed. And 7 too.
	h.commit(t, relay.Update{
		Progress: relay.Progress{Subscription: "crm"}, Drop: []uint64{6},
		Put: []relay.Exception{failed(6), span(relay.Replay, 8, 10), failed(7)},
	})
	check(6, failed(6))
	check(7, failed(7))
	h.reopen(t)
	check(6, failed(6))
	check(8, span(relay.Replay, 8, 10))
	h.drop(t, "crm", 8)
	if got := h.open(t, "crm", 0, 10); len(got) != 0 {
		t.Fatalf("open are %+v", got)
	}
	h.reopen(t)
	if got := h.open(t, "crm", 0, 10); len(got) != 0 {
		t.Fatalf("open after opening again are %+v", got)
	}
}

func spansCover(t *testing.T, h *Harness) {
	h.add(t, 3, "crm")
	h.put(t, "crm", span(relay.Failed, 10, 1_000_000), retry(5), span(relay.Waiting, 2_000_000, 3_000_000))
	check := func(pos uint64, want *relay.Exception) {
		t.Helper()
		if got := h.exception(t, "crm", pos); !same(got, want) {
			t.Fatalf("position %d has %+v, want %+v", pos, got, want)
		}
	}
	dead, waiting := span(relay.Failed, 10, 1_000_000), span(relay.Waiting, 2_000_000, 3_000_000)
	for range 2 {
		check(9, nil)
		check(10, &dead)
		check(500_000, &dead)
		check(1_000_000, &dead)
		check(1_000_001, nil)
		check(2_500_000, &waiting)
		if got := h.open(t, "crm", 0, 10); !same(got, []relay.Exception{retry(5), waiting}) {
			t.Fatalf("open are %+v", got)
		}
		h.reopen(t)
	}
	// A delivery at the same From takes the span's place, and the reverse.
	single := failed(10)
	h.put(t, "crm", single)
	check(10, &single)
	check(11, nil)
	h.reopen(t)
	check(11, nil)
	h.put(t, "crm", dead)
	h.reopen(t)
	check(10, &dead)
	check(11, &dead)
	h.drop(t, "crm", 10)
	h.reopen(t)
	check(10, nil)
	check(11, nil)
}

func openPages(t *testing.T, h *Harness) {
	h.add(t, 60, "crm")
	var want []relay.Exception
	for pos := uint64(1); pos <= 60; pos++ {
		if pos%3 == 0 {
			h.put(t, "crm", failed(pos))
			continue
		}
		h.put(t, "crm", retry(pos))
		want = append(want, retry(pos))
		if pos == 10 || pos == 40 {
			// A replay that begins where a delivery waits must not be lost between pages.
			h.put(t, "crm", span(relay.Replay, pos, pos+5))
			want = append(want, span(relay.Replay, pos, pos+5))
		}
	}
	for _, limit := range []int{2, 3, 5, 7, 100} {
		var got []relay.Exception
		for after := uint64(0); ; {
			page := h.open(t, "crm", after, limit)
			if len(page) > limit {
				t.Fatalf("a page has %d exceptions, limit %d", len(page), limit)
			}
			if len(page) == 0 {
				break
			}
			got = append(got, page...)
			after = page[len(page)-1].From
		}
		if !same(got, want) {
			t.Fatalf("limit %d: %d exceptions, want %d", limit, len(got), len(want))
		}
	}
	// Searches that found nothing low must see what is put there later.
	for pos := uint64(1); pos <= 50; pos++ {
		h.drop(t, "crm", pos)
		if got := h.open(t, "crm", 0, 1); len(got) != 1 || got[0].From <= pos {
			t.Fatalf("after dropping %d the first is %+v", pos, got)
		}
	}
	h.put(t, "crm", retry(2))
	if got := h.open(t, "crm", 0, 1); len(got) != 1 || got[0].From != 2 {
		t.Fatalf("the first is %+v, want 2", got)
	}
	if got := h.open(t, "crm", 0, 0); len(got) != 0 {
		t.Fatalf("limit 0: %+v", got)
	}
}

// hugeUpdate is what comes together when a disk takes its time, and when somebody drops all
// that is retried: tens of thousands of exceptions of one subscription.
func hugeUpdate(t *testing.T, h *Harness) {
	const n = 20_000
	progress := relay.Progress{Subscription: "crm", Low: n, Open: n, NextDue: Start}
	u := relay.Update{Progress: progress}
	for i := range uint64(n) {
		u.Put = append(u.Put, retry(i+1))
	}
	// Others, before it and behind it, are what they were.
	few := func(low uint64) relay.Update {
		return relay.Update{Progress: relay.Progress{Subscription: "billing", Low: low, Open: 1}, Put: []relay.Exception{retry(low)}}
	}
	h.commit(t, few(1), u, few(2))
	h.reopen(t)
	if got := h.progress(t)["crm"]; got.Low != n || got.Open != n {
		t.Fatalf("Progress: %+v", got)
	}
	if got := h.open(t, "crm", 0, 2*n); len(got) != n || got[0].From != 1 || got[n-1].From != n {
		t.Fatalf("%d are open, want %d", len(got), n)
	}
	if got := h.open(t, "billing", 0, 9); len(got) != 2 {
		t.Fatalf("%+v; want that of each of the two updates around it", got)
	}

	u = relay.Update{Progress: relay.Progress{Subscription: "crm", Low: n, Failed: n / 2, Delivered: n / 2}}
	for i := uint64(1); i <= n; i += 2 {
		u.Drop = append(u.Drop, i)
		x := retry(i + 1)
		x.Kind, x.Reason = relay.Failed, "dropped"
		u.Put = append(u.Put, x)
	}
	h.commit(t, u)
	h.reopen(t)
	if got := h.open(t, "crm", 0, 9); len(got) != 0 {
		t.Fatalf("%+v are open, want none", got)
	}
	for _, pos := range []uint64{1, 2, n - 1, n} {
		x, found, err := h.Store.Exception(t.Context(), "crm", pos)
		if err != nil || found != (pos%2 == 0) || found && x.Kind != relay.Failed {
			t.Fatalf("at %d: %+v, %v, %v", pos, x, found, err)
		}
	}
}

// largeUpdate is more than an engine may take in one transaction of its own: a full
// window of attempts that failed with the longest excerpts.
func largeUpdate(t *testing.T, h *Harness) {
	const n = 300
	events := h.add(t, n, "crm")
	u := relay.Update{Progress: relay.Progress{Subscription: "crm", Low: n, Open: n}}
	for i, e := range events {
		x := retry(uint64(i + 1))
		x.Seq = e.Seq
		u.Put = append(u.Put, x)
		u.Attempts = append(u.Attempts, relay.AttemptRecord{Seq: e.Seq, Attempt: relay.Attempt{
			Number: 1, At: Start, Status: 500, Excerpt: bytes.Repeat([]byte{byte(i)}, 16<<10),
		}})
	}
	h.commit(t, u)
	h.reopen(t)
	if got := h.progress(t)["crm"]; got.Low != n || got.Open != n {
		t.Fatalf("Progress: %+v", got)
	}
	if got := h.open(t, "crm", 0, 1000); len(got) != n {
		t.Fatalf("%d open, want %d", len(got), n)
	}
	for i, e := range events {
		got, err := h.Store.Attempts(t.Context(), e.Seq, "crm")
		if err != nil || len(got) != 1 || len(got[0].Excerpt) != 16<<10 || got[0].Excerpt[0] != byte(i) {
			t.Fatalf("Attempts of %d: %d, %v", i, len(got), err)
		}
	}
}

func progressIsACopy(t *testing.T, h *Harness) {
	done := []relay.Span{{From: 3, To: 4}}
	h.commit(t, relay.Update{Progress: relay.Progress{Subscription: "crm", Done: done}})
	done[0].From = 99
	got := h.progress(t)["crm"]
	if got.Done[0].From != 3 {
		t.Fatal("the store keeps the caller's slice")
	}
	got.Done[0].From = 98
	if h.progress(t)["crm"].Done[0].From != 3 {
		t.Fatal("the store hands out its own slice")
	}
}
