package badger

import (
	"bytes"
	"errors"
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"
	"strings"
	"testing"

	bdb "github.com/dgraph-io/badger/v4"

	"github.com/caddyrelay/caddyrelay/relay"
)

// openBare opens the database of a store that is not open.
func openBare(t *testing.T, dir string, key []byte) *bdb.DB {
	t.Helper()
	o := Options{EncryptionKey: key}
	o.setDefaults()
	db, err := bdb.Open(badgerOptions(dir, &o))
	if err != nil {
		t.Fatal(err)
	}
	return db
}

// format4 gives a store that is not open the keys that it had up to format 4; of the records
// for which both says so, it leaves those of today, too.
func format4(t *testing.T, dir string, key []byte, both func(n int) bool) {
	t.Helper()
	db := openBare(t, dir, key)
	moved := map[byte]int{}
	err := db.Update(func(txn *bdb.Txn) error {
		for _, letter := range rehoused {
			err := each(txn, letter.to, func(key, rec []byte) error {
				moved[letter.to]++
				was := append([]byte{letter.from}, key[1:]...)
				if err := txn.Set(was, seal(was, bytes.Clone(rec[:len(rec)-crc32.Size]))); err != nil || both(moved[letter.to]) {
					return err
				}
				return txn.Delete(bytes.Clone(key))
			})
			if err != nil {
				return err
			}
		}
		return get(txn, storeKey, func(rec []byte) error {
			me, err := decodeIdentity(rec)
			if err != nil {
				return err
			}
			me.format = 4
			return txn.Set(storeKey, encodeIdentity(me))
		})
	})
	if err != nil {
		t.Fatal(err)
	}
	if moved[bundlePrefix] < 2 || moved[progressPrefix] < 2 {
		t.Fatalf("%d records of attempts and %d of progress: there is nothing to see", moved[bundlePrefix], moved[progressPrefix])
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
}

// TestFormat4HasItsKeysMoved: a store with progress and attempts before the events is read,
// and goes on, though the moving of its keys was ended half-way.
func TestFormat4HasItsKeysMoved(t *testing.T) {
	for name, both := range map[string]func(int) bool{
		"as it was left":        func(int) bool { return false },
		"moved by half, before": func(n int) bool { return n%2 == 0 },
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			s := openAt(t, dir, nil)
			events := batchOf(t, s, 200, "crm", "billing")
			deliverAll(t, s, "crm", events)
			finishUpTo(t, s, "billing", 100)
			want := everythingIn(t, s)
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			format4(t, dir, nil, both)
			s = openAt(t, dir, nil)
			if got := everythingIn(t, s); got != want {
				t.Errorf("it is read as\n%s\nwant\n%s", got, want)
			}
			if s.identity.format != formatVersion {
				t.Errorf("it has format %d", s.identity.format)
			}
			for _, letter := range rehoused {
				if keys := recordsOf(t, s, letter.from); len(keys) > 0 {
					t.Errorf("%d records are left at %c", len(keys), letter.from)
				}
			}
			finishUpTo(t, s, "billing", 200)
			gone := s.clock().AddDate(1, 0, 0)
			if trimmed, err := s.Trim(t.Context(), relay.TrimPolicy{DeliveredBefore: gone, FailedBefore: gone}); err != nil || trimmed.Events != 200 {
				t.Fatalf("%+v, %v", trimmed, err)
			}
			if keys := recordsOf(t, s, bundlePrefix); len(keys) > 0 {
				t.Errorf("%d records of attempts are left", len(keys))
			}
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			if report, err := Verify(dir, Options{}); err != nil || !report.Sound() {
				t.Fatalf("%+v, %v", report, err)
			}
		})
	}
}

// TestFormat4IsSalvaged: where the upgrade does not come because a file is damaged, what was
// read of it has today's keys.
func TestFormat4IsSalvaged(t *testing.T) {
	for name, key := range map[string][]byte{"plain": nil, "encrypted": bytes.Repeat([]byte{7}, 32)} {
		t.Run(name, func(t *testing.T) {
			w := newWreck(t, key)
			format4(t, w.dir, key, func(n int) bool { return n%2 == 0 })
			tables, err := filepath.Glob(filepath.Join(w.dir, "*"+tableSuffix))
			if err != nil || len(tables) == 0 {
				t.Fatal(tables, err)
			}
			raw, err := os.ReadFile(tables[0])
			if err != nil {
				t.Fatal(err)
			}
			raw[len(raw)/3] ^= 1
			if err := os.WriteFile(tables[0], raw, 0o600); err != nil {
				t.Fatal(err)
			}
			if gone := w.salvaged(t, w.dir, name); gone > 150 {
				t.Errorf("%d events are gone", gone)
			}
		})
	}
}

// formatOf reads the format of a store that is not open, as an earlier program does before
// it reads anything else.
func formatOf(t *testing.T, dir string) (format uint64) {
	t.Helper()
	db := openBare(t, dir, nil)
	err := db.View(func(txn *bdb.Txn) error {
		return get(txn, storeKey, func(rec []byte) error {
			me, err := decodeIdentity(rec)
			format = me.format
			return err
		})
	})
	if err := errors.Join(err, db.Close()); err != nil {
		t.Fatal(err)
	}
	return format
}

