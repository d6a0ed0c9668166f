package integration

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// listing names the files of a directory with their sizes.
func listing(t *testing.T, dir string) (all []string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		info, err := entry.Info()
		all = append(all, fmt.Sprint(strings.TrimPrefix(path, dir), " ", info.Size()))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// F9: each file of the store is missing, or empty. The store opens with everything, or
// says what is wrong; a refusal deletes nothing that held anything.
func TestMissingFileIsNamedAndNothingIsDeleted(t *testing.T) {
	t.Parallel()
	d := newDeposit(t)
	files, err := os.ReadDir(d.dir)
	if err != nil {
		t.Fatal(err)
	}
	counts := make(map[string]int)
	for _, file := range files {
		name := file.Name()
		for _, empty := range []bool{false, true} {
			what := fmt.Sprintf("%s, empty=%v", name, empty)
			dir := d.copy(t)
			path := filepath.Join(dir, name)
			damage := os.Remove
			if empty {
				damage = func(path string) error { return os.Truncate(path, 0) }
			}
			if err := damage(path); err != nil {
				t.Fatal(err)
			}
			before := listing(t, dir)
			s, err := openStore(dir, "")
			if err == nil {
				if gone := d.missing(t, s, what); gone > 0 {
					t.Errorf("%s: it opens, and %d events are gone", what, gone)
				}
				if err := s.Close(); err != nil {
					t.Errorf("%s: %v", what, err)
				}
				counts["opens without "+name]++
				continue
			}
			counts["refused"]++
			if !strings.Contains(err.Error(), dir) {
				t.Errorf("%s: the refusal does not name the directory: %v", what, err)
			}
			after := listing(t, dir)
			for _, entry := range before {
				// Opening may write, and what held data stays. No value is ever in a .vlog.
				file, size, _ := strings.Cut(entry, " ")
				there := slices.ContainsFunc(after, func(entry string) bool { return strings.HasPrefix(entry, file+" ") })
				if size != "0" && !there && file != "/LOCK" && filepath.Ext(file) != ".vlog" {
					t.Errorf("%s: %s was deleted by a refusal: %v", what, file, err)
				}
			}
			t.Logf("%s: %.160s", what, strings.TrimPrefix(err.Error(), "opening the store in "+dir))
			// With the file back all is there.
			if raw, err := os.ReadFile(filepath.Join(d.dir, name)); err != nil {
				t.Fatal(err)
			} else if err := os.WriteFile(path, raw, 0o600); err != nil {
				t.Fatal(err)
			}
			s, err = openStore(dir, "")
			if err != nil {
				t.Errorf("%s: with the file back: %v", what, err)
				continue
			}
			if gone := d.missing(t, s, what); gone > 0 {
				t.Errorf("%s: with the file back %d events are gone", what, gone)
			}
			if err := s.Close(); err != nil {
				t.Errorf("%s: %v", what, err)
			}
		}
	}
	t.Logf("%v", counts)
}

// F9: a directory that holds something else is refused by name, and left as it is.
func TestForeignDirectoryIsLeftAlone(t *testing.T) {
	t.Parallel()
	const mixture = "another store's SENTINEL"
	d, other := newDeposit(t), newDeposit(t)
	mixed := func(names ...string) func(t *testing.T) string {
		return func(t *testing.T) string {
			dir := d.copy(t)
			for _, name := range names {
				raw, err := os.ReadFile(filepath.Join(other.dir, name))
				if err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(filepath.Join(dir, name), raw, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			return dir
		}
	}
	for _, c := range []struct {
		name, want string
		make       func(t *testing.T) string
	}{
		{"another program's", "holds", func(t *testing.T) string {
			dir := filepath.Join(t.TempDir(), "theirs")
			err := errors.Join(os.MkdirAll(filepath.Join(dir, "data"), 0o755),
				os.WriteFile(filepath.Join(dir, "postgresql.conf"), []byte("port = 5432\n"), 0o600))
			if err != nil {
				t.Fatal(err)
			}
			return dir
		}},
		{mixture, "two stores", mixed("SENTINEL")},
		{"a file in place of a directory", "not a directory", func(t *testing.T) string {
			file := filepath.Join(t.TempDir(), "file")
			if err := os.WriteFile(file, []byte("x"), 0o600); err != nil {
				t.Fatal(err)
			}
			return file
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			dir := c.make(t)
			before := listing(t, dir)
			s, err := openStore(dir, "")
			if err == nil {
				_ = s.Close()
				t.Fatal("it opens")
			}
			if !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), dir) {
				t.Errorf("%v; want %q and the directory", err, c.want)
			}
			if after := listing(t, dir); c.name != mixture && !slices.Equal(before, after) {
				t.Errorf("before: %v; after: %v", before, after)
			}
			if c.name != mixture {
				return
			}
			// Logs may have become tables. With its own file back all is there.
			raw, err := os.ReadFile(filepath.Join(d.dir, "SENTINEL"))
			if err == nil {
				err = os.WriteFile(filepath.Join(dir, "SENTINEL"), raw, 0o600)
			}
			if err == nil {
				s, err = openStore(dir, "")
			}
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			if gone := d.missing(t, s, c.name); gone > 0 {
				t.Errorf("%d events are gone", gone)
			}
		})
	}
}
