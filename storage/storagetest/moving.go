package storagetest

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/caddyrelay/caddyrelay/relay"
)

// RunMoving tests that the stores which open makes keep the contract of [relay.Mover].
func RunMoving(t *testing.T, open func(t *testing.T) Harness) {
	for _, test := range []struct {
		name string
		test func(t *testing.T, h *Harness)
	}{
		{"AdoptedEventsKeepWhatTheyAre", adoptedEventsKeepWhatTheyAre},
		{"AdoptedOnce", adoptedOnce},
		{"AdoptedAmongOthers", adoptedAmongOthers},
		{"AdoptedAreTrimmedAndErased", adoptedAreTrimmedAndErased},
		{"AdoptTooMuch", adoptTooMuch},
		{"AdoptedForMany", adoptedForMany},
		{"AdoptedKeysAnswer", adoptedKeysAnswer},
		{"KeysInPages", keysInPages},
	} {
		t.Run(test.name, func(t *testing.T) {
			h := open(t)
			test.test(t, &h)
		})
	}
}

// otherTag is that of the store that moved events come from.
const otherTag = 0x1234

// moved makes the n-th event of another store, accepted a day before Start, with a delivery
// for each exception: to "crm", "billing", ...
func moved(n int, exceptions ...relay.Exception) relay.Moved {
	seq := relay.SeqAt(Start.AddDate(0, 0, -1)) + relay.Seq(n)
	e := event("order.paid", fmt.Sprintf(`{"moved":%d}`, n))
	e.ID, e.Seq, e.Accepted = relay.FormatID(seq, otherTag), seq, seq.Time()
	e.Source, e.SourceID, e.Only = "/shop", "o-1", []string{"crm"}
	e.Extensions = map[string]string{"tenant": "a"}
	e.TraceParent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	m := relay.Moved{Event: e, Exceptions: exceptions}
	for i := range exceptions {
		e.Deliveries = append(e.Deliveries, relay.Placement{Subscription: []string{"crm", "billing", "archive"}[i], Pos: 70 + uint64(i), Key: "k"})
	}
	return m
}

// retryOf is what is known of a delivery that was attempted twice.
func retryOf() relay.Exception {
	return relay.Exception{
		Kind: relay.Retry, Attempts: 2, Step: 2, At: Start.Add(-time.Hour), Due: Start.Add(time.Hour), Since: Start.Add(-2 * time.Hour), Key: "k", Reason: "replayed",
	}
}

func (h *Harness) mover() relay.Mover { return h.Store.(relay.Mover) }

func (h *Harness) adopt(t *testing.T, all ...relay.Moved) (stored []relay.Moved) {
	t.Helper()
	n, err := h.mover().Adopt(t.Context(), all, func(m []relay.Moved) { stored = append(stored, m...) })
	if err != nil || n != len(stored) {
		t.Fatalf("Adopt: %d, %v; stored was told of %d", n, err, len(stored))
	}
	return stored
}

func (h *Harness) find(t *testing.T, id string) *relay.Event {
	t.Helper()
	seq, err := h.Store.Find(t.Context(), id)
	if err != nil {
		t.Fatalf("Find: %v", err)
	}
	e, err := h.Store.Event(t.Context(), seq)
	if err != nil {
		t.Fatalf("Event: %v", err)
	}
	return e
}