// TestKilledUpgradeGoesOn: wherever a kill -9 ends the upgrade, earlier programs refuse the
// store from the first key on that has moved: they would take what has moved for missing, and
// make every delivery again. This program goes on.
func TestKilledUpgradeGoesOn(t *testing.T) {
	dir := t.TempDir()
	s := openAt(t, dir, nil)
	deliverAll(t, s, "crm", batchOf(t, s, 200, "crm", "billing"))
	finishUpTo(t, s, "billing", 100)
	want := everythingIn(t, s)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	format4(t, dir, nil, func(int) bool { return false })
	killed := make(map[string]string)
	s, err := Open(dir, Options{onStep: func(step string) { killed[step] = copyDirectory(t, dir) }})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if len(killed) < 2 {
		t.Fatalf("%d steps", len(killed))
	}
	for step, dir := range killed {
		if format := formatOf(t, dir); format != formatVersion {
			t.Errorf("at the step %q it has format %d, which earlier programs read", step, format)
		}
		s := openAt(t, dir, nil)
		if got := everythingIn(t, s); got != want {
			t.Errorf("after the step %q it is read as\n%s\nwant\n%s", step, got, want)
		}
		if s.identity.moving {
			t.Errorf("after the step %q keys are still to be moved", step)
		}
	}
}

// TestUpgradeHasRoom: a store that would fill its volume with the records that are written
// anew is left as it is. It would be ended by the system, and all of Caddy with it.
func TestUpgradeHasRoom(t *testing.T) {
	dir := t.TempDir()
	s := openAt(t, dir, nil)
	for range 10 {
		events := batchOf(t, s, 400, "crm", "billing")
		u := relay.Update{Progress: relay.Progress{Subscription: "crm", Low: events[399].Deliveries[0].Pos}}
		for _, e := range events {
			u.Attempts = append(u.Attempts, delivered(e, e.Deliveries[0].Pos))
		}
		if err := s.Commit(t.Context(), []relay.Update{u}); err != nil {
			t.Fatal(err)
		}
	}
	finishUpTo(t, s, "billing", 1)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	format4(t, dir, nil, func(int) bool { return false })

	free := count(dir).critical() + 100<<10 // as much as opening takes, and what follows it
	little := Options{volume: func(string) int64 { return free }}
	if s, err := Open(dir, little); err == nil {
		_ = s.Close()
		t.Fatal("it is written anew though there is no room")
	} else if !errors.Is(err, relay.ErrFull) || !strings.Contains(err.Error(), "make room") {
		t.Fatal(err)
	}
	if _, err := Verify(dir, little); !errors.Is(err, relay.ErrFull) {
		t.Fatal(err)
	}
	if format := formatOf(t, dir); format != 4 {
		t.Fatalf("it was refused, and has format %d", format)
	}
	free += 100 << 20
	if s, err := Open(dir, little); err != nil {
		t.Fatal(err)
	} else if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

// TestFormerKeyIsTheOlderOne: where a damaged file has lost the mark that a record of before
// the upgrade is removed, a salvage finds it again. What has happened since counts.
func TestFormerKeyIsTheOlderOne(t *testing.T) {
	s := openAt(t, t.TempDir(), nil)
	batchOf(t, s, 20, "crm")
	finishUpTo(t, s, "crm", 20)
	db := s.db.Load()
	former := progressKey(1)
	former[0] = formerProgressPrefix
	stale := state{progress: relay.Progress{Head: 20, Low: 3}}
	if err := db.Update(func(txn *bdb.Txn) error { return txn.Set(former, encodeProgress(former, &stale)) }); err != nil {
		t.Fatal(err)
	}
	if err := rehouse(db); err != nil {
		t.Fatal(err)
	}
	if keys := recordsOf(t, s, formerProgressPrefix); len(keys) > 0 {
		t.Errorf("%d records are left", len(keys))
	}
	err := s.view(func(txn *bdb.Txn) error {
		return get(txn, progressKey(1), func(rec []byte) error {
			st, err := decodeProgress(progressKey(1), rec)
			if st.progress.Low != 20 {
				t.Errorf("of 20 deliveries that were made %d are", st.progress.Low)
			}
			return err
		})
	})
	if err != nil {
		t.Fatal(err)
	}
}

// TestLogsOfLargerTablesAreRead: what a version with larger tables in memory has left in its logs
// when it was killed is read, and written to tables. Badger ends the process otherwise.
func TestLogsOfLargerTablesAreRead(t *testing.T) {
	dir := t.TempDir()
	s := openAt(t, dir, nil)
	want := batchOf(t, s, 10, "crm")
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	o := Options{}
	o.setDefaults()
	db, err := bdb.Open(badgerOptions(dir, &o).WithMemTableSize(formerMemTableSize))
	if err != nil {
		t.Fatal(err)
	}
	written := 0
	for n := 0; written < formerMemTableSize*7/8; n++ {
		err := db.Update(func(txn *bdb.Txn) error {
			for i := range 100 {
				key, rec := []byte(fmt.Sprintf("Z%d-%d", n, i)), make([]byte, 1<<10)
				written += len(rec)
				if err := txn.Set(key, rec); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	killed := copyDirectory(t, dir)
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	s = openAt(t, killed, nil)
	for _, e := range want {
		if _, err := s.Event(t.Context(), e.Seq); err != nil {
			t.Fatal(err)
		}
	}
	if n := len(recordsOf(t, s, 'Z')); n*1024 != written {
		t.Errorf("%d records, want %d", n, written/1024)
	}
	batchOf(t, s, 10, "crm")
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if size := memTableSizeIn(killed); size != memTableSize {
		t.Errorf("the next tables have %d bytes", size)
	}
}
