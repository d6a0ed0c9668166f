package badger

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"

	bdb "github.com/dgraph-io/badger/v4"

	"github.com/caddyrelay/caddyrelay/relay"
)

// overwrite changes a record behind the store's back.
func overwrite(t *testing.T, s *Store, key []byte, change func(rec []byte) []byte) {
	t.Helper()
	err := s.db.Load().Update(func(txn *bdb.Txn) error {
		item, err := txn.Get(key)
		if err != nil {
			return err
		}
		rec, err := item.ValueCopy(nil)
		if err != nil {
			return err
		}
		return txn.Set(key, change(rec))
	})
	if err != nil {
		t.Fatal(err)
	}
}

// TestCorruptRecordIsNeverAWrongBody flips every bit of a record, one after the other.
func TestCorruptRecordIsNeverAWrongBody(t *testing.T) {
	s := openAt(t, t.TempDir(), nil)
	events := put(t, s, 3)
	key := eventKey(events[1].Seq)
	var sound []byte
	overwrite(t, s, key, func(rec []byte) []byte { sound = rec; return rec })
	for bit := range len(sound) * 8 {
		bad := bytes.Clone(sound)
		bad[bit/8] ^= 1 << (bit % 8)
		if _, err := decodeEvent(key, bad, wholeEvent); err == nil {
			t.Fatalf("bit %d flipped: no error", bit)
		}
	}
	for n := range len(sound) {
		if _, err := decodeEvent(key, sound[:n], wholeEvent); err == nil {
			t.Fatalf("cut at %d: no error", n)
		}
	}
	if _, err := decodeEvent(eventKey(events[2].Seq), sound, wholeEvent); err == nil {
		t.Fatal("another event's record: no error")
	}

	overwrite(t, s, key, func(rec []byte) []byte { rec[len(rec)-10] ^= 1; return rec })
	_, err := s.Event(t.Context(), events[1].Seq)
	var corrupt *CorruptError
	if !errors.As(err, &corrupt) || !strings.Contains(err.Error(), keyName(key)) {
		t.Fatalf("Event: %v, want a CorruptError with the key", err)
	}
	var one *relay.UnreadableError
	if !errors.As(err, &one) || one.Seq != events[1].Seq {
		t.Fatalf("Event: %v, want an UnreadableError", err)
	}
	// Read gives what lies before, then says which one it is, and goes on after it.
	entries, err := s.Read(t.Context(), "crm", 0, 10, 1<<20)
	if err != nil || len(entries) != 1 || entries[0].Event.Seq != events[0].Seq {
		t.Fatalf("Read: %v, %v; want the first", entries, err)
	}
	_, err = s.Read(t.Context(), "crm", 1, 10, 1<<20)
	var unreadable *relay.UnreadableError
	if !errors.As(err, &unreadable) || unreadable.Pos != 2 || unreadable.Seq != events[1].Seq || !errors.As(err, &corrupt) {
		t.Fatalf("Read: %v, want an UnreadableError of position 2", err)
	}
	entries, err = s.Read(t.Context(), "crm", 2, 10, 1<<20)
	if err != nil || len(entries) != 1 || entries[0].Event.Seq != events[2].Seq {
		t.Fatalf("Read: %v, %v; want the third", entries, err)
	}
	// A list names it, without what cannot be known.
	page, err := s.Events(t.Context(), relay.EventQuery{Limit: 10})
	if err != nil || len(page.Events) != 3 || page.Events[1].ID != events[1].ID || page.Events[1].Type != "" {
		t.Fatalf("Events: %+v, %v", page, err)
	}
	// It is not removed, since its deliveries are not known.
	if err := s.Commit(t.Context(), []relay.Update{{Progress: relay.Progress{Subscription: "crm", Low: 3}}}); err != nil {
		t.Fatal(err)
	}
	later := events[2].Accepted.AddDate(1, 0, 0)
	done, err := s.Trim(t.Context(), relay.TrimPolicy{DeliveredBefore: later, FailedBefore: later})
	if err != nil || done.Events != 2 {
		t.Fatalf("Trim: %+v, %v; want 2 events", done, err)
	}
}

func TestCorruptLogEntry(t *testing.T) {
	s := openAt(t, t.TempDir(), nil)
	events := put(t, s, 3)
	overwrite(t, s, logKey(1, 2), func(rec []byte) []byte { rec[3] ^= 1; return rec })
	entries, err := s.Read(t.Context(), "crm", 0, 10, 1<<20)
	if err != nil || len(entries) != 1 {
		t.Fatalf("Read: %v, %v; want the first", entries, err)
	}
	_, err = s.Read(t.Context(), "crm", 1, 10, 1<<20)
	var unreadable *relay.UnreadableError
	if !errors.As(err, &unreadable) || unreadable.Pos != 2 {
		t.Fatalf("Read: %v, want an UnreadableError of position 2", err)
	}
	if entries, err = s.Read(t.Context(), "crm", 2, 10, 1<<20); err != nil || len(entries) != 1 || entries[0].Event.Seq != events[2].Seq {
		t.Fatalf("Read: %v, %v; want the third", entries, err)
	}
}

// TestMissingEventIsUnreadable: an entry whose event is gone is not skipped silently.
func TestMissingEventIsUnreadable(t *testing.T) {
	s := openAt(t, t.TempDir(), nil)
	events := put(t, s, 2)
	if err := s.db.Load().Update(func(txn *bdb.Txn) error { return txn.Delete(eventKey(events[0].Seq)) }); err != nil {
		t.Fatal(err)
	}
	_, err := s.Read(t.Context(), "crm", 0, 10, 1<<20)
	var unreadable *relay.UnreadableError
	if !errors.As(err, &unreadable) || unreadable.Pos != 1 || !errors.Is(err, relay.ErrNotFound) {
		t.Fatalf("Read: %v, want an UnreadableError of position 1", err)
	}
}

// TestForeignDatabaseIsRefused: data without an identity is not taken for a new store.
func TestForeignDatabaseIsRefused(t *testing.T) {
	dir := t.TempDir()
	s := openAt(t, dir, nil)
	put(t, s, 1)
	if err := s.db.Load().Update(func(txn *bdb.Txn) error { return txn.Delete(storeKey) }); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(dir, Options{}); err == nil || !strings.Contains(err.Error(), "no identity") {
		t.Fatalf("Open: %v", err)
	}
}

func TestOtherFormatIsRefused(t *testing.T) {
	dir := t.TempDir()
	s := openAt(t, dir, nil)
	err := s.db.Load().Update(func(txn *bdb.Txn) error {
		return txn.Set(storeKey, encodeIdentity(identity{format: formatVersion + 1}))
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(dir, Options{}); err == nil || !strings.Contains(err.Error(), fmt.Sprint("format ", formatVersion+1)) {
		t.Fatalf("Open: %v", err)
	}
}
