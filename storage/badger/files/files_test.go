package files

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	bdb "github.com/dgraph-io/badger/v4"
	"github.com/dgraph-io/badger/v4/options"
)

// known is what a database should hold: values by key and version, nil for a deletion.
type known map[string][]byte

func name(key []byte, version uint64) string { return fmt.Sprintf("%s@%d", key, version) }

// database makes one with tables and a log, and returns a copy of its files as kill -9
// leaves them.
func database(t *testing.T, key []byte, compression options.CompressionType) (dir string, all known) {
	t.Helper()
	live := t.TempDir()
	opened := bdb.DefaultOptions(live).WithLogger(nil).WithMemTableSize(2 << 20).WithValueThreshold(1 << 10).WithValueLogFileSize(1 << 20).
		WithEncryptionKey(key).WithIndexCacheSize(1 << 20).WithCompression(compression).WithNumVersionsToKeep(100)
	random := rand.New(rand.NewPCG(1, 2))
	all = make(known)
	var db *bdb.DB
	// What is not synced is there too: nothing but the process ends.
	write := func(transactions int) {
		for range transactions {
			txn := db.NewTransaction(true)
			written := make(map[string][]byte)
			for range 1 + random.IntN(20) {
				k := fmt.Appendf(nil, "%c%04d", 'A'+random.IntN(4), random.IntN(2000))
				var v []byte
				var err error
				switch random.IntN(10) {
				case 0:
					err = txn.Delete(k)
				case 1: // removed, too, though it has a value
					err = txn.SetEntry(&bdb.Entry{Key: k, Value: []byte("gone"), ExpiresAt: Gone})
				default:
					v = bytes.Repeat(fmt.Appendf(nil, "%x", random.Uint64()), 1+random.IntN(30))
					err = txn.Set(k, v)
				}
				if err != nil {
					t.Fatal(err)
				}
				written[string(k)] = v
			}
			version := txn.ReadTs() + 1
			if err := txn.Commit(); err != nil {
				t.Fatal(err)
			}
			for k, v := range written {
				all[name([]byte(k), version)] = v
			}
		}
	}
	for range 2 { // each closing makes a table of the log
		var err error
		if db, err = bdb.Open(opened); err != nil {
			t.Fatal(err)
		}
		write(300)
		if err := db.Close(); err != nil {
			t.Fatal(err)
		}
	}
	var err error
	if db, err = bdb.Open(opened); err != nil {
		t.Fatal(err)
	}
	write(300)
	dir = t.TempDir()
	if err := os.CopyFS(dir, os.DirFS(live)); err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	return dir, all
}

// secret is an encryption key.
var secret = bytes.Repeat([]byte{7}, 32)

func eachDatabase(t *testing.T, test func(t *testing.T, dir string, keys Keys, all known)) {
	for _, c := range []struct {
		name        string
		key         []byte
		compression options.CompressionType
	}{{"plain", nil, options.Snappy}, {"encrypted", secret, options.Snappy}, {"not compressed", nil, options.None}} {
		t.Run(c.name, func(t *testing.T) {
			dir, all := database(t, c.key, c.compression)
			keys, err := OpenKeys(dir, c.key)
			if err != nil || keys.Encrypted() != (c.key != nil) {
				t.Fatalf("Keys: %v, %v", keys.ids, err)
			}
			test(t, dir, keys, all)
		})
	}
}

// tableFiles opens the tables of a directory.
func tableFiles(t *testing.T, dir string, keys Keys, unknown bool) (tables []*Table) {
	t.Helper()
	m, err := ReadManifest(dir)
	if err != nil || m.Torn || len(m.Tables) == 0 {
		t.Fatalf("%+v, %v", m, err)
	}
	there, err := Tables(dir)
	if err != nil || len(there) != len(m.Tables) {
		t.Fatalf("%v, %v", there, err)
	}
	for _, id := range there {
		info := m.Tables[id]
		if unknown {
			info = TableInfo{Unknown: true}
		}
		table, err := OpenTable(TableName(dir, id), info, keys)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = table.Close() })
		tables = append(tables, table)
	}
	return tables
}

