package storagetest

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/caddyrelay/caddyrelay/relay"
)

// Harness is a store to be tested.
type Harness struct {
	// Store is new and empty.
	Store relay.Store
	// Clock is what the store takes the time from.
	Clock *Clock
	// Reopen closes the store cleanly and opens it again.
	Reopen func(t *testing.T) relay.Store
	// Kill opens what is there after a kill -9. It is nil where that cannot be told from
	// Reopen.
	Kill func(t *testing.T) relay.Store
}

// Start is a time for the clocks of harnesses.
var Start = time.Date(2026, time.March, 1, 12, 0, 0, 0, time.UTC)

// Run tests that the stores which open makes keep the contract of [relay.Store]. What
// open needs to clean up it leaves to t.Cleanup, where Close of a closed store must
// do no harm.
func Run(t *testing.T, open func(t *testing.T) Harness) {
	tests := []struct {
		name string
		test func(t *testing.T, h *Harness)
	}{
		{"EventsSurviveReopen", eventsSurviveReopen},
		{"AppendFillsEvent", appendFillsEvent},
		{"EmptyBatch", emptyBatch},
		{"ConfirmHasTheLastWord", confirmHasTheLastWord},
		{"UpdatesSurviveReopen", updatesSurviveReopen},
		{"CursorSkipsNothing", cursorSkipsNothing},
		{"StoredInCommitOrder", storedInCommitOrder},
		{"StoredMayRead", storedMayRead},
		{"EndedContextStoresNothing", endedContextStoresNothing},
		{"SeqNeverFallsBack", seqNeverFallsBack},
		{"RefusedBatchLeavesNothing", refusedBatchLeavesNothing},
		{"SameKeysOneEvent", sameKeysOneEvent},
		{"KeyReused", keyReused},
		{"KeyKindsDoNotCollide", keyKindsDoNotCollide},
		{"BatchKey", batchKey},
		{"ItemKeys", itemKeys},
		{"KeyOfBatchForItem", keyOfBatchForItem},
		{"RepeatsWithinBatch", repeatsWithinBatch},
		{"KeysOutliveEvents", keysOutliveEvents},
		{"KeysAreForgotten", keysAreForgotten},
		{"ReadPages", readPages},
		{"ReadBounds", readBounds},
		{"LogPages", logPages},
		{"UnknownNames", unknownNames},
		{"FindEvents", findEvents},
		{"ExceptionTransitions", exceptionTransitions},
		{"ReplaysStandBeside", replaysStandBeside},
		{"SpansCover", spansCover},
		{"OpenPages", openPages},
		{"AttemptsAreForgotten", attemptsAreForgotten},
		{"NeighboursKeepTheirAttempts", neighboursKeepTheirAttempts},
		{"LargeUpdate", largeUpdate},
		{"HugeUpdate", hugeUpdate},
		{"ProgressIsACopy", progressIsACopy},
		{"ListByTime", listByTime},
		{"ListByTypeAndMatch", listByTypeAndMatch},
		{"ListPages", listPages},
		{"TrimFinishedOnly", trimFinishedOnly},
		{"TrimKeepsFailedLonger", trimKeepsFailedLonger},
		{"TrimKeepsOpenAndReplays", trimKeepsOpenAndReplays},
		{"TrimKeepsSpansAhead", trimKeepsSpansAhead},
		{"TrimNeverReusesNumbers", trimNeverReusesNumbers},
		{"TrimInSteps", trimInSteps},
		{"TrimSpares", trimSpares},
		{"TrimBySize", trimBySize},
		{"PlaceAddsToOneMoreLog", placeAddsToOneMoreLog},
		{"PlaceKeepsFromTrim", placeKeepsFromTrim},
		{"OrderKeysSurviveReopen", orderKeysSurviveReopen},
		{"NotesSurviveReopen", notesSurviveReopen},
		{"NotesAreSwappedOnce", notesAreSwappedOnce},
		{"NotesAreNoEvents", notesAreNoEvents},
		{"EraseLeavesNoByte", eraseLeavesNoByte},
		{"EraseMuch", eraseMuch},
		{"Stats", stats},
		{"ClosedStore", closedStore},
		{"CloseUnderLoad", closeUnderLoad},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			h := open(t)
			test.test(t, &h)
		})
	}
	t.Run("Model", func(t *testing.T) { model(t, open) })
}

func (h *Harness) reopen(t *testing.T) {
	t.Helper()
	h.Store = h.Reopen(t)
}

// event returns an event that can be told from others by its data.
func event(typ, data string) *relay.Event {
	return &relay.Event{Type: typ, ContentType: "application/json", Data: []byte(data)}
}

func one(e *relay.Event, subscriptions ...string) relay.Batch {
	return relay.Batch{Items: []relay.Item{{Event: e, Targets: Targets(subscriptions...)}}}
}

// add appends n events to the logs of the subscriptions, one batch for all.
func (h *Harness) add(t *testing.T, n int, subscriptions ...string) []*relay.Event {
	t.Helper()
	var b relay.Batch
	var events []*relay.Event
	for i := range n {
		e := event("order.paid", fmt.Sprintf(`{"n":%d}`, i))
		events = append(events, e)
		b.Items = append(b.Items, relay.Item{Event: e, Targets: Targets(subscriptions...)})
	}
	h.append(t, b)
	return events
}

