package storagetest_test

import (
	"errors"
	"testing"

	"go.uber.org/goleak"

	"github.com/caddyrelay/caddyrelay/relay"
	"github.com/caddyrelay/caddyrelay/storage/storagetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestMemory(t *testing.T) { storagetest.Run(t, openMemory) }

func TestMovingToMemory(t *testing.T) { storagetest.RunMoving(t, openMemory) }

func openMemory(*testing.T) storagetest.Harness {
	clock := storagetest.NewClock(storagetest.Start)
	memory := storagetest.NewMemory(clock.Now)
	return storagetest.Harness{
		Store: memory,
		Clock: clock,
		Reopen: func(*testing.T) relay.Store {
			memory = memory.Reopen()
			return memory
		},
	}
}

func TestMemoryFails(t *testing.T) {
	memory := storagetest.NewMemory(storagetest.NewClock(storagetest.Start).Now)
	full := errors.New("no room")
	memory.Fail(full)
	e := &relay.Event{Type: "a"}
	batch := relay.Batch{Items: []relay.Item{{Event: e, Targets: storagetest.Targets("crm")}}}
	update := []relay.Update{{Progress: relay.Progress{Subscription: "crm", Low: 1}}}
	if _, err := memory.Append(t.Context(), batch, nil); !errors.Is(err, full) {
		t.Fatalf("Append: %v", err)
	}
	if err := memory.Commit(t.Context(), update); !errors.Is(err, full) {
		t.Fatalf("Commit: %v", err)
	}
	if err := memory.Err(); !errors.Is(err, full) {
		t.Fatalf("Err: %v", err)
	}
	if e.ID != "" {
		t.Fatal("a refused event was filled in")
	}
	memory.Fail(nil)
	if _, err := memory.Append(t.Context(), batch, nil); err != nil {
		t.Fatal(err)
	}
	if err := memory.Commit(t.Context(), update); err != nil {
		t.Fatal(err)
	}
	if err := memory.Err(); err != nil {
		t.Fatal(err)
	}
}