// TestReadsWhatBadgerWrites: every version of every record is found, in tables and logs.
func TestReadsWhatBadgerWrites(t *testing.T) {
	eachDatabase(t, func(t *testing.T, dir string, keys Keys, all known) {
		for _, unknown := range []bool{false, true} {
			found := make(known)
			see := func(e Entry) {
				if bytes.HasPrefix(e.Key, []byte("!badger!")) {
					return
				}
				id := name(e.Key, e.Version)
				want, ok := all[id]
				if !ok || e.Deleted != (want == nil) || !bytes.Equal(e.Value, want) {
					t.Fatalf("%s is %q (deleted %v), want %q", id, e.Value, e.Deleted, want)
				}
				found[id] = e.Value
			}
			for _, table := range tableFiles(t, dir, keys, unknown) {
				if bad := table.Check(); len(bad) > 0 {
					t.Fatal(bad)
				}
				var last []byte
				for i := range table.Blocks() {
					entries, err := table.Block(i)
					if err != nil || len(entries) == 0 || !bytes.Equal(entries[0].Key, table.First(i)) {
						t.Fatalf("block %d: %d entries, %v", i, len(entries), err)
					}
					for _, e := range entries {
						if bytes.Compare(e.Key, last) < 0 {
							t.Fatalf("%q follows %q", e.Key, last)
						}
						last = e.Key
						see(e)
					}
				}
			}
			logs, err := Logs(dir)
			if err != nil || len(logs) == 0 {
				t.Fatalf("logs: %v, %v", logs, err)
			}
			for _, path := range logs {
				log, err := ReadLog(path, keys, see)
				if err != nil || log.Rest || len(log.Behind) > 0 {
					t.Fatalf("%s: %+v, %v", path, log, err)
				}
			}
			if len(found) != len(all) {
				t.Fatalf("%d versions found of %d", len(found), len(all))
			}
		}
	})
}

// TestFindsTheNewestVersion of a key in a table.
func TestFindsTheNewestVersion(t *testing.T) {
	dir, _ := database(t, nil, options.Snappy)
	for _, table := range tableFiles(t, dir, Keys{}, false) {
		newest := make(map[string]uint64)
		for i := range table.Blocks() {
			entries, err := table.Block(i)
			if err != nil {
				t.Fatal(err)
			}
			for _, e := range entries {
				newest[string(e.Key)] = max(newest[string(e.Key)], e.Version)
			}
		}
		for n := range 2000 {
			for c := byte('@'); c <= 'E'; c++ {
				key := fmt.Sprintf("%c%04d", c, n)
				e, ok, err := table.Find([]byte(key))
				if err != nil || ok != (newest[key] > 0) || e.Version != newest[key] {
					t.Fatalf("%s: %d, %v, %v; want %d", key, e.Version, ok, err, newest[key])
				}
			}
		}
	}
}

