package badger

import (
	"bytes"
	"hash/crc32"
	"os"
	"path/filepath"
	"testing"

	bdb "github.com/dgraph-io/badger/v4"

	"github.com/caddyrelay/caddyrelay/relay"
)

// format4 gives a store that is not open the keys that it had up to format 4; of the records
// for which both says so, it leaves those of today, too.
func format4(t *testing.T, dir string, key []byte, both func(n int) bool) {
	t.Helper()
	o := Options{EncryptionKey: key}
	o.setDefaults()
	db, err := bdb.Open(badgerOptions(dir, &o))
	if err != nil {
		t.Fatal(err)
	}
	moved := map[byte]int{}
	err = db.Update(func(txn *bdb.Txn) error {
		for now, former := range map[byte]byte{bundlePrefix: formerBundlePrefix, progressPrefix: formerProgressPrefix} {
			err := each(txn, now, func(key, rec []byte) error {
				moved[now]++
				was := append([]byte{former}, key[1:]...)
				if err := txn.Set(was, seal(was, bytes.Clone(rec[:len(rec)-crc32.Size]))); err != nil || both(moved[now]) {
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
			for _, former := range []byte{formerBundlePrefix, formerProgressPrefix} {
				if keys := recordsOf(t, s, former); len(keys) > 0 {
					t.Errorf("%d records are left at %c", len(keys), former)
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
