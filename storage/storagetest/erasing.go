package storagetest

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/caddyrelay/caddyrelay/relay"
)

// secret is what nobody may read after an erasure.
const secret = "4929-1234-5678-9012"

// telling is an attempt that keeps an answer which repeats what was sent.
func telling(s relay.Seq, pos uint64, number int) relay.AttemptRecord {
	return relay.AttemptRecord{Seq: s, Pos: pos, Attempt: relay.Attempt{
		Number: number, At: Start, Status: 500, ErrorKind: relay.Kind5xx,
		Error: "no such card: " + secret, Excerpt: []byte(secret),
	}}
}

func erasedAt(pos uint64, s relay.Seq) relay.Exception {
	return relay.Exception{From: pos, To: pos, Seq: s, Kind: relay.Erased, Attempts: 1, At: Start, Reason: "erased"}
}

// seen is everything that can be read of a store, as text.
func (h *Harness) seen(t *testing.T, events []*relay.Event) string {
	t.Helper()
	var all strings.Builder
	note := func(v any) { fmt.Fprintf(&all, "%+v %q\n", plain(v), v) }
	event := func(e *relay.Event) { fmt.Fprintf(&all, "%+v %s\n", *e, e.Data) }
	for _, e := range h.list(t, relay.EventQuery{Limit: 100}) {
		event(e)
	}
	for _, e := range events {
		event(h.event(t, e.Seq))
	}
	for name := range h.progress(t) {
		for _, e := range h.read(t, name, 0) {
			event(e.Event)
		}
		for _, x := range h.open(t, name, 0, 1000) {
			note(x)
		}
		for pos := uint64(1); pos < 10; pos++ {
			if x := h.exception(t, name, pos); x != nil {
				note(*x)
			}
		}
		for _, e := range events {
			attempts, err := h.Store.Attempts(t.Context(), e.Seq, name)
			if err != nil {
				t.Fatal(err)
			}
			for _, a := range attempts {
				fmt.Fprintf(&all, "%+v %s\n", a, a.Excerpt)
			}
		}
	}
	return all.String()
}

