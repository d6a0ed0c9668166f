package badger

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	bdb "github.com/dgraph-io/badger/v4"

	"github.com/caddyrelay/caddyrelay/relay"
	"github.com/caddyrelay/caddyrelay/storage/badger/files"
	"github.com/caddyrelay/caddyrelay/storage/storagetest"
)

// What is synced is the file that was written to, also when Badger has begun another, and
// after tables were dropped, when it begins one that no commit goes to.
func TestTheLogThatIsSyncedIsTheOneThatIsWrittenTo(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "store")
	s := openAt(t, dir, nil)
	logs := make(map[string]bool)
	wantSynced := func(what string, body []byte) {
		t.Helper()
		name := s.db.Load().journal.file.Name()
		logs[name] = true
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		if !bytes.Contains(text, body) {
			t.Fatalf("%s: the log that was synced, %s, does not hold what was committed", what, name)
		}
	}
	store := func(n, size int) []byte {
		t.Helper()
		// What repeats would be stored in fewer bytes than it has.
		body := make([]byte, size)
		noise := rand.NewChaCha8([32]byte{byte(n)})
		_, _ = noise.Read(body)
		e := &relay.Event{Type: "order.paid", Data: body}
		if _, err := s.Append(t.Context(), relay.Batch{Items: []relay.Item{{Event: e, Targets: storagetest.Targets("crm")}}}, nil); err != nil {
			t.Fatal(err)
		}
		return body
	}
	for n := range 60 { // of which some twenty fill a log
		wantSynced(fmt.Sprintf("event %d", n), store(n, 700_000))
	}
	if len(logs) < 3 {
		t.Fatalf("there were %d logs; want several", len(logs))
	}
	for round := range 2 { // without a commit between what is dropped
		r := &reclaimRequest{make(chan error, 1)}
		if err := s.submit(t.Context(), r); err != nil {
			t.Fatal(err)
		}
		wantSynced(fmt.Sprintf("drop %d", round), nil)
	}
	wantSynced("after what was dropped", store(100, 1000))
	for n := range 60 {
		wantSynced(fmt.Sprintf("event %d after it", n), store(n, 700_000))
	}
}

// A commit that cannot be synced is none.
func TestCommitThatCannotBeSyncedFails(t *testing.T) {
	s := openAt(t, filepath.Join(t.TempDir(), "store"), nil)
	d := s.db.Load()
	if err := d.journal.file.Close(); err != nil {
		t.Fatal(err)
	}
	if err := d.Update(func(txn *bdb.Txn) error { return txn.Set([]byte{scratchPrefix}, nil) }); err == nil {
		t.Error("it succeeded")
	}
}

// What needs no descriptor is done where there is none: a commit, and reading.
func TestCommitTakesNoDescriptor(t *testing.T) {
	s := openAt(t, filepath.Join(t.TempDir(), "store"), nil)
	events := put(t, s, 1)
	var before syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &before); err != nil {
		t.Fatal(err)
	}
	none := syscall.Rlimit{Cur: 0, Max: before.Max}
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &none); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &before); err != nil {
			t.Error(err)
		}
	}()
	for range 3 {
		put(t, s, 1)
	}
	if _, err := s.Event(t.Context(), events[0].Seq); err != nil {
		t.Error(err)
	}
}

// Where no log can be begun the commit fails, and who reads is told so: Badger has nothing left
// to read from, and the process shall not end of that.
func TestReadWhileNoLogCouldBeBegun(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "store")
	s := openAt(t, dir, nil)
	s.mendAfter = 50 * time.Millisecond
	events := put(t, s, 1)
	next := files.LogName(dir, s.db.Load().journal.number+1)
	if err := os.Mkdir(next, 0o700); err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	var refused atomic.Bool
	var readers sync.WaitGroup
	for range 4 {
		readers.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
				}
				if _, err := s.Event(background, events[0].Seq); errors.Is(err, errHeadless) {
					refused.Store(true)
				} else if err != nil && !errors.Is(err, relay.ErrBroken) {
					t.Errorf("reading: %v", err)
					return
				}
			}
		})
	}
	data := make([]byte, 700_000)
	noise := rand.NewChaCha8([32]byte{})
	_, _ = noise.Read(data)
	var err error
	for range 2 * memTableSize / len(data) {
		b := relay.Batch{Items: []relay.Item{{Event: &relay.Event{Type: "order.paid", Data: data}, Targets: storagetest.Targets("crm")}}}
		if _, err = s.Append(t.Context(), b, nil); err != nil {
			break
		}
	}
	if !errors.Is(err, relay.ErrBroken) {
		t.Errorf("writing: %v; want %v", err, relay.ErrBroken)
	}
	eventually(t, "who reads is refused", refused.Load)
	if err := os.Remove(next); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the store is open again", func() bool { return s.Err() == nil })
	close(done)
	readers.Wait()
	if _, err := s.Event(t.Context(), events[0].Seq); err != nil {
		t.Error(err)
	}
	put(t, s, 1)
}

// A database is found by its log with the highest number, whatever else lies there.
func TestJournalIsThatWithTheHighestNumber(t *testing.T) {
	dir := t.TempDir()
	if _, err := openJournal(dir); err == nil {
		t.Error("without a log: no error")
	}
	for _, name := range []string{"00009.mem", "99999.mem", "100000.mem", "200000.sst", "x.mem"} {
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	j, err := openJournal(dir)
	if err != nil {
		t.Fatal(err)
	}
	names := []string{"100000.mem", "100001.mem"}
	var synced []string
	for i := range names {
		if i > 0 {
			if err := os.WriteFile(filepath.Join(dir, names[i]), nil, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if err := j.sync(); err != nil {
			t.Fatal(err)
		}
		synced = append(synced, filepath.Base(j.file.Name()))
	}
	if !slices.Equal(synced, names) {
		t.Errorf("synced %v; want %v", synced, names)
	}
	if err := j.close(); err != nil {
		t.Error(err)
	}
}

// largeRequest writes what Badger would put into its value log.
type largeRequest struct{ done chan error }

func (r *largeRequest) plan(c *committer) error {
	c.put([]byte{scratchPrefix}, make([]byte, valueThreshold))
	return nil
}

func (r *largeRequest) settle(error) {}

func (r *largeRequest) answer() chan error { return r.done }

// The value log is not synced: what would stand there is not committed.
func TestRecordForTheValueLogFailsTheGroup(t *testing.T) {
	s := openAt(t, filepath.Join(t.TempDir(), "store"), nil)
	put(t, s, 1)
	if err := s.submit(t.Context(), &largeRequest{make(chan error, 1)}); !errors.Is(err, relay.ErrBroken) {
		t.Errorf("%v; want %v", err, relay.ErrBroken)
	}
	eventually(t, "the store is open again", func() bool { return s.Err() == nil })
	put(t, s, 1)
	err := s.db.Load().view(func(txn *bdb.Txn) error {
		_, err := txn.Get([]byte{scratchPrefix})
		return err
	})
	if !errors.Is(err, bdb.ErrKeyNotFound) {
		t.Errorf("looking for the record: %v; want %v", err, bdb.ErrKeyNotFound)
	}
}
