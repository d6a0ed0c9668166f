package storagetest

import (
	"bytes"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/caddyrelay/caddyrelay/relay"
)

// swap puts value in the place of old, and fails the test unless that is done, or not, as
// expected.
func (h *Harness) swap(t *testing.T, name, old, value string, want bool) {
	t.Helper()
	swapped, err := h.Store.SwapNote(t.Context(), name, []byte(old), []byte(value))
	if err != nil || swapped != want {
		t.Fatalf("SwapNote %s from %.20q to %.20q: %v, %v; want %v", name, old, value, swapped, err, want)
	}
}

func (h *Harness) wantNote(t *testing.T, name, want string) {
	t.Helper()
	got, err := h.Store.Note(t.Context(), name)
	if err != nil || string(got) != want {
		t.Fatalf("Note %s: %.20q (%d bytes), %v; want %.20q (%d bytes)", name, got, len(got), err, want, len(want))
	}
}

func notesSurviveReopen(t *testing.T, h *Harness) {
	large := string(bytes.Repeat([]byte{0, 'x', 255}, relay.MaxNoteSize/3))
	h.wantNote(t, "egress", "")
	h.swap(t, "egress", "", "1", true)
	h.swap(t, "large", "", large, true)
	h.wantNote(t, "egress", "1")
	h.reopen(t)
	h.wantNote(t, "egress", "1")
	h.wantNote(t, "large", large)
	h.wantNote(t, "egres", "")
	h.swap(t, "egress", "1", "2", true)
	h.reopen(t)
	h.wantNote(t, "egress", "2")

	// What is returned belongs to the caller.
	note, err := h.Store.Note(t.Context(), "egress")
	if err != nil {
		t.Fatal(err)
	}
	note[0] = 'x'
	h.wantNote(t, "egress", "2")
}

// notesAreSwappedOnce: of several who have seen the same, one replaces it.
func notesAreSwappedOnce(t *testing.T, h *Harness) {
	h.swap(t, "egress", "0", "1", false)
	h.wantNote(t, "egress", "")
	h.swap(t, "egress", "", "1", true)
	h.swap(t, "egress", "", "2", false)
	h.swap(t, "egress", "0", "2", false)
	h.wantNote(t, "egress", "1")
	h.swap(t, "egress", "1", "1", true)

	var wait sync.WaitGroup
	var swapped atomic.Int64
	for i := range 8 {
		wait.Go(func() {
			ok, err := h.Store.SwapNote(t.Context(), "egress", []byte("1"), []byte{byte('a' + i)})
			if err != nil {
				t.Errorf("SwapNote: %v", err)
			}
			if ok {
				swapped.Add(1)
			}
		})
	}
	wait.Wait()
	if n := swapped.Load(); n != 1 {
		t.Fatalf("%d of 8 have replaced the same note", n)
	}
}

func notesAreNoEvents(t *testing.T, h *Harness) {
	h.swap(t, "egress", "", "1", true)
	if len(h.progress(t)) != 0 {
		t.Fatal("a note has made a subscription")
	}
	page, err := h.Store.Events(t.Context(), relay.EventQuery{Limit: 10})
	if err != nil || len(page.Events) != 0 || page.Next != 0 {
		t.Fatalf("Events: %+v, %v", page, err)
	}
	h.add(t, 3, "crm")
	h.finish(t, 3, "crm")
	far := h.Clock.Now().AddDate(1, 0, 0)
	h.trim(t, relay.TrimPolicy{DeliveredBefore: far, FailedBefore: far, KeysBefore: far})
	h.wantNote(t, "egress", "1")
}