func adoptedEventsKeepWhatTheyAre(t *testing.T, h *Harness) {
	given := moved(1, retryOf(), relay.Exception{Kind: relay.Failed, Attempts: 3, At: Start.Add(-time.Hour), Reason: "schedule"}, relay.Exception{Kind: relay.Delivered})
	stored := h.adopt(t, given)
	if len(stored) != 1 {
		t.Fatalf("stored was told of %d", len(stored))
	}
	want := *given.Event
	want.Moved, want.Size, want.Seq = true, len(want.Data), stored[0].Event.Seq
	want.Deliveries = []relay.Placement{{Subscription: "crm", Pos: 1, Key: "k"}, {Subscription: "billing", Pos: 1, Key: "k"}, {Subscription: "archive", Pos: 1, Key: "k"}}
	if !want.Seq.Time().Equal(Start) {
		t.Errorf("its Seq is of %v; want now, %v", want.Seq.Time(), Start)
	}
	check := func(when string) {
		t.Helper()
		if got := h.find(t, want.ID); !same(got, &want) {
			t.Errorf("%s: got %+v, want %+v", when, got, &want)
		}
		for i, p := range want.Deliveries {
			x := given.Exceptions[i]
			x.From, x.To, x.Seq = 1, 1, want.Seq
			if got := h.exception(t, p.Subscription, 1); !same(got, &x) {
				t.Errorf("%s, %s: got %+v, want %+v", when, p.Subscription, got, x)
			}
			if entries := h.read(t, p.Subscription, 0); len(entries) != 1 || !same(entries[0].Event, &want) {
				t.Errorf("%s: the log of %s has %+v", when, p.Subscription, entries)
			}
		}
		page, err := h.Store.Events(t.Context(), relay.EventQuery{Limit: 10, Since: Start})
		if err != nil || len(page.Events) != 1 || page.Events[0].ID != want.ID || !page.Events[0].Accepted.Equal(want.Accepted) {
			t.Errorf("%s: listed are %+v, %v", when, page.Events, err)
		}
	}
	if got := stored[0].Event; !same(got, &want) || stored[0].Exceptions[0].From != 1 || stored[0].Exceptions[0].Seq != want.Seq {
		t.Errorf("stored was told of %+v, %+v; want %+v", got, stored[0].Exceptions, &want)
	}
	check("then")
	h.reopen(t)
	check("after reopening")
	if h.Kill != nil {
		h.Store = h.Kill(t)
		check("after a kill")
	}
}

func adoptedOnce(t *testing.T, h *Harness) {
	own := h.add(t, 1, "crm")[0]
	h.adopt(t, moved(1, retryOf()), moved(2, retryOf()))
	again := moved(1, retryOf())
	again.Event.ID = own.ID
	if stored := h.adopt(t, moved(2, retryOf()), moved(3, retryOf()), moved(3, retryOf()), again); len(stored) != 1 || stored[0].Event.ID != moved(3).Event.ID {
		t.Errorf("stored are %+v; want the third alone", stored)
	}
	h.reopen(t)
	if stored := h.adopt(t, moved(1, retryOf()), moved(2, retryOf()), moved(3, retryOf())); len(stored) != 0 {
		t.Errorf("stored again are %+v", stored)
	}
	if n := len(h.read(t, "crm", 0)); n != 4 {
		t.Errorf("the log has %d entries; want 4", n)
	}
	if _, err := h.Store.Find(t.Context(), moved(4).Event.ID); !errors.Is(err, relay.ErrNotFound) {
		t.Errorf("an unknown ID of another store: %v", err)
	}
}

// Events of before and after stay where they are, and no ordinal is missing.
func adoptedAmongOthers(t *testing.T, h *Harness) {
	before := h.add(t, 2, "crm")
	stored := h.adopt(t, moved(1, retryOf()))
	after := h.add(t, 2, "crm")
	entries := h.read(t, "crm", 0)
	if len(entries) != 5 {
		t.Fatalf("the log has %d entries; want 5", len(entries))
	}
	for i, want := range []*relay.Event{before[0], before[1], stored[0].Event, after[0], after[1]} {
		if e := entries[i]; e.Pos != uint64(i+1) || e.Event.ID != want.ID || e.Event.Seq != want.Seq || i > 0 && e.Event.Seq <= entries[i-1].Event.Seq {
			t.Errorf("entry %d is %+v; want %+v", i, e, want)
		}
	}
	if p := h.progress(t)["crm"]; p.Head != 5 {
		t.Errorf("the head is %d; want 5", p.Head)
	}
	stats, err := h.Store.Stats(t.Context())
	if err != nil || stats.Events != 5 {
		t.Errorf("%d events, %v; want 5", stats.Events, err)
	}
	if err := h.Store.Place(t.Context(), stored[0].Event.Seq, relay.Target{Subscription: "late"}, func(e *relay.Event) {
		if e.ID != stored[0].Event.ID || !e.Moved {
			t.Errorf("placed is %+v", e)
		}
	}); err != nil {
		t.Fatal(err)
	}
	h.reopen(t)
	if e := h.find(t, stored[0].Event.ID); len(e.Deliveries) != 2 || e.Seq != stored[0].Event.Seq {
		t.Errorf("after a Place it is %+v", e)
	}
}