// TestDamagedTable: a byte that is wrong costs the block that it stands in, and never
// changes what is read of others.
func TestDamagedTable(t *testing.T) {
	eachDatabase(t, func(t *testing.T, dir string, keys Keys, all known) {
		m, err := ReadManifest(dir)
		if err != nil {
			t.Fatal(err)
		}
		random := rand.New(rand.NewPCG(3, 4))
		blocks, indexes := 0, 0
		for id, info := range m.Tables {
			path := TableName(dir, id)
			sound, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			for round := range 50 {
				bad := bytes.Clone(sound)
				at := random.IntN(len(bad))
				if round%5 == 0 { // the end, where the index is
					at = len(bad) - 1 - random.IntN(400)
				}
				if round%7 == 0 {
					bad = bad[:at]
				} else {
					bad[at] ^= 1 << random.IntN(8)
				}
				if err := os.WriteFile(path, bad, 0o600); err != nil {
					t.Fatal(err)
				}
				table, err := OpenTable(path, info, keys)
				if err != nil {
					indexes++
					if where := (*Error)(nil); !errors.As(err, &where) {
						t.Fatalf("byte %d: %v", at, err)
					}
					continue
				}
				wrong := 0
				for i := range table.Blocks() {
					entries, err := table.Block(i)
					if err != nil {
						wrong++
					}
					for _, e := range entries {
						if want, ok := all[name(e.Key, e.Version)]; !ok || !bytes.Equal(e.Value, want) {
							t.Fatalf("byte %d: %s@%d is %q", at, e.Key, e.Version, e.Value)
						}
					}
				}
				if wrong > 1 || wrong != len(table.Check()) {
					t.Fatalf("byte %d: %d blocks are bad, Check finds %d", at, wrong, len(table.Check()))
				}
				blocks += wrong
				if err := table.Close(); err != nil {
					t.Fatal(err)
				}
			}
			if err := os.WriteFile(path, sound, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if blocks == 0 || indexes == 0 {
			t.Errorf("%d bad blocks, %d bad indexes: this tests nothing", blocks, indexes)
		}
	})
}

// TestDamagedLog: Badger ends where a byte is wrong; what stands behind is found.
func TestDamagedLog(t *testing.T) {
	eachDatabase(t, func(t *testing.T, dir string, keys Keys, all known) {
		logs, err := Logs(dir)
		if err != nil {
			t.Fatal(err)
		}
		path := logs[len(logs)-1]
		sound, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		entries := 0
		whole, err := ReadLog(path, keys, func(Entry) { entries++ })
		if err != nil || whole.End < 1000 {
			t.Fatalf("%+v, %v", whole, err)
		}
		random := rand.New(rand.NewPCG(5, 6))
		for range 40 {
			at := logHeaderLen + random.Int64N(whole.End-logHeaderLen)
			bad := bytes.Clone(sound)
			bad[at] ^= 1 << random.IntN(8)
			if err := os.WriteFile(path, bad, 0o600); err != nil {
				t.Fatal(err)
			}
			got := 0
			log, err := ReadLog(path, keys, func(Entry) { got++ })
			if err != nil || !log.Rest || log.End > at {
				t.Fatalf("byte %d: %+v, %v", at, log, err)
			}
			for _, e := range log.Behind {
				if want, ok := all[name(e.Key, e.Version)]; !ok || !bytes.Equal(e.Value, want) {
					t.Fatalf("byte %d: %s@%d is %q", at, e.Key, e.Version, e.Value)
				}
			}
			// The mark of a transaction is no entry.
			if lost := entries - got - len(log.Behind); lost < 0 || lost > 1 {
				t.Fatalf("byte %d: %d entries before the end and %d behind, of %d", at, got, len(log.Behind), entries)
			}
		}
		// Cut, with zeros behind or without, nothing stands behind.
		for range 10 {
			at := logHeaderLen + random.Int64N(whole.End-logHeaderLen)
			for _, zeros := range []bool{false, true} {
				bad := bytes.Clone(sound[:at])
				if zeros {
					bad = append(bad, make([]byte, len(sound)-len(bad))...)
				}
				if err := os.WriteFile(path, bad, 0o600); err != nil {
					t.Fatal(err)
				}
				log, err := ReadLog(path, keys, nil)
				if err != nil || log.Versions() > 1 {
					t.Fatalf("cut at %d: %+v, %v", at, log, err)
				}
			}
		}
	})
}

func TestManifest(t *testing.T) {
	dir, _ := database(t, nil, options.Snappy)
	path := filepath.Join(dir, ManifestName)
	sound, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name   string
		damage func() error
		check  func(m Manifest, err error) bool
	}{
		{"cut", func() error { return os.WriteFile(path, sound[:len(sound)-3], 0o600) }, func(m Manifest, err error) bool { return err == nil && m.Torn }},
		{"changed", func() error {
			bad := bytes.Clone(sound)
			bad[len(bad)-1] ^= 1
			return os.WriteFile(path, bad, 0o600)
		}, func(_ Manifest, err error) bool { return err != nil }},
		{"empty", func() error { return os.Truncate(path, 0) }, func(_ Manifest, err error) bool { return err != nil }},
		{"missing", func() error { return os.Remove(path) }, func(_ Manifest, err error) bool { return errors.Is(err, fs.ErrNotExist) }},
	} {
		if err := test.damage(); err != nil {
			t.Fatal(err)
		}
		if m, err := ReadManifest(dir); !test.check(m, err) {
			t.Errorf("%s: %+v, %v", test.name, m, err)
		}
	}
}

func TestKeysOfAnotherKey(t *testing.T) {
	dir, _ := database(t, secret, options.Snappy)
	if _, err := OpenKeys(dir, bytes.Repeat([]byte{8}, 32)); !errors.Is(err, bdb.ErrEncryptionKeyMismatch) {
		t.Errorf("another key: %v", err)
	}
	m, err := ReadManifest(dir)
	if err != nil {
		t.Fatal(err)
	}
	for id, info := range m.Tables {
		if _, err := OpenTable(TableName(dir, id), info, Keys{}); err == nil {
			t.Error("a table opens without its key")
		}
	}
	if err := os.Remove(filepath.Join(dir, bdb.KeyRegistryFileName)); err != nil {
		t.Fatal(err)
	}
	if keys, err := OpenKeys(dir, secret); err != nil || keys.Encrypted() {
		t.Errorf("without a KEYREGISTRY: %v, %v", keys, err)
	}
}

// Nothing that stands in a block or an index may panic.
func FuzzBlock(f *testing.F) {
	f.Add([]byte{0, 0, 5, 0, 'a', 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 'v', 0, 0, 0, 0, 0, 0, 0, 1})
	f.Fuzz(func(_ *testing.T, data []byte) {
		_, _ = parseBlock(data)
		_, _, _ = parseIndex(data, 1<<20)
	})
}
