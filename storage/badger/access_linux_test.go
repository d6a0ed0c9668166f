package badger

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
)

// stranger is a user that owns nothing.
const stranger = 65533

// asStranger does something as a user that is not root, in a thread that ends with it.
func asStranger(t *testing.T, do func() error) error {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root, to become another user")
	}
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread is no longer root's
		if err := syscall.Setfsuid(stranger); err != nil {
			done <- err
			return
		}
		done <- do()
	}()
	return <-done
}

// closed makes a store with some events, closes it, and gives it to the stranger.
func closed(t *testing.T) (dir string) {
	t.Helper()
	dir = filepath.Join(t.TempDir(), "store")
	s := openAt(t, dir, nil)
	put(t, s, 3)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	for path := filepath.Dir(dir); path != os.TempDir() && path != "/"; path = filepath.Dir(path) {
		if err := os.Chmod(path, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	chownAll(t, dir, stranger)
	return dir
}

func chownAll(t *testing.T, dir string, uid int) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		return errors.Join(err, os.Chown(path, uid, uid))
	})
	if err != nil {
		t.Skipf("needs root, to give files away: %v", err)
	}
}

// owned returns the names of what in a directory belongs to a user, itself included.
func owned(t *testing.T, dir string, uid int) (names []string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := os.Lstat(path)
		if err != nil {
			return err
		}
		if owner, _, ok := ownerOf(info); ok && owner == uid {
			names = append(names, filepath.Base(path))
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return names
}

// TestFilesOfAnotherUserAreNotDamage: who was once started as root left files that are
// root's. Nothing is damaged then, nothing may be given up for it, and the refusal says whose
// the file is.
func TestFilesOfAnotherUserAreNotDamage(t *testing.T) {
	open := func(dir string) error {
		return asStranger(t, func() error {
			s, err := Open(dir, Options{})
			if err == nil {
				err = s.Close()
			}
			return err
		})
	}
	dir := closed(t)
	if err := open(dir); err != nil {
		t.Fatalf("the control: the owner of all files cannot open the store: %v", err)
	}
	for _, name := range append(owned(t, dir, stranger), ".") {
		if name == filepath.Base(dir) {
			continue
		}
		path := filepath.Join(dir, name)
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(os.Chown(path, 0, 0), os.Chmod(path, info.Mode()&^0o077)); err != nil {
			t.Fatal(err)
		}
		before := owned(t, dir, stranger)
		err = open(dir)
		if err == nil {
			t.Errorf("%s is root's, and the store opens", name)
			continue
		}
		for _, want := range []string{path + " belongs to root", "permission denied", "nothing is damaged", "chown -R "} {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("%s is root's: %v; want %q", name, err, want)
			}
		}
		if _, ok := errors.AsType[*DamageError](err); ok || errors.Is(err, ErrDamaged) || strings.Contains(err.Error(), "accept_loss") {
			t.Errorf("%s is root's, and is told to be damaged: %v", name, err)
		}
		if after := owned(t, dir, stranger); !slices.Equal(before, after) {
			t.Errorf("%s is root's, and files have changed: %v before, %v after", name, before, after)
		}
		if err := os.Chown(path, stranger, stranger); err != nil {
			t.Fatal(err)
		}
	}
	if err := open(dir); err != nil {
		t.Errorf("with every file its own again: %v", err)
	}
}

// TestRootLeavesFilesToTheirOwner: "sudo caddy relay doctor --storage" and the like open the
// store of another user, whose Caddy has to start afterwards.
func TestRootLeavesFilesToTheirOwner(t *testing.T) {
	dir := closed(t)
	for _, use := range []struct {
		name string
		use  func() error
	}{
		{"doctor --storage", func() error {
			_, err := Verify(dir, Options{})
			return err
		}},
		{"export --offline, or a start", func() error {
			s, err := Open(dir, Options{})
			if err != nil {
				return err
			}
			put(t, s, 10)
			return s.Close()
		}},
	} {
		if err := use.use(); err != nil {
			t.Fatalf("%s: %v", use.name, err)
		}
		if names := owned(t, dir, 0); len(names) > 0 {
			t.Errorf("after %s as root, %v belong to root", use.name, names)
		}
	}
}

// TestDirectoryThatCannotBeMade: each cause has its own mend.
func TestDirectoryThatCannotBeMade(t *testing.T) {
	tmp := t.TempDir()
	file, link := filepath.Join(tmp, "file"), filepath.Join(tmp, "link")
	if err := errors.Join(os.WriteFile(file, nil, 0o600), os.Symlink(filepath.Join(tmp, "unmounted"), link)); err != nil {
		t.Fatal(err)
	}
	for dir, want := range map[string]string{
		filepath.Join(file, "store"):      file + " is a file",
		filepath.Join(file, "a", "store"): file + " is a file",
		link:                              "a link that leads nowhere: mount what it leads to",
		"/proc/nothing/here":              "install -d -m 700 -o ",
	} {
		_, err := Open(dir, Options{})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v; want %s", dir, err, want)
		}
	}
}

// TestTooFewDescriptorsAreNoDamage: a table that cannot be opened, since this process may open
// no more files, is whole.
func TestTooFewDescriptorsAreNoDamage(t *testing.T) {
	for _, err := range []error{syscall.EMFILE, syscall.ENFILE, syscall.ENOMEM} {
		path := &fs.PathError{Op: "open", Path: "/store/000001.sst", Err: err}
		if text := explainAccess("/store", path).Error(); !isShort(path) || !strings.Contains(text, "nothing is damaged: allow this process more") {
			t.Errorf("%v: %s", err, text)
		}
	}
	for cause, want := range map[error]string{
		syscall.ENOSPC: "df -i", syscall.EMFILE: "LimitNOFILE", syscall.ENOMEM: "MemoryMax", syscall.EIO: "from a backup",
	} {
		// As Badger wraps it.
		if text := explainOpen("/store", errors.New("while opening memtable: "+cause.Error()), &Options{}).Error(); !strings.Contains(text, want) {
			t.Errorf("%v: %s; want %s", cause, text, want)
		}
	}
	if isShort(fmt.Errorf("reading: %w", syscall.EIO)) {
		t.Error("a disk that cannot be read is taken for a limit of the process")
	}
}
