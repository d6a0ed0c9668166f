package badger

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	bdb "github.com/dgraph-io/badger/v4"
)

// TestDamagedTableIsRefused: a byte that has changed in a table is named, with and without
// encryption, where Badger would end the process.
func TestDamagedTableIsRefused(t *testing.T) {
	for _, key := range [][]byte{nil, bytes.Repeat([]byte{7}, 32)} {
		dir, refused := t.TempDir(), 0
		for range 2 {
			s, err := Open(dir, Options{EncryptionKey: key})
			if err != nil {
				t.Fatal(err)
			}
			put(t, s, 50)
			if err := s.Close(); err != nil { // makes a table of the log
				t.Fatal(err)
			}
		}
		names, err := filepath.Glob(filepath.Join(dir, "*"+tableSuffix))
		if err != nil || len(names) == 0 {
			t.Fatalf("no tables: %v", err)
		}
		for _, name := range names {
			sound, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			for range 20 {
				bad := bytes.Clone(sound)
				at := rand.IntN(len(bad))
				bad[at] ^= 1 << rand.IntN(8)
				if err := os.WriteFile(name, bad, 0o600); err != nil {
					t.Fatal(err)
				}
				s, err := Open(dir, Options{EncryptionKey: key})
				if err == nil {
					err = s.Close()
				}
				report, verifyErr := Verify(dir, Options{EncryptionKey: key})
				if err == nil {
					// Compressed data may say the same in two ways.
					if err := verifyErr; err != nil || report == nil || !report.Sound() || report.Events != 100 {
						t.Fatalf("byte %d of %d: it opens; Verify: %+v, %v", at, len(bad), report, err)
					}
					break // what is there now may be other files
				}
				for _, err := range []error{err, verifyErr} {
					if !errors.Is(err, ErrDamagedTable) || !strings.Contains(err.Error(), name) {
						t.Fatalf("byte %d of %d: %v", at, len(bad), err)
					}
				}
				refused++
			}
			if err := os.WriteFile(name, sound, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if refused == 0 {
			t.Error("nothing was ever refused")
		}
		s, err := Open(dir, Options{EncryptionKey: key})
		if err != nil {
			t.Fatal(err)
		}
		if err := s.view(func(txn *bdb.Txn) error {
			n := 0
			err := each(txn, eventPrefix, func(_, _ []byte) error { n++; return nil })
			if n != 100 {
				t.Errorf("%d events; want 100", n)
			}
			return err
		}); err != nil {
			t.Fatal(err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
}
