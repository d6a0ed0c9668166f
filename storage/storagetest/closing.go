package storagetest

import (
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddyrelay/caddyrelay/relay"
)

// calls are all methods of a store but Close, each returning its error.
func calls(s relay.Store) map[string]func() error {
	return map[string]func() error{
		"Append": func() error {
			_, err := s.Append(background, one(event("a", "1"), "crm"), nil)
			return err
		},
		"Commit": func() error {
			return s.Commit(background, []relay.Update{{Progress: relay.Progress{Subscription: "crm"}, Put: []relay.Exception{retry(1)}}})
		},
		"Progress": func() error {
			for _, err := range s.Progress(background) {
				return err
			}
			return nil
		},
		"Read":      func() error { _, err := s.Read(background, "crm", 0, 10, 1000); return err },
		"Log":       func() error { _, err := s.Log(background, "crm", 0, 10); return err },
		"Open":      func() error { _, err := s.Open(background, "crm", 0, 10); return err },
		"Exception": func() error { _, _, err := s.Exception(background, "crm", 1); return err },
		"Event": func() error {
			_, err := s.Event(background, relay.SeqAt(Start))
			if errors.Is(err, relay.ErrNotFound) {
				return nil
			}
			return err
		},
		"Find": func() error {
			_, err := s.Find(background, relay.FormatID(1, 1))
			if errors.Is(err, relay.ErrNotFound) {
				return nil
			}
			return err
		},
		"Attempts": func() error { _, err := s.Attempts(background, 1, "crm"); return err },
		"Events":   func() error { _, err := s.Events(background, relay.EventQuery{Limit: 10}); return err },
		"Erase": func() error {
			err := s.Erase(background, relay.SeqAt(Start), nil)
			if errors.Is(err, relay.ErrNotFound) {
				return nil
			}
			return err
		},
		"Trim": func() error {
			_, err := s.Trim(background, relay.TrimPolicy{DeliveredBefore: Start.Add(time.Hour)})
			return err
		},
		"Note":     func() error { _, err := s.Note(background, "egress"); return err },
		"SwapNote": func() error { _, err := s.SwapNote(background, "egress", nil, []byte("1")); return err },
		"Stats":    func() error { _, err := s.Stats(background); return err },
		"Err":      s.Err,
	}
}

func closedStore(t *testing.T, h *Harness) {
	h.add(t, 3, "crm")
	for name, call := range calls(h.Store) {
		if err := call(); err != nil {
			t.Fatalf("%s before Close: %v", name, err)
		}
	}
	if err := h.Store.Close(); err != nil {
		t.Fatalf("Close: %v", err)
	}
	for name, call := range calls(h.Store) {
		wantError(t, name, call(), relay.ErrClosed)
	}
	for _, name := range []string{"nobody", "crm"} {
		_, err := h.Store.Read(background, name, 1<<40, 10, 10)
		wantError(t, "Read", err, relay.ErrClosed)
	}
	wantError(t, "Close", h.Store.Close(), relay.ErrClosed)
}

func closeUnderLoad(t *testing.T, h *Harness) {
	var wait sync.WaitGroup
	var acknowledged atomic.Int64
	var busy atomic.Int64
	for range 4 {
		for name, call := range calls(h.Store) {
			wait.Go(func() {
				for {
					err := call()
					if errors.Is(err, relay.ErrClosed) {
						return
					}
					if err != nil {
						t.Errorf("%s: %v", name, err)
						return
					}
					if busy.Add(1); name == "Append" {
						acknowledged.Add(1)
					}
				}
			})
		}
	}
	for acknowledged.Load() < 20 || busy.Load() < 500 {
		time.Sleep(time.Millisecond) // no timing is asserted: this only lets the load run
	}
	store := h.Store
	h.reopen(t) // closes
	wait.Wait()
	wantError(t, "Err", store.Err(), relay.ErrClosed)
	s, err := h.Store.Stats(t.Context())
	if err != nil || s.Events < uint64(acknowledged.Load()) {
		t.Fatalf("%d events after %d acknowledgements; %v", s.Events, acknowledged.Load(), err)
	}
}
