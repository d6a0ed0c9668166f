package integration

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	bdb "github.com/dgraph-io/badger/v4"
)

// The controls of F7 to F9: the same damages, taken by Badger alone, which neither reads its
// files before it opens them nor knows what was acknowledged. It opens, says nothing, and the
// ledger of what was acknowledged shows what is gone. The store tells each of them.
func TestDamageControl(t *testing.T) {
	t.Parallel()
	d := newDeposit(t)
	for name, damage := range map[string]func(t *testing.T, dir string){
		"nothing":                nil,
		"F7, torn tail":          d.tearTail,
		"F8, flip in a log":      func(t *testing.T, dir string) { d.flip(t, dir, "*.mem") },
		"F8, flip in a table":    func(t *testing.T, dir string) { d.flip(t, dir, "*.sst") },
		"F9, missing MANIFEST":   func(t *testing.T, dir string) { remove(t, filepath.Join(dir, "MANIFEST")) },
		"F9, missing newest log": func(t *testing.T, dir string) { name, _ := d.lastLog(t); remove(t, filepath.Join(dir, name)) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			bare, guarded := d.copy(t), d.copy(t)
			if damage != nil {
				damage(t, bare)
				damage(t, guarded)
			}
			gone := d.goneBare(t, bare)
			verdict := d.verdict(t, guarded, name)
			t.Logf("Badger alone opens it without %d of %d; the store: %s", gone, len(d.bodies), verdict)
			if (damage == nil) != (gone == 0) || (damage == nil) != (verdict == intact) {
				t.Error("the damage shows nothing")
			}
		})
	}
}

// tearTail makes zeros of the last log from the middle of its last event on.
func (d *deposit) tearTail(t *testing.T, dir string) {
	t.Helper()
	log, content := d.lastLog(t)
	at := bytes.LastIndex(content, []byte(d.bodies[d.last]))
	name := filepath.Join(dir, log)
	if at < 0 || os.Truncate(name, int64(at)) != nil || os.Truncate(name, int64(len(content))) != nil {
		t.Fatalf("%s cannot be torn at %d", name, at)
	}
}

// flip changes one bit within the text of an event, in a file of this pattern.
func (d *deposit) flip(t *testing.T, dir, pattern string) {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(dir, pattern))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		raw, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		for _, body := range d.bodies {
			// Tables are compressed, and text that does not repeat stands in them as it is.
			if at := bytes.Index(raw, []byte(body[len(body)-40:len(body)-10])); at >= 0 {
				raw[at+10] ^= 1
				if err := os.WriteFile(name, raw, 0o600); err != nil {
					t.Fatal(err)
				}
				return
			}
		}
	}
	t.Fatalf("no event stands in %s", pattern)
}

func remove(t *testing.T, name string) {
	t.Helper()
	if err := os.Remove(name); err != nil {
		t.Fatal(err)
	}
}

// goneBare opens a directory with Badger alone, and counts the events that are gone or have
// another body.
func (d *deposit) goneBare(t *testing.T, dir string) (gone int) {
	t.Helper()
	db, err := bdb.Open(bdb.DefaultOptions(dir).WithMemTableSize(16 << 20).WithValueLogFileSize(64 << 20).WithLogger(nil))
	if err != nil {
		t.Fatalf("Badger itself notices: %v", err)
	}
	defer db.Close()
	var all [][]byte
	err = db.View(func(txn *bdb.Txn) error {
		it := txn.NewIterator(bdb.DefaultIteratorOptions)
		defer it.Close()
		for it.Rewind(); it.Valid(); it.Next() {
			value, err := it.Item().ValueCopy(nil)
			if err != nil {
				return err
			}
			all = append(all, value)
		}
		return nil
	})
	if err != nil {
		t.Fatalf("Badger itself notices: %v", err)
	}
	for _, body := range d.bodies {
		found := false
		for _, value := range all {
			found = found || bytes.Contains(value, []byte(body))
		}
		if !found {
			gone++
		}
	}
	return gone
}