func (h *Harness) append(t *testing.T, b relay.Batch) []relay.Receipt {
	t.Helper()
	receipts, err := h.Store.Append(t.Context(), b, nil)
	if err != nil {
		t.Fatalf("Append: %v", err)
	}
	return receipts
}

func (h *Harness) commit(t *testing.T, updates ...relay.Update) {
	t.Helper()
	if err := h.Store.Commit(t.Context(), updates); err != nil {
		t.Fatalf("Commit: %v", err)
	}
}

func (h *Harness) progress(t *testing.T) map[string]relay.Progress {
	t.Helper()
	all := make(map[string]relay.Progress)
	for p, err := range h.Store.Progress(t.Context()) {
		if err != nil {
			t.Fatalf("Progress: %v", err)
		}
		if _, ok := all[p.Subscription]; ok {
			t.Fatalf("Progress yields %q twice", p.Subscription)
		}
		all[p.Subscription] = p
	}
	return all
}

func (h *Harness) read(t *testing.T, subscription string, after uint64) []relay.Entry {
	t.Helper()
	entries, err := h.Store.Read(t.Context(), subscription, after, 1<<20, 1<<30)
	if err != nil {
		t.Fatalf("Read: %v", err)
	}
	return entries
}

func (h *Harness) exception(t *testing.T, subscription string, pos uint64) *relay.Exception {
	t.Helper()
	e, ok, err := h.Store.Exception(t.Context(), subscription, pos)
	if err != nil {
		t.Fatalf("Exception: %v", err)
	}
	if !ok {
		return nil
	}
	return &e
}

// trim trims until nothing is left to do.
func (h *Harness) trim(t *testing.T, p relay.TrimPolicy) (events, keys int) {
	t.Helper()
	for range 10_000 {
		done, err := h.Store.Trim(t.Context(), p)
		if err != nil {
			t.Fatalf("Trim: %v", err)
		}
		events += done.Events
		keys += done.Keys
		if !done.More {
			return events, keys
		}
	}
	t.Fatal("Trim says More for ever")
	return 0, 0
}

// finish marks all positions of the logs up to low as delivered.
func (h *Harness) finish(t *testing.T, low uint64, subscriptions ...string) {
	t.Helper()
	for _, name := range subscriptions {
		h.commit(t, relay.Update{Progress: relay.Progress{Subscription: name, Low: low, Delivered: low}})
	}
}

// same compares what a store returns with what is expected, times as instants.
func same(a, b any) bool { return reflect.DeepEqual(plain(a), plain(b)) }

// plain rewrites a value so that reflect.DeepEqual means equal in the sense of the
// contract: times by instant and offset, empty lists like nil ones.
func plain(v any) any {
	switch v := v.(type) {
	case *relay.Event:
		if v == nil {
			return nil
		}
		e := *v
		e.Time = plainTime(e.Time)
		e.Accepted = plainTime(e.Accepted)
		if len(e.Data) == 0 {
			e.Data = nil
		}
		if len(e.Deliveries) == 0 {
			e.Deliveries = nil
		}
		if len(e.Extensions) == 0 {
			e.Extensions = nil
		}
		return e
	case []*relay.Event:
		return each(v)
	case relay.Entry:
		return [2]any{v.Pos, plain(v.Event)}
	case []relay.Entry:
		return each(v)
	case relay.Progress:
		v.HoldUntil, v.LastSuccess, v.FailingSince = plainTime(v.HoldUntil), plainTime(v.LastSuccess), plainTime(v.FailingSince)
		v.ProbeAt, v.ResumedAt, v.NextDue = plainTime(v.ProbeAt), plainTime(v.ResumedAt), plainTime(v.NextDue)
		if len(v.Done) == 0 {
			v.Done = nil
		}
		return v
	case relay.Exception:
		v.Due, v.Since = plainTime(v.Due), plainTime(v.Since)
		return v
	case *relay.Exception:
		if v == nil {
			return nil
		}
		return plain(*v)
	case []relay.Exception:
		return each(v)
	case relay.Attempt:
		v.At = plainTime(v.At)
		if len(v.Excerpt) == 0 {
			v.Excerpt = nil
		}
		return v
	case []relay.Attempt:
		return each(v)
	case []relay.LogEntry:
		return slices.Concat([]relay.LogEntry{}, v)
	}
	return v
}

func each[T any](list []T) []any {
	out := make([]any, len(list))
	for i, v := range list {
		out[i] = plain(v)
	}
	return out
}

func plainTime(t time.Time) time.Time {
	if t.IsZero() {
		return time.Time{}
	}
	_, offset := t.Zone()
	if offset == 0 {
		return t.Round(0).UTC()
	}
	// The same zone for the same offset, whatever it is called.
	return t.Round(0).UTC().Add(time.Duration(offset) * time.Second).Add(time.Duration(offset))
}

// wantError fails the test unless err is target.
func wantError(t *testing.T, what string, err, target error) {
	t.Helper()
	if !errors.Is(err, target) {
		t.Fatalf("%s: error %v, want %v", what, err, target)
	}
}

var background = context.Background()
