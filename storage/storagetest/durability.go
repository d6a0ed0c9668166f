package storagetest

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/caddyrelay/caddyrelay/relay"
)

// fullEvent has every field that a sender can fill.
func fullEvent() *relay.Event {
	return &relay.Event{
		Type:        "order.paid",
		Source:      "https://shop.example/orders",
		Subject:     "order-1",
		SourceID:    "A-1",
		Time:        time.Date(2026, 2, 28, 23, 59, 59, 123456789, time.FixedZone("", 2*60*60)),
		ContentType: "application/octet-stream",
		Data:        append([]byte{0, 255, '\n'}, bytes.Repeat([]byte("data"), 300)...),
		Extensions:  map[string]string{"tenant": "acme", "empty": ""},
		TraceParent: "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
		TraceState:  "vendor=1",
		Only:        []string{"billing", "crm"},
	}
}

func eventsSurviveReopen(t *testing.T, h *Harness) {
	events := []*relay.Event{
		fullEvent(),
		{Type: "bare"},
		{Type: "old", Time: time.Date(1, 1, 1, 0, 0, 1, 0, time.UTC)},
		{Type: "far", Time: time.Date(9999, 12, 31, 23, 59, 59, 999999999, time.UTC)},
		{Type: "large", Data: bytes.Repeat([]byte{'x'}, relay.MaxDataSize)},
	}
	for i, e := range events {
		h.Clock.Advance(time.Second)
		h.append(t, one(e, []string{"billing", "crm"}[:i%3]...))
	}
	check := func() {
		t.Helper()
		for _, e := range events {
			got, err := h.Store.Event(t.Context(), e.Seq)
			if err != nil {
				t.Fatalf("Event %s: %v", e.Type, err)
			}
			if !same(got, e) {
				t.Fatalf("Event %s:\n%+v\nwant\n%+v", e.Type, got, e)
			}
			if !got.Time.Equal(e.Time) {
				t.Fatalf("Event %s: time %v, want %v", e.Type, got.Time, e.Time)
			}
		}
		if got := h.read(t, "crm", 0); len(got) != 1 || !same(got[0].Event, events[2]) {
			t.Fatalf("Read: %+v", got)
		}
	}
	check()
	h.reopen(t)
	check()
	h.reopen(t)
	check()
}

func appendFillsEvent(t *testing.T, h *Harness) {
	a, b := event("order.paid", "1"), event("order.refused", "2")
	var stored []*relay.Event
	receipts, err := h.Store.Append(t.Context(), relay.Batch{Items: []relay.Item{
		{Event: a, Targets: Targets("crm", "billing")},
		{Event: b},
	}}, func(events []*relay.Event) { stored = events })
	if err != nil {
		t.Fatal(err)
	}
	if len(stored) != 2 || stored[0] != a || stored[1] != b {
		t.Fatalf("stored got %v, want the same events", stored)
	}
	if a.Seq == 0 || b.Seq <= a.Seq {
		t.Fatalf("Seqs are %d and %d", a.Seq, b.Seq)
	}
	for i, e := range []*relay.Event{a, b} {
		if !e.Accepted.Equal(Start) || !e.Accepted.Equal(e.Seq.Time()) {
			t.Fatalf("Accepted is %v, want %v", e.Accepted, Start)
		}
		seq, _, err := relay.ParseID(e.ID)
		if err != nil || seq != e.Seq {
			t.Fatalf("ID %q has Seq %d, %v; want %d", e.ID, seq, err, e.Seq)
		}
		r := receipts[i]
		if r.ID != e.ID || r.Type != e.Type || r.Duplicate || strings.Join(r.Matched, " ") != strings.Join(e.Matched(), " ") {
			t.Fatalf("receipt %+v of %+v", r, e)
		}
	}
	want := []relay.Placement{{Subscription: "crm", Pos: 1}, {Subscription: "billing", Pos: 1}}
	if len(a.Deliveries) != 2 || a.Deliveries[0] != want[0] || a.Deliveries[1] != want[1] || len(b.Deliveries) != 0 {
		t.Fatalf("Deliveries are %v and %v", a.Deliveries, b.Deliveries)
	}
}

func emptyBatch(t *testing.T, h *Harness) {
	receipts, err := h.Store.Append(t.Context(), relay.Batch{}, func([]*relay.Event) { t.Error("stored was called") })
	if err != nil || len(receipts) != 0 {
		t.Fatalf("Append: %v, %v", receipts, err)
	}
	if err := h.Store.Commit(t.Context(), nil); err != nil {
		t.Fatalf("Commit: %v", err)
	}
}

// fullProgress has every field filled.
func fullProgress(name string) relay.Progress {
	return relay.Progress{
		Subscription: name, Low: 2, Done: []relay.Span{{From: 4, To: 4}, {From: 6, To: 9}},
		Delivered: 1, Failed: 2, Superseded: 3, Open: 4,
		Paused: true, PausedReason: "maintenance", Disabled: true, DisabledReason: "gone",
		HoldUntil: Start.Add(time.Hour), LastSuccess: Start.Add(1), FailingSince: Start.Add(2), FailingFor: time.Minute,
		ProbeAt: Start.Add(3), ResumedAt: Start.Add(4), NextDue: Start.Add(5),
	}
}

func updatesSurviveReopen(t *testing.T, h *Harness) {
	events := h.add(t, 10, "crm")
	p := fullProgress("crm")
	p.Head = 77 // ignored
	open := relay.Exception{
		From: 4, To: 4, Seq: events[3].Seq, Kind: relay.Retry, Attempts: 3, Step: 2,
		Due: Start.Add(time.Minute), Since: Start.Add(-time.Minute), At: Start.Add(5), Key: "order-4", Reason: "status",
	}
	closed := relay.Exception{From: 6, To: 6, Seq: events[5].Seq, Kind: relay.Failed, Attempts: 9, Reason: "schedule"}
	attempt := relay.Attempt{
		Number: 3, At: Start.Add(time.Second), Duration: 1500 * time.Microsecond, Status: 503,
		Error: "the endpoint answered 503", ErrorKind: relay.Kind5xx,
		Local: "192.0.2.1:4000", Remote: "198.51.100.7:443", Excerpt: []byte("busy"),
	}
	h.commit(t, relay.Update{
		Progress: p, Put: []relay.Exception{open, closed},
		Attempts: []relay.AttemptRecord{{Seq: events[3].Seq, Attempt: attempt}},
	}, relay.Update{Progress: relay.Progress{Subscription: "never-matched", Paused: true}})
	p.Head = 10
	check := func() {
		t.Helper()
		all := h.progress(t)
		if !same(all["crm"], p) {
			t.Fatalf("Progress:\n%+v\nwant\n%+v", all["crm"], p)
		}
		if other := all["never-matched"]; !other.Paused || other.Head != 0 {
			t.Fatalf("Progress of a name without a log: %+v", other)
		}
		if got := h.exception(t, "crm", 4); !same(got, &open) {
			t.Fatalf("open exception:\n%+v\nwant\n%+v", got, open)
		}
		if got := h.exception(t, "crm", 6); !same(got, &closed) {
			t.Fatalf("closed exception:\n%+v\nwant\n%+v", got, closed)
		}
		attempts, err := h.Store.Attempts(t.Context(), events[3].Seq, "crm")
		if err != nil || !same(attempts, []relay.Attempt{attempt}) {
			t.Fatalf("Attempts: %+v, %v; want %+v", attempts, err, attempt)
		}
	}
	check()
	h.reopen(t)
	check()
	h.add(t, 5, "crm")
	p.Head = 15
	check()
	h.reopen(t)
	check()
}