func adoptedAreTrimmedAndErased(t *testing.T, h *Harness) {
	stored := h.adopt(t, moved(1, relay.Exception{Kind: relay.Failed, Reason: "schedule"}), moved(2, relay.Exception{Kind: relay.Failed, Reason: "schedule"}))
	id := stored[0].Event.ID
	if err := h.Store.Erase(t.Context(), stored[0].Event.Seq, nil); err != nil {
		t.Fatal(err)
	}
	if e := h.find(t, id); e.Erased.IsZero() || len(e.Data) > 0 || e.ID != id || !e.Accepted.Equal(stored[0].Event.Accepted) {
		t.Errorf("erased, it is %+v", e)
	}
	h.finish(t, 2, "crm")
	h.Clock.Advance(time.Hour)
	// They count from when they came here, though they were accepted a day before.
	if n, _ := h.trim(t, relay.TrimPolicy{DeliveredBefore: Start, FailedBefore: Start}); n != 0 {
		t.Errorf("%d were trimmed too early", n)
	}
	later := Start.Add(time.Minute)
	if n, _ := h.trim(t, relay.TrimPolicy{DeliveredBefore: later, FailedBefore: later}); n != 2 {
		t.Errorf("%d were trimmed; want 2", n)
	}
	if _, err := h.Store.Find(t.Context(), id); !errors.Is(err, relay.ErrNotFound) {
		t.Errorf("after trimming: %v", err)
	}
	if again := h.adopt(t, moved(1, retryOf())); len(again) != 1 || again[0].Exceptions[0].From != 3 {
		t.Errorf("what was trimmed is adopted as %+v", again)
	}
}

func adoptTooMuch(t *testing.T, h *Harness) {
	var all []relay.Moved
	for i := range 20 {
		m := moved(i+1, retryOf())
		m.Event.Data = []byte(`"` + strings.Repeat("x", 900<<10) + `"`)
		all = append(all, m)
	}
	called := false
	_, err := h.mover().Adopt(t.Context(), all, func([]relay.Moved) { called = true })
	if err == nil {
		return // this store takes 18 MB at once
	}
	large, ok := errors.AsType[*relay.BatchTooLargeError](err)
	if called {
		t.Error("stored was called of what was refused")
	}
	if !ok || large.Fits < 1 {
		t.Fatalf("%v; want that it is too large, and how many fit", err)
	}
	if stored := h.adopt(t, all[:large.Fits]...); len(stored) != large.Fits {
		t.Errorf("%d of those that fit were stored; want %d", len(stored), large.Fits)
	}
}