// eraseLeavesNoByte: an event that is partly delivered, failed, retried and pending.
func eraseLeavesNoByte(t *testing.T, h *Harness) {
	target := func(names ...string) (targets []relay.Target) {
		for _, name := range names {
			targets = append(targets, relay.Target{Subscription: name, Key: secret})
		}
		return targets
	}
	names := []string{"delivered", "failed", "retried", "pending"}
	before, e, after := event("order.paid", "1"), event("order.paid", `{"card":"`+secret+`"}`), event("order.paid", "3")
	e.Subject = "order-7"
	batch := keyed(e, "k", 1)
	batch.Items[0].Targets = target(names...)
	h.append(t, one(before, names...))
	h.append(t, batch)
	h.append(t, one(after, names...))
	all := []*relay.Event{before, e, after}
	retried, given := retry(2), failed(2)
	retried.Key, given.Key = secret, secret
	attempts := []relay.AttemptRecord{telling(e.Seq, 2, 1)}
	h.commit(t,
		relay.Update{Progress: relay.Progress{Subscription: "delivered", Low: 2, Delivered: 2}, Attempts: attempts},
		relay.Update{Progress: relay.Progress{Subscription: "failed", Low: 2, Failed: 1}, Put: []relay.Exception{given}, Attempts: attempts},
		relay.Update{Progress: relay.Progress{Subscription: "retried", Low: 2, Open: 1}, Put: []relay.Exception{retried}, Attempts: attempts},
	)
	if !strings.Contains(h.seen(t, all), secret) {
		t.Fatal("the secret is not seen before the erasure either: this tests nothing")
	}

	h.Clock.Advance(time.Minute)
	closed := erasedAt(2, e.Seq)
	ended := []relay.Update{
		{Progress: relay.Progress{Subscription: "retried", Low: 2, Failed: 1}, Put: []relay.Exception{closed}},
		{
			Progress: relay.Progress{Subscription: "pending", Done: []relay.Span{{From: 2, To: 2}}, Failed: 1},
			Put:      []relay.Exception{closed}, Attempts: attempts, // was under way
		},
	}
	if err := h.Store.Erase(t.Context(), e.Seq, ended); err != nil {
		t.Fatalf("Erase: %v", err)
	}
	want := *e
	want.Data, want.Size, want.Erased = nil, 0, Start.Add(time.Minute)
	want.Deliveries = nil
	for _, name := range names {
		want.Deliveries = append(want.Deliveries, relay.Placement{Subscription: name, Pos: 2})
	}
	check := func() {
		t.Helper()
		if text := h.seen(t, all); strings.Contains(text, secret) {
			t.Fatalf("the secret is still there:\n%s", text)
		}
		if got := h.event(t, e.Seq); !same(got, &want) {
			t.Fatalf("the event is\n%+v\nwant\n%+v", got, want)
		}
		for _, other := range []*relay.Event{before, after} {
			if got := h.event(t, other.Seq); !same(got, other) {
				t.Fatalf("another event is\n%+v\nwant\n%+v", got, other)
			}
		}
		for name, x := range map[string]*relay.Exception{"delivered": nil, "failed": ptr(failed(2)), "retried": &closed, "pending": &closed} {
			if got := h.exception(t, name, 2); !same(got, x) {
				t.Fatalf("%s has %+v, want %+v", name, got, x)
			}
			if open := h.open(t, name, 0, 10); len(open) != 0 {
				t.Fatalf("%s has open %+v", name, open)
			}
			got, err := h.Store.Attempts(t.Context(), e.Seq, name)
			if err != nil || len(got) != 1 || got[0].Number != 1 || got[0].Status != 500 || got[0].ErrorKind != relay.Kind5xx {
				t.Fatalf("%s has the attempts %+v, %v", name, got, err)
			}
		}
		progress := h.progress(t)
		if progress["retried"].Failed != 1 || progress["pending"].Failed != 1 || len(progress["pending"].Done) != 1 {
			t.Fatalf("%+v", progress)
		}
	}
	check()
	h.reopen(t)
	check()
	// Again, and an attempt that ends only now.
	h.Clock.Advance(time.Minute)
	if err := h.Store.Erase(t.Context(), e.Seq, ended); err != nil {
		t.Fatalf("Erase again: %v", err)
	}
	h.commit(t, relay.Update{Progress: relay.Progress{Subscription: "delivered", Low: 2, Delivered: 2}, Attempts: attempts})
	check()
	// What is known of its key stays; it cannot be placed again, and nor can what is not there.
	batch.Items[0].Event = event("order.paid", `{"card":"`+secret+`"}`)
	if got := h.append(t, batch); !got[0].Duplicate || got[0].ID != e.ID {
		t.Fatalf("a repeat got %+v, want the ID %s again", got, e.ID)
	}
	err := h.Store.Place(t.Context(), e.Seq, relay.Target{Subscription: "late"}, func(*relay.Event) { t.Error("placed was called") })
	wantError(t, "Place", err, relay.ErrErased)
	wantError(t, "Erase", h.Store.Erase(t.Context(), after.Seq+1, nil), relay.ErrNotFound)
	// It counts as failed, and goes with its age.
	h.finish(t, 3, names...)
	if n, _ := h.trim(t, relay.TrimPolicy{DeliveredBefore: h.Clock.Now(), FailedBefore: Start}); n != 2 {
		t.Fatalf("trimmed %d events, want the 2 that were delivered", n)
	}
	h.wantKept(t, []*relay.Event{before, &want, after}, 1)
	if n, _ := h.trim(t, relay.TrimPolicy{FailedBefore: h.Clock.Now()}); n != 1 {
		t.Fatalf("trimmed %d events, want 1", n)
	}
	wantError(t, "Erase of what was trimmed", h.Store.Erase(t.Context(), e.Seq, nil), relay.ErrNotFound)
}

func ptr[T any](v T) *T { return &v }

// eraseMuch is more than an engine may take in one transaction of its own.
func eraseMuch(t *testing.T, h *Harness) {
	const subscriptions, attempts = 60, 50
	var names []string
	for i := range subscriptions {
		names = append(names, fmt.Sprint("s", i))
	}
	e := event("order.paid", secret)
	h.append(t, one(e, names...))
	var ended []relay.Update
	for _, name := range names {
		u := relay.Update{Progress: relay.Progress{Subscription: name, Low: 1, Open: 1}, Put: []relay.Exception{retry(1)}}
		for n := range attempts {
			a := telling(e.Seq, 1, n+1)
			a.Excerpt = bytes.Repeat([]byte(secret), 200)
			u.Attempts = append(u.Attempts, a)
		}
		h.commit(t, u)
		ended = append(ended, relay.Update{
			Progress: relay.Progress{Subscription: name, Low: 1, Failed: 1}, Put: []relay.Exception{erasedAt(1, e.Seq)},
		})
	}
	if err := h.Store.Erase(t.Context(), e.Seq, ended); err != nil {
		t.Fatalf("Erase: %v", err)
	}
	for range 2 {
		if strings.Contains(h.seen(t, []*relay.Event{e}), secret) {
			t.Fatal("the secret is still there")
		}
		for _, name := range names {
			got, err := h.Store.Attempts(t.Context(), e.Seq, name)
			if err != nil || len(got) != attempts {
				t.Fatalf("%s has %d attempts, %v", name, len(got), err)
			}
			if x := h.exception(t, name, 1); !same(x, ptr(erasedAt(1, e.Seq))) {
				t.Fatalf("%s has %+v", name, x)
			}
		}
		h.reopen(t)
	}
}
