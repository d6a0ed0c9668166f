package badger

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/caddyrelay/caddyrelay/relay"
	"github.com/caddyrelay/caddyrelay/storage/storagetest"
)

// taken tries to store an event.
func taken(t *testing.T, s *Store) error {
	t.Helper()
	_, err := s.Append(t.Context(), relay.Batch{Items: []relay.Item{{Event: &relay.Event{Type: "order.paid"}, Targets: storagetest.Targets("crm")}}}, nil)
	return err
}

func wantGone(t *testing.T, what string, err error) {
	t.Helper()
	if !errors.Is(err, relay.ErrBroken) || !errors.Is(err, errVanished) || !strings.Contains(err.Error(), "put it back or mount it again") {
		t.Errorf("%s: %v; want that the store is gone", what, err)
	}
}

// TestStoreThatVanishesTakesNothing: whose directory is renamed, removed or unmounted while
// it is open would take events for files that nobody finds again. It notices with the next
// event, or by itself, and goes on when the directory is back.
func TestStoreThatVanishesTakesNothing(t *testing.T) {
	for _, how := range []string{"an event comes", "nothing comes"} {
		t.Run(how, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "store")
			s, err := Open(dir, Options{hurry: how == "nothing comes"})
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			s.mendAfter = 10 * time.Millisecond
			events := put(t, s, 3)
			if err := os.Rename(dir, dir+".away"); err != nil {
				t.Fatal(err)
			}
			if how == "an event comes" {
				wantGone(t, "an event", taken(t, s))
			}
			eventually(t, "the store says that it is gone", func() bool { return s.Err() != nil })
			wantGone(t, "Err", s.Err())
			if stats, err := s.Stats(t.Context()); err != nil || stats.Location != dir || stats.Events != 3 {
				t.Errorf("while it is gone, Stats says %+v, %v", stats, err)
			}
			if err := os.Rename(dir+".away", dir); err != nil {
				t.Fatal(err)
			}
			eventually(t, "the store is open again", func() bool { return s.Err() == nil })
			events = append(events, put(t, s, 2)...)
			page, err := s.Events(t.Context(), relay.EventQuery{Limit: 10})
			if err != nil {
				t.Fatal(err)
			}
			there := make(map[string]bool)
			for _, e := range page.Events {
				there[e.ID] = true
			}
			for _, e := range events {
				if !there[e.ID] {
					t.Errorf("%s was acknowledged, and is not there", e.ID)
				}
			}
		})
	}
}

// TestEmptyDirectoryInPlaceOfAStoreBecomesNone: where a store has vanished and an empty
// directory stands in its place, as an unmounted volume leaves it, no new store is made
// there while anybody remembers the old one.
func TestEmptyDirectoryInPlaceOfAStoreBecomesNone(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "store")
	s := openAt(t, dir, nil)
	s.mendAfter = 10 * time.Millisecond
	if err := errors.Join(os.Rename(dir, dir+".away"), os.Mkdir(dir, 0o700)); err != nil {
		t.Fatal(err)
	}
	wantGone(t, "an event", taken(t, s))
	wantGone(t, "closing", fmt.Errorf("%w: %w", relay.ErrBroken, s.closeDatabase(time.Minute, nil)))
	if entries, err := os.ReadDir(dir); err != nil || len(entries) > 0 {
		t.Errorf("files were made in the empty directory: %v, %v", entries, err)
	}
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(dir+".away", dir); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the store is open again", func() bool { return s.Err() == nil })
}

// TestDiskThatIsTakenOutToBeMendedBecomesNoNewStore: a disk has failed, and the database is
// closed until it opens again. Meanwhile the disk is unmounted to be mended, and under its
// name is an empty directory.
func TestDiskThatIsTakenOutToBeMendedBecomesNoNewStore(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "store")
	s := openAt(t, dir, nil)
	put(t, s, 3)
	close(s.requests)
	<-s.stopped
	if err := s.closeDatabase(time.Minute, nil); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(os.Rename(dir, dir+".away"), os.Mkdir(dir, 0o700)); err != nil {
		t.Fatal(err)
	}
	c := &committer{s: s, commit: (*database).commit}
	if err := c.reopen(time.Minute); !errors.Is(err, errVanished) {
		t.Errorf("opening again: %v", err)
	}
	if err := errors.Join(os.Remove(dir), os.Rename(dir+".away", dir)); err != nil { // it is empty still
		t.Fatal(err)
	}
	if err := c.reopen(time.Minute); err != nil {
		t.Errorf("with the disk back: %v", err)
	}
	s.requests, s.stopped = make(chan request, queueLength), make(chan struct{})
	go c.run()
	put(t, s, 1)
}

// TestSentinelThatIsAnotherFileIsKnownByWhatItSays: not every file system keeps the numbers
// of its files. A copy is another file as soon as something is written.
func TestSentinelThatIsAnotherFileIsKnownByWhatItSays(t *testing.T) {
	s := openAt(t, t.TempDir(), nil)
	put(t, s, 1)
	path := filepath.Join(s.dir, sentinelName)
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	old := path + ".old"
	if err := errors.Join(os.Rename(path, old), os.WriteFile(path, text, 0o600)); err != nil {
		t.Fatal(err)
	}
	if err := s.sentinel.present(); err != nil {
		t.Errorf("the same under another number: %v", err)
	}
	put(t, s, 1) // into the file that was opened
	if err := s.sentinel.present(); !errors.Is(err, errVanished) || !strings.Contains(err.Error(), "other files are in its place") {
		t.Errorf("a copy of before: %v", err)
	}
	if err := os.Rename(old, path); err != nil {
		t.Fatal(err)
	}
}