// adoptedForMany adopts an event for as many subscriptions as one could be appended for.
func adoptedForMany(t *testing.T, h *Harness) {
	const n = 10_000
	m := moved(1)
	for i := range n {
		x := retryOf()
		if i%2 == 0 {
			x = relay.Exception{Kind: relay.Delivered, Attempts: 1}
		}
		m.Exceptions = append(m.Exceptions, x)
		m.Event.Deliveries = append(m.Event.Deliveries, relay.Placement{Subscription: fmt.Sprint("s", i), Pos: 1})
	}
	if stored := h.adopt(t, m); len(stored) != 1 || len(stored[0].Event.Deliveries) != n {
		t.Fatalf("%d were stored", len(stored))
	}
	// Beside it there is room for others, in a batch of their own.
	other := moved(2)
	other.Event.Deliveries, other.Exceptions = m.Event.Deliveries, m.Exceptions
	n2, err := h.mover().Adopt(t.Context(), []relay.Moved{m, other, moved(3, retryOf())}, func([]relay.Moved) {})
	if large, ok := errors.AsType[*relay.BatchTooLargeError](err); ok && large.Fits > 1 {
		n2, err = h.mover().Adopt(t.Context(), []relay.Moved{other}, func([]relay.Moved) {})
	}
	if err != nil || n2 < 1 {
		t.Errorf("%d were adopted, %v", n2, err)
	}
	if e := h.find(t, m.Event.ID); e == nil || len(e.Deliveries) != n {
		t.Error("the event is not whole")
	}
}

func adoptedKeysAnswer(t *testing.T, h *Harness) {
	key := relay.Key{Kind: relay.KeyHeader, Text: "k-1", Sum: [32]byte{1}}
	first := moved(1, retryOf())
	receipts := []relay.Receipt{{ID: first.Event.ID, Type: "order.paid", Matched: []string{"crm"}}}
	given := relay.MovedKey{Hash: key.Hash(), Sum: key.Sum, Stored: Start.Add(-time.Hour), Receipts: receipts}
	for want := 1; want >= 0; want-- {
		if n, err := h.mover().AdoptKeys(t.Context(), []relay.MovedKey{given}); err != nil || n != want {
			t.Fatalf("AdoptKeys: %d, %v; want %d", n, err, want)
		}
	}
	h.reopen(t)
	b := one(event("order.paid", "1"), "crm")
	b.Items[0].Key = &key
	got := h.append(t, b)
	want := receipts[0]
	want.Duplicate = true
	if len(got) != 1 || got[0].ID != want.ID || !got[0].Duplicate || fmt.Sprint(got[0].Matched) != "[crm]" {
		t.Errorf("a repeat is answered %+v; want %+v", got, want)
	}
	other := key
	other.Sum = [32]byte{2}
	b = one(event("order.paid", "2"), "crm")
	b.Items[0].Key = &other
	_, err := h.Store.Append(t.Context(), b, nil)
	wantError(t, "the key with other content", err, relay.ErrKeyReused)
	// It is forgotten when it would have been there.
	if _, n := h.trim(t, relay.TrimPolicy{KeysBefore: Start.Add(-time.Hour + time.Millisecond)}); n != 1 {
		t.Errorf("%d keys were trimmed; want 1", n)
	}
}

func keysInPages(t *testing.T, h *Harness) {
	want := make(map[relay.KeyHash]string)
	for i := range 25 {
		key := relay.Key{Kind: relay.KeyHeader, Text: fmt.Sprint("k-", i), Sum: [32]byte{byte(i)}}
		b := one(event("order.paid", fmt.Sprint(i)), "crm")
		b.Items[0].Key = &key
		want[key.Hash()] = h.append(t, b)[0].ID
	}
	var after *relay.KeyHash
	for {
		keys, next, err := h.mover().Keys(t.Context(), after, 10)
		if err != nil || len(keys) == 0 {
			t.Fatalf("Keys: %d, %v", len(keys), err)
		}
		for _, k := range keys {
			id, ok := want[k.Hash]
			if !ok || len(k.Receipts) != 1 || k.Receipts[0].ID != id || k.Receipts[0].Duplicate || !k.Stored.Equal(Start) {
				t.Errorf("%+v; want a receipt of %q", k, id)
			}
			delete(want, k.Hash)
		}
		if after = next; next == nil {
			break
		}
	}
	if len(want) > 0 {
		t.Errorf("%d keys were not given out", len(want))
	}
}
