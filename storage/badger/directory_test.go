package badger

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/caddyrelay/caddyrelay/relay"
	"github.com/caddyrelay/caddyrelay/storage/storagetest"
)

func put(t *testing.T, s *Store, n int) []*relay.Event {
	t.Helper()
	var events []*relay.Event
	for i := range n {
		e := &relay.Event{Type: "order.paid", Data: fmt.Appendf(nil, "the body of event %d", i)}
		if _, err := s.Append(t.Context(), relay.Batch{Items: []relay.Item{{Event: e, Targets: storagetest.Targets("crm")}}}, nil); err != nil {
			t.Fatal(err)
		}
		events = append(events, e)
	}
	return events
}

func TestDirectoryIsPrivate(t *testing.T) {
	made := filepath.Join(t.TempDir(), "a", "b")
	open := filepath.Join(t.TempDir(), "open")
	if err := os.Mkdir(open, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{made, open} {
		put(t, openAt(t, dir, nil), 1)
		info, err := os.Stat(dir)
		if err != nil || info.Mode().Perm() != 0o700 {
			t.Fatalf("%s has mode %v, %v; want 0700", dir, info.Mode(), err)
		}
	}
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(file, Options{}); err == nil || !strings.Contains(err.Error(), file) {
		t.Fatalf("Open of a file: %v", err)
	}
}

func TestLockedByAnotherProcess(t *testing.T) {
	dir := t.TempDir()
	cmd := exec.Command(os.Args[0], "run", "--secret")
	out := startChild(t, cmd, childEnv+"="+dir)
	defer func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}()
	if _, err := out.Read(make([]byte, 4)); err != nil {
		t.Fatal(err)
	}
	// A log of no length may be one that the other process is making.
	empty := filepath.Join(dir, "99999.mem")
	if err := os.WriteFile(empty, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := Open(dir, Options{})
	if !errors.Is(err, ErrLocked) {
		t.Fatalf("Open: %v, want ErrLocked", err)
	}
	for _, want := range []string{dir, fmt.Sprint(cmd.Process.Pid), " run\")", `use "caddy reload"`} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("the error %q does not say %q", err, want)
		}
	}
	if strings.Contains(err.Error(), "secret") {
		t.Errorf("the error %q tells the command's arguments", err)
	}
	if _, err := os.Stat(empty); err != nil {
		t.Error("a file of a store in use was removed")
	}
}

func TestLockedByThisProcess(t *testing.T) {
	dir := t.TempDir()
	s := openAt(t, dir, nil)
	_, err := Open(dir, Options{})
	if !errors.Is(err, ErrLocked) || !strings.Contains(err.Error(), "this process") {
		t.Fatalf("Open: %v, want ErrLocked by this process", err)
	}
	put(t, s, 1)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	openAt(t, dir, nil)
}

func TestEmptyLogsAreRemoved(t *testing.T) {
	dir := t.TempDir()
	s := openAt(t, dir, nil)
	events := put(t, s, 3)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"00009.mem", "000009.vlog"} {
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	s = openAt(t, dir, nil)
	if _, err := s.Event(t.Context(), events[2].Seq); err != nil {
		t.Fatal(err)
	}
}

func TestMissingManifestIsRefused(t *testing.T) {
	dir := t.TempDir()
	s := openAt(t, dir, nil)
	events := put(t, s, 3)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	manifest := filepath.Join(dir, "MANIFEST")
	if err := os.Rename(manifest, manifest+".away"); err != nil {
		t.Fatal(err)
	}
	files, _ := filepath.Glob(filepath.Join(dir, "*"))
	_, err := Open(dir, Options{})
	if !errors.Is(err, ErrNoManifest) || !strings.Contains(err.Error(), "MANIFEST is missing") || !strings.Contains(err.Error(), "Restore") {
		t.Fatalf("Open: %v, want ErrNoManifest with the mend", err)
	}
	if after, _ := filepath.Glob(filepath.Join(dir, "*")); len(after) != len(files) {
		t.Fatalf("%d files are left of %d", len(after), len(files))
	}
	if err := os.Rename(manifest+".away", manifest); err != nil {
		t.Fatal(err)
	}
	s = openAt(t, dir, nil)
	if _, err := s.Event(t.Context(), events[2].Seq); err != nil {
		t.Fatal(err)
	}
}
