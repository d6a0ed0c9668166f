package badger

import (
	"strings"
	"testing"

	bdb "github.com/dgraph-io/badger/v4"

	"github.com/caddyrelay/caddyrelay/relay"
)

func TestNotesHaveASize(t *testing.T) {
	s := openAt(t, t.TempDir(), nil)
	for _, value := range [][]byte{nil, make([]byte, relay.MaxNoteSize+1)} {
		if swapped, err := s.SwapNote(t.Context(), "egress", nil, value); err == nil || swapped {
			t.Errorf("a note of %d bytes: %v, %v", len(value), swapped, err)
		}
	}
}

func TestDamagedNoteIsFound(t *testing.T) {
	dir := t.TempDir()
	s := openAt(t, dir, nil)
	if _, err := s.SwapNote(t.Context(), "egress", nil, []byte("list")); err != nil {
		t.Fatal(err)
	}
	key := noteKey("egress")
	if err := s.db.Load().Update(func(txn *bdb.Txn) error {
		rec := encodeNote(key, []byte("list"))
		rec[3]++
		return txn.Set(key, rec)
	}); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Note(t.Context(), "egress"); err == nil || !strings.Contains(err.Error(), "note/egress") {
		t.Errorf("reading it: %v", err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	report, err := Verify(dir, Options{})
	if err != nil || report.Sound() || !strings.Contains(strings.Join(report.Findings, "\n"), "note/egress") {
		t.Errorf("%+v, %v", report, err)
	}
}
