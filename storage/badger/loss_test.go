package badger

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	bdb "github.com/dgraph-io/badger/v4"

	"github.com/caddyrelay/caddyrelay/relay"
	"github.com/caddyrelay/caddyrelay/storage/badger/files"
	"github.com/caddyrelay/caddyrelay/storage/storagetest"
)

// copyDirectory copies the files of an open store, as kill -9 leaves them: what is mapped
// into memory is read as it is there. Badger may make a table of a log meanwhile; then it
// begins again, since a kill leaves the files of one moment.
func copyDirectory(t testing.TB, from string) string {
	t.Helper()
	look := func() string {
		files, err := os.ReadDir(from)
		if err != nil {
			t.Fatal(err)
		}
		manifest, err := os.ReadFile(filepath.Join(from, manifestName))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			t.Fatal(err)
		}
		return fmt.Sprintf("%v %x", files, manifest)
	}
	for range 100 {
		to, before := t.TempDir(), look()
		files, err := os.ReadDir(from)
		for _, f := range files {
			if err == nil {
				err = copyFile(filepath.Join(from, f.Name()), filepath.Join(to, f.Name()))
			}
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			t.Fatal(err)
		}
		if err == nil && look() == before {
			return to
		}
	}
	t.Fatalf("%s does not come to rest", from)
	return ""
}

// copyFile leaves out what is zero: Badger's logs end in holes.
func copyFile(from, to string) error {
	src, err := os.Open(from)
	if err != nil {
		return err
	}
	defer src.Close()
	dst, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	buf, zeros := make([]byte, 256<<10), make([]byte, 256<<10)
	for at := int64(0); ; {
		n, err := io.ReadFull(src, buf)
		if n > 0 && !bytes.Equal(buf[:n], zeros[:n]) {
			if _, err := dst.WriteAt(buf[:n], at); err != nil {
				return errors.Join(err, dst.Close())
			}
		}
		if at += int64(n); err != nil {
			if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
				err = dst.Truncate(at)
			}
			return errors.Join(err, dst.Close())
		}
	}
}

// killed returns a copy of a directory as kill -9 leaves it, with n events.
func killedAfter(t *testing.T, n int) (dir string, events []*relay.Event) {
	t.Helper()
	s := openAt(t, t.TempDir(), nil)
	events = put(t, s, n)
	return copyDirectory(t, s.dir), events
}

// cutLog makes zeros of a log within the first record of the transaction that a text stands
// in, as a disk that never wrote the rest.
func cutLog(t *testing.T, dir, text string) {
	t.Helper()
	logs, err := filepath.Glob(filepath.Join(dir, "*.mem"))
	if err != nil || len(logs) == 0 {
		t.Fatalf("no logs: %v", err)
	}
	for _, name := range logs {
		raw, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		at := bytes.Index(raw, []byte(text))
		if at < 0 {
			continue
		}
		for range 2 {
			clear(raw[at:])
			if err := os.WriteFile(name, raw, 0o600); err != nil {
				t.Fatal(err)
			}
			log, err := files.ReadLog(name, files.Keys{}, nil)
			if err != nil {
				t.Fatal(err)
			}
			at = int(log.End) + 10
		}
		return
	}
	t.Fatalf("%q is in no log", text)
}

