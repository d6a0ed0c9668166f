package badger

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestEveryRefusalSaysWhereAndWhy: whatever is done to whatever file of a store, it opens
// with all that it held, or the refusal names the directory, the cause and a mend.
func TestEveryRefusalSaysWhereAndWhy(t *testing.T) {
	for _, key := range [][]byte{nil, bytes.Repeat([]byte{7}, 32)} {
		w := newWreck(t, key)
		entries, err := os.ReadDir(w.dir)
		if err != nil {
			t.Fatal(err)
		}
		seen := make(map[string]bool)
		for _, entry := range entries {
			name := entry.Name()
			kind := strings.TrimLeft(name, "0123456789")
			short := counted(1, 0) == 1
			if name == ballastName || short && (seen[kind] || key != nil && name != "KEYREGISTRY" && kind != memSuffix) {
				continue
			}
			seen[kind] = true
			raw, err := os.ReadFile(filepath.Join(w.dir, name))
			if err != nil {
				t.Fatal(err)
			}
			written := len(bytes.TrimRight(raw, "\x00"))
			flip := func(at int) func(string) error {
				return func(path string) error {
					bad := bytes.Clone(raw)
					if at < len(bad) {
						bad[at] ^= 0x80
					}
					return os.WriteFile(path, bad, 0o600)
				}
			}
			for _, d := range []struct {
				what   string
				change func(path string) error
			}{
				{"missing", os.Remove},
				{"empty", func(path string) error { return os.Truncate(path, 0) }},
				{"one byte", func(path string) error { return os.Truncate(path, 1) }},
				{"half", func(path string) error { return os.Truncate(path, int64(written/2)) }},
				{"without its end", func(path string) error { return os.Truncate(path, int64(max(written-3, 0))) }},
				{"zeros", func(path string) error { return os.WriteFile(path, make([]byte, len(raw)), 0o600) }},
				{"first byte", flip(0)},
				{"a byte of the beginning", flip(1 + rand.IntN(19))},
				{"a byte in the middle", flip(written / 2)},
				{"the last byte", flip(written - 1)},
				{"a directory", func(path string) error { return errors.Join(os.Remove(path), os.Mkdir(path, 0o700)) }},
				{"noise", func(path string) error {
					noise := make([]byte, 3000)
					for i := range noise {
						noise[i] = byte(rand.Uint32())
					}
					return os.WriteFile(path, noise, 0o600)
				}},
			} {
				what := fmt.Sprintf("%s, %s, encrypted=%v", name, d.what, key != nil)
				if written == 0 && strings.Contains(d.what, "byte") {
					continue
				}
				dir := copyDirectory(t, w.dir)
				if err := d.change(filepath.Join(dir, name)); err != nil {
					t.Fatal(err)
				}
				s, err := Open(dir, Options{EncryptionKey: key})
				if err == nil {
					if gone := w.compare(t, s, what, nil); gone > 0 {
						t.Errorf("%s: it opens, and %d events are gone", what, gone)
					}
					if err := s.Close(); err != nil {
						t.Errorf("%s: closing: %v", what, err)
					}
				} else {
					w.wantExplained(t, dir, name, what, err)
				}
				_ = os.RemoveAll(dir)
			}
		}
	}
}

// wantExplained fails the test unless an error says where, why, and how to mend it.
func (w *wreck) wantExplained(t *testing.T, dir, name, what string, err error) {
	t.Helper()
	text := err.Error()
	loss := (*LossError)(nil)
	if !strings.Contains(text, dir) || !strings.Contains(text, name) && !errors.As(err, &loss) {
		t.Errorf("%s: the refusal does not say where: %v", what, err)
	}
	mended := false
	for _, mend := range []string{"estore the directory from a backup", "restore this file from a backup", "move it out of the directory"} {
		mended = mended || strings.Contains(text, mend)
	}
	if !mended {
		t.Errorf("%s: the refusal does not say what to do: %v", what, err)
	}
	t.Logf("%s: %.200s", what, strings.TrimPrefix(text, "opening the store in "+dir+": "))
}
