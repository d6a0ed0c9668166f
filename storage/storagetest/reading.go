package storagetest

import (
	"strings"
	"testing"

	"github.com/caddyrelay/caddyrelay/relay"
)

func readPages(t *testing.T, h *Harness) {
	const n = 25
	h.add(t, n, "crm", "billing")
	h.add(t, 3, "billing")
	for _, limit := range []int{1, 7, n, 1000} {
		var after uint64
		for {
			page, err := h.Store.Read(t.Context(), "crm", after, limit, 1<<20)
			if err != nil || len(page) > limit {
				t.Fatalf("Read: %d entries, %v; limit %d", len(page), err, limit)
			}
			if len(page) == 0 {
				break
			}
			for _, e := range page {
				if e.Pos != after+1 || e.Event.Deliveries[0] != (relay.Placement{Subscription: "crm", Pos: e.Pos}) {
					t.Fatalf("after %d comes %d, placed %v", after, e.Pos, e.Event.Deliveries)
				}
				after = e.Pos
			}
		}
		if after != n {
			t.Fatalf("with limit %d reading ended at %d", limit, after)
		}
	}
	if got := h.read(t, "crm", n); len(got) != 0 {
		t.Fatalf("beyond the head there are %d entries", len(got))
	}
	if got := h.read(t, "crm", 1<<60); len(got) != 0 {
		t.Fatalf("far beyond the head there are %d entries", len(got))
	}
}

func readBounds(t *testing.T, h *Harness) {
	for range 5 {
		h.append(t, one(event("a", strings.Repeat("x", 100)), "crm"))
	}
	for _, test := range []struct{ limit, maxBytes, want int }{
		{10, 1, 1}, {10, 0, 1}, {10, 199, 1}, {10, 200, 2}, {10, 299, 2}, {10, 500, 5}, {3, 500, 3}, {0, 500, 0},
	} {
		got, err := h.Store.Read(t.Context(), "crm", 0, test.limit, test.maxBytes)
		if err != nil || len(got) != test.want {
			t.Fatalf("limit %d, %d bytes: %d entries, %v; want %d", test.limit, test.maxBytes, len(got), err, test.want)
		}
	}
}

func logPages(t *testing.T, h *Harness) {
	const n = 12
	events := h.add(t, n, "crm")
	want := uint64(n)
	for before := uint64(0); ; {
		page, err := h.Store.Log(t.Context(), "crm", before, 5)
		if err != nil || len(page) > 5 {
			t.Fatalf("Log: %v, %v", page, err)
		}
		if len(page) == 0 {
			break
		}
		for _, l := range page {
			if l.Pos != want || l.Seq != events[l.Pos-1].Seq {
				t.Fatalf("Log has %+v, want position %d", l, want)
			}
			want--
		}
		before = page[len(page)-1].Pos
	}
	if want != 0 {
		t.Fatalf("Log ended above position %d", want)
	}
	for _, test := range []struct {
		before uint64
		limit  int
		want   int
	}{{1, 5, 0}, {2, 5, 1}, {1 << 60, 100, n}, {0, 0, 0}} {
		page, err := h.Store.Log(t.Context(), "crm", test.before, test.limit)
		if err != nil || len(page) != test.want {
			t.Fatalf("Log before %d: %v, %v; want %d", test.before, page, err, test.want)
		}
	}
}

// unknownNames are no errors: a subscription may not have matched yet.
func unknownNames(t *testing.T, h *Harness) {
	e := h.add(t, 1, "crm")[0]
	if got, err := h.Store.Read(t.Context(), "nobody", 0, 10, 10); err != nil || len(got) != 0 {
		t.Fatalf("Read: %v, %v", got, err)
	}
	if got, err := h.Store.Log(t.Context(), "nobody", 0, 10); err != nil || len(got) != 0 {
		t.Fatalf("Log: %v, %v", got, err)
	}
	if got, err := h.Store.Open(t.Context(), "nobody", 0, 10); err != nil || len(got) != 0 {
		t.Fatalf("Open: %v, %v", got, err)
	}
	if _, ok, err := h.Store.Exception(t.Context(), "nobody", 1); err != nil || ok {
		t.Fatalf("Exception: %v, %v", ok, err)
	}
	if got, err := h.Store.Attempts(t.Context(), e.Seq, "nobody"); err != nil || len(got) != 0 {
		t.Fatalf("Attempts: %v, %v", got, err)
	}
	if all := h.progress(t); len(all) != 1 {
		t.Fatalf("asking made a subscription: %v", all)
	}
}

func findEvents(t *testing.T, h *Harness) {
	events := h.add(t, 3, "crm")
	for _, e := range events {
		seq, err := h.Store.Find(t.Context(), e.ID)
		if err != nil || seq != e.Seq {
			t.Fatalf("Find %s: %d, %v; want %d", e.ID, seq, err, e.Seq)
		}
	}
	_, tag, err := relay.ParseID(events[0].ID)
	if err != nil {
		t.Fatal(err)
	}
	for _, id := range []string{
		"", "evt_", "nonsense",
		relay.FormatID(events[2].Seq+1, tag),
		relay.FormatID(events[0].Seq-1, tag),
		relay.FormatID(events[0].Seq, tag+1), // another store's
	} {
		_, err := h.Store.Find(t.Context(), id)
		wantError(t, "Find "+id, err, relay.ErrNotFound)
	}
	for _, seq := range []relay.Seq{0, events[0].Seq - 1, events[2].Seq + 1, ^relay.Seq(0)} {
		_, err := h.Store.Event(t.Context(), seq)
		wantError(t, "Event", err, relay.ErrNotFound)
	}
}

func stats(t *testing.T, h *Harness) {
	h.add(t, 7, "crm")
	check := func(want uint64) {
		t.Helper()
		s, err := h.Store.Stats(t.Context())
		if err != nil || s.Events != want || s.Engine == "" || s.Free < -1 {
			t.Fatalf("Stats: %+v, %v; want %d events", s, err, want)
		}
		for part := range s.Size {
			switch part {
			case "events", "logs", "attempts", "other":
			default:
				t.Fatalf("Stats has the part %q", part)
			}
		}
	}
	check(7)
	h.finish(t, 7, "crm")
	far := Start.AddDate(1, 0, 0)
	h.trim(t, relay.TrimPolicy{DeliveredBefore: far, FailedBefore: far})
	check(7)
	h.reopen(t)
	check(7)
	h.add(t, 1, "crm")
	check(8)
}
