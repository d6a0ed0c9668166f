package storagetest

import (
	"fmt"
	"testing"
	"time"

	"github.com/caddyrelay/caddyrelay/relay"
)

// list collects all pages of a query.
func (h *Harness) list(t *testing.T, q relay.EventQuery) []*relay.Event {
	t.Helper()
	var all []*relay.Event
	for range 100_000 {
		page, err := h.Store.Events(t.Context(), q)
		if err != nil || len(page.Events) > q.Limit {
			t.Fatalf("Events: %d of at most %d, %v", len(page.Events), q.Limit, err)
		}
		all = append(all, page.Events...)
		if page.Next == 0 {
			return all
		}
		if q.Before > 0 && page.Next >= q.Before {
			t.Fatalf("the page before %d goes on before %d", q.Before, page.Next)
		}
		q.Before = page.Next
	}
	t.Fatal("Events has a next page for ever")
	return nil
}

// wantList fails the test unless got are the events, newest first, without data.
func wantList(t *testing.T, what string, got, ascending []*relay.Event) {
	t.Helper()
	if len(got) != len(ascending) {
		t.Fatalf("%s: %d events, want %d", what, len(got), len(ascending))
	}
	for i, e := range got {
		want := *ascending[len(ascending)-1-i]
		want.Data = nil
		if e.Data != nil {
			t.Fatalf("%s: a list has data", what)
		}
		if !same(e, &want) {
			t.Fatalf("%s: at %d\n%+v\nwant\n%+v", what, i, e, want)
		}
	}
}

func listByTime(t *testing.T, h *Harness) {
	var all []*relay.Event
	for range 10 {
		all = append(all, h.add(t, 2, "crm")...)
		h.Clock.Advance(time.Second)
	}
	at := func(i int) time.Time { return Start.Add(time.Duration(i) * time.Second) }
	for _, test := range []struct {
		since, until time.Time
		want         []*relay.Event
	}{
		{want: all},
		{since: at(0), until: at(100), want: all},
		{since: at(4), want: all[8:]},
		{until: at(4), want: all[:8]},
		{since: at(4), until: at(5), want: all[8:10]},
		{since: at(4).Add(1), want: all[10:]},
		{until: at(4).Add(1), want: all[:10]},
		{since: at(4).Add(1), until: at(5).Add(1), want: all[10:12]},
		{since: at(5), until: at(5)},
		{since: at(7), until: at(3)},
		{since: at(50)},
		{until: at(-50)},
		{until: time.Unix(0, 0)},
	} {
		got := h.list(t, relay.EventQuery{Since: test.since, Until: test.until, Limit: 3})
		wantList(t, fmt.Sprintf("since %v until %v", test.since, test.until), got, test.want)
	}
}

func listByTypeAndMatch(t *testing.T, h *Harness) {
	var paid, unmatched, both []*relay.Event
	for i := range 30 {
		typ := []string{"order.paid", "Order.Paid", "order.refused"}[i%3]
		e := event(typ, "1")
		if i%4 == 0 {
			h.append(t, one(e))
			unmatched = append(unmatched, e)
		} else {
			h.append(t, one(e, "crm"))
		}
		if i%3 < 2 {
			paid = append(paid, e)
			if i%4 == 0 {
				both = append(both, e)
			}
		}
	}
	for range 2 {
		wantList(t, "type", h.list(t, relay.EventQuery{Type: "ORDER.paid", Limit: 4}), paid)
		wantList(t, "unmatched", h.list(t, relay.EventQuery{Unmatched: true, Limit: 4}), unmatched)
		wantList(t, "both", h.list(t, relay.EventQuery{Type: "order.paid", Unmatched: true, Limit: 4}), both)
		wantList(t, "none", h.list(t, relay.EventQuery{Type: "order", Limit: 4}), nil)
		h.reopen(t)
	}
}

func listPages(t *testing.T, h *Harness) {
	if got := h.list(t, relay.EventQuery{Limit: 5}); len(got) != 0 {
		t.Fatalf("an empty store lists %d", len(got))
	}
	all := h.add(t, 20, "crm")
	for _, limit := range []int{1, 6, 19, 20, 21} {
		wantList(t, "pages", h.list(t, relay.EventQuery{Limit: limit}), all)
	}
	wantList(t, "before", h.list(t, relay.EventQuery{Before: all[7].Seq, Limit: 5}), all[:7])
	wantList(t, "before a gap", h.list(t, relay.EventQuery{Before: all[19].Seq + 1000, Limit: 5}), all)
	if got := h.list(t, relay.EventQuery{Before: all[0].Seq, Limit: 5}); len(got) != 0 {
		t.Fatalf("before the first there are %d", len(got))
	}
}