// TestLossIsNeverSilent: Badger drops all of a log behind a byte that is wrong and says
// nothing. The store refuses to open, and opens once for the token that the refusal prints.
// The log is kept as it was.
func TestLossIsNeverSilent(t *testing.T) {
	dir, events := killedAfter(t, 20)
	cutLog(t, dir, "body of event 12")
	log, err := os.ReadFile(filepath.Join(dir, "00001.mem"))
	if err != nil {
		t.Fatal(err)
	}

	// The control: Badger alone opens it, and finds no fault.
	control := copyDirectory(t, dir)
	db, err := bdb.Open(badgerOptions(control, &Options{Logger: openAt(t, t.TempDir(), nil).log}))
	if err != nil {
		t.Fatalf("Badger itself notices: %v", err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}

	var loss *LossError
	for range 2 { // it says the same again
		_, err := Open(dir, Options{})
		if !errors.As(err, &loss) {
			t.Fatalf("Open: %v, want a LossError", err)
		}
	}
	if loss.Count() != 8 || loss.Gaps[0].First != 13 || loss.Gaps[0].Last != 20 ||
		!loss.Gaps[0].After.Equal(events[11].Accepted) || !loss.Gaps[0].Before.Equal(events[19].Accepted) {
		t.Fatalf("%+v, want 13 to 20", loss)
	}
	if copied, err := os.ReadFile(filepath.Join(loss.Kept, "00001.mem")); err != nil || !bytes.Equal(copied, log) {
		t.Errorf("the log is kept in %q: %v, equal %v", loss.Kept, err, bytes.Equal(copied, log))
	}
	for _, want := range []string{dir, "8 acknowledged events", "13 to 20", "accept_loss " + loss.Token, "kept in " + loss.Kept} {
		if !strings.Contains(loss.Error(), want) {
			t.Errorf("%q does not say %q", loss.Error(), want)
		}
	}
	if _, err := Open(dir, Options{AcceptLoss: "0123456789ab"}); !errors.As(err, &loss) || !strings.Contains(err.Error(), "another loss") {
		t.Fatalf("another token: %v", err)
	}

	s, err := Open(dir, Options{AcceptLoss: loss.Token})
	if err != nil {
		t.Fatal(err)
	}
	next := put(t, s, 1)[0]
	if next.Seq <= events[19].Seq || s.committed().ordinal != 21 {
		t.Fatalf("the next event is %d at %d, after %d", s.committed().ordinal, next.Seq, events[19].Seq)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = openAt(t, dir, nil) // without a token
	if s.committed().lost != 8 {
		t.Fatalf("%d lost are recorded, want 8", s.committed().lost)
	}
	for i, e := range events[:12] {
		if _, err := s.Event(t.Context(), e.Seq); err != nil {
			t.Fatalf("event %d: %v", i, err)
		}
	}
}

// TestGapInTheMiddleIsFound: what is missing between others, as when one of several logs
// is cut, is found too; and a head is not taken from within the gap.
func TestGapInTheMiddleIsFound(t *testing.T) {
	dir := t.TempDir()
	s := openAt(t, dir, nil)
	events := put(t, s, 30)
	if err := s.db.Load().Update(func(txn *bdb.Txn) error {
		for i := 5; i < 15; i++ {
			if err := errors.Join(txn.Delete(eventKey(events[i].Seq)), txn.Delete(logKey(1, uint64(i+1)))); err != nil {
				return err
			}
		}
		return txn.Delete(progressKey(1))
	}); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	_, err := Open(dir, Options{})
	var loss *LossError
	if !errors.As(err, &loss) || loss.Count() != 10 || loss.Gaps[0].First != 6 {
		t.Fatalf("Open: %v, want the loss of 6 to 15", err)
	}
	s, err = Open(dir, Options{AcceptLoss: loss.Token})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if e := put(t, s, 1)[0]; e.Deliveries[0].Pos != 31 {
		t.Fatalf("the next event has position %d: the head was found within the gap", e.Deliveries[0].Pos)
	}
}

// TestTrimmedIsNotLost: what trimming removed is no gap, over any number of reopenings.
func TestTrimmedIsNotLost(t *testing.T) {
	dir := t.TempDir()
	clock := storagetest.NewClock(storagetest.Start)
	for range 3 {
		s := openAt(t, dir, clock)
		last := put(t, s, 10)[9].Deliveries[0].Pos
		if err := s.Commit(t.Context(), []relay.Update{{Progress: relay.Progress{Subscription: "crm", Low: last - 3}}}); err != nil {
			t.Fatal(err)
		}
		clock.Advance(1 << 40)
		if _, err := s.Trim(t.Context(), relay.TrimPolicy{DeliveredBefore: clock.Now(), FailedBefore: clock.Now()}); err != nil {
			t.Fatal(err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// TestEmptiedDirectory: the sentinel knows what the database should hold, and which.
func TestEmptiedDirectory(t *testing.T) {
	dir := t.TempDir()
	s := openAt(t, dir, nil)
	put(t, s, 4)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	other := t.TempDir()
	s = openAt(t, other, nil)
	put(t, s, 2)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}

	mixed := copyDirectory(t, dir)
	raw, err := os.ReadFile(filepath.Join(other, sentinelName))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(mixed, sentinelName), raw, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(mixed, Options{}); !errors.Is(err, ErrOtherStore) {
		t.Fatalf("another store's sentinel: %v", err)
	}

	for _, damage := range []func(name string) error{os.Remove, func(name string) error { return os.WriteFile(name, []byte("x"), 0o600) }} {
		without := copyDirectory(t, dir)
		if err := damage(filepath.Join(without, sentinelName)); err != nil {
			t.Fatal(err)
		}
		_, err = Open(without, Options{})
		if err == nil || !strings.Contains(err.Error(), sentinelName) {
			t.Fatalf("without a sentinel: %v", err)
		}
		_, token, _ := strings.Cut(err.Error(), "accept_loss ")
		s, err := Open(without, Options{AcceptLoss: token})
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		if put(t, openAt(t, without, nil), 1)[0].Deliveries[0].Pos != 5 {
			t.Fatal("the store has lost its place")
		}
	}

	emptied := t.TempDir()
	raw, err = os.ReadFile(filepath.Join(dir, sentinelName))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(emptied, sentinelName), raw, 0o600); err != nil {
		t.Fatal(err)
	}
	var loss *LossError
	for range 2 {
		if _, err := Open(emptied, Options{}); !errors.As(err, &loss) || loss.Count() != 4 {
			t.Fatalf("an emptied directory: %v", err)
		}
	}
	s, err = Open(emptied, Options{AcceptLoss: loss.Token})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	put(t, s, 1)
	if n := s.committed().ordinal; n != 5 {
		t.Fatalf("the number %d is given again", n)
	}
}

// TestSentinelIsNeverTorn: with one of its lines cut anywhere, the other one counts.
func TestSentinelIsNeverTorn(t *testing.T) {
	dir := t.TempDir()
	m, err := makeSentinel(dir, acked{id: [16]byte{1, 2, 3}})
	if err != nil {
		t.Fatal(err)
	}
	for i := range uint64(10) {
		if err := m.note(i+1, relay.Seq(100+i)); err != nil {
			t.Fatal(err)
		}
	}
	if err := m.close(); err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(dir, sentinelName)
	whole, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if a, _, err := readSentinel(dir); err != nil || a != (acked{[16]byte{1, 2, 3}, 10, 109}) {
		t.Fatalf("%+v, %v", a, err)
	}
	for at := range len(whole) {
		bad := bytes.Clone(whole)
		bad[at] ^= 0xff
		if err := os.WriteFile(name, bad, 0o600); err != nil {
			t.Fatal(err)
		}
		a, _, err := readSentinel(dir)
		if err != nil || a.ordinal < 9 || a.id != ([16]byte{1, 2, 3}) {
			t.Fatalf("byte %d changed: %+v, %v", at, a, err)
		}
	}
}

func TestForeignDirectories(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "holiday.jpg"), []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(dir, Options{}); !errors.Is(err, ErrForeign) || !strings.Contains(err.Error(), "holiday.jpg") {
		t.Fatalf("Open: %v", err)
	}
	dir = t.TempDir()
	db, err := bdb.Open(bdb.DefaultOptions(dir).WithLogger(nil))
	if err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(dir, Options{}); !errors.Is(err, errSentinelMissing) {
		t.Fatalf("another program's Badger: %v", err)
	}
	if _, err := Open("/proc/nothing/here", Options{}); err == nil || !strings.Contains(err.Error(), "making the directory") {
		t.Fatalf("a directory that cannot be made: %v", err)
	}
	if _, err := Open("/proc/self", Options{}); err == nil {
		t.Fatal("a directory that cannot be written to: no error")
	}
}

func TestEncryptedStore(t *testing.T) {
	dir := t.TempDir()
	key := bytes.Repeat([]byte{7}, 32)
	s, err := Open(dir, Options{EncryptionKey: key})
	if err != nil {
		t.Fatal(err)
	}
	event := put(t, s, 1)[0]
	if !s.HasKey(key) || s.HasKey(nil) {
		t.Fatal("HasKey does not know the key")
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	files, _ := os.ReadDir(dir)
	for _, f := range files {
		raw, err := os.ReadFile(filepath.Join(dir, f.Name()))
		if err != nil || bytes.Contains(raw, []byte("the body of event")) {
			t.Fatalf("%s holds the data in clear; %v", f.Name(), err)
		}
	}
	for name, wrong := range map[string][]byte{"another": bytes.Repeat([]byte{8}, 32), "none": nil} {
		if _, err := Open(dir, Options{EncryptionKey: wrong}); !errors.Is(err, ErrWrongKey) {
			t.Fatalf("%s key: %v", name, err)
		}
	}
	s, err = Open(dir, Options{EncryptionKey: key})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if e, err := s.Event(t.Context(), event.Seq); err != nil || string(e.Data) != "the body of event 0" {
		t.Fatalf("%v, %v", e, err)
	}
	plain := t.TempDir()
	if err := openAt(t, plain, nil).Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(plain, Options{EncryptionKey: key}); !errors.Is(err, ErrWrongKey) {
		t.Fatalf("a key for a store without: %v", err)
	}
}
