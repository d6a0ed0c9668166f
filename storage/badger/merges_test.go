package badger

import (
	"bufio"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	bdb "github.com/dgraph-io/badger/v4"
	"go.uber.org/zap"

	"github.com/caddyrelay/caddyrelay/relay"
	"github.com/caddyrelay/caddyrelay/storage/badger/files"
	"github.com/caddyrelay/caddyrelay/storage/storagetest"
)

const (
	// mergingEnv makes the test binary a process whose tables cannot be written when they are
	// merged in the directory that it names; unwatchedEnv makes it go on all the same.
	mergingEnv   = "CADDYRELAY_TEST_MERGE_IN"
	unwatchedEnv = "CADDYRELAY_TEST_UNWATCHED"
	// endingEnv makes it use the store then, and close it, and print what came of each.
	endingEnv = "CADDYRELAY_TEST_MERGE_ENDING"
)

// mergingChild stores events and merges tables while there are other files in the place of the
// new ones. It prints each event that it stored, and what came of merging.
func mergingChild(dir string) {
	s, err := Open(dir, Options{hurry: true, unwatched: os.Getenv(unwatchedEnv) != ""})
	if err != nil {
		fmt.Println("error", err)
		os.Exit(1)
	}
	data := make([]byte, 100<<10)
	_, _ = rand.Read(data)
	var last relay.Seq
	for range memTableSize / 2 / len(data) {
		e := &relay.Event{Type: "order.paid", Data: data}
		if _, err := s.Append(background, relay.Batch{Items: []relay.Item{{Event: e, Targets: storagetest.Targets("crm")}}}, nil); err != nil {
			fmt.Println("error", err)
			os.Exit(1)
		}
		fmt.Println("stored", uint64(e.Seq))
		last = e.Seq
	}
	ids, err := files.Tables(dir)
	if err != nil {
		fmt.Println("error", err)
		os.Exit(1)
	}
	first := uint64(1)
	if len(ids) > 0 {
		first = ids[len(ids)-1] + 1
	}
	for id := first + 1; id < first+gapMost/2; id++ { // the first is for the log
		if err := os.WriteFile(files.TableName(dir, id), nil, 0o600); err != nil {
			fmt.Println("error", err)
			os.Exit(1)
		}
	}
	merged := make(chan bool)
	go func() { merged <- s.reclaim() }()
	if os.Getenv(endingEnv) != "" {
		endHeld(s, last)
	}
	for {
		select {
		case ok := <-merged:
			fmt.Println("merged", ok)
		case <-time.After(10 * time.Millisecond):
			if err := s.Err(); err != nil {
				fmt.Println("held", err)
			}
		}
	}
}

// endHeld reads from a store, writes to it and closes it, from before its merging is held on.
func endHeld(s *Store, seq relay.Seq) {
	for s.db.Load().dropping.Load() == nil {
		time.Sleep(time.Millisecond)
	}
	read, wrote := make(chan error), make(chan error)
	go func() {
		_, err := s.Event(background, seq)
		read <- err
	}()
	go func() {
		_, err := s.Append(background, relay.Batch{Items: []relay.Item{{Event: &relay.Event{Type: "order.paid"}, Targets: storagetest.Targets("crm")}}}, nil)
		wrote <- err
	}()
	failed := []error{<-read, <-wrote}
	_, err := s.Event(background, seq)
	failed = append(failed, err, s.Close())
	for _, err := range failed {
		if !errors.Is(err, relay.ErrBroken) || !errors.Is(err, errMergeHeld) {
			fmt.Println("ended", failed)
			os.Exit(1)
		}
	}
	fmt.Println("ended well")
	os.Exit(0)
}

// TestWhileMergingIsHeldNobodyWaits: a drop of records, for which Badger locks out who reads, may
// never end then. Who reads and who writes is refused, and the store can be closed.
func TestWhileMergingIsHeldNobodyWaits(t *testing.T) {
	if _, result := runMergingChild(t, t.TempDir(), endingEnv+"=1"); result != "ended well" {
		t.Error(result)
	}
}

// TestCommitThatFailsWhileMergingIsHeldIsRefused: what has no descriptor for a table has none for
// a log either, and two errors are not less than one.
func TestCommitThatFailsWhileMergingIsHeldIsRefused(t *testing.T) {
	s := openAt(t, t.TempDir(), nil)
	cause := errors.New("open 00003.mem: too many open files")
	withCommit(s, func(*bdb.Txn) error {
		s.holdMerge(errors.New("a table could not be written"))
		return cause
	})
	b := relay.Batch{Items: []relay.Item{{Event: &relay.Event{Type: "lost"}, Targets: storagetest.Targets("crm")}}}
	receipts, err := s.Append(t.Context(), b, func([]*relay.Event) { t.Error("stored was called") })
	if !errors.Is(err, relay.ErrBroken) || !errors.Is(err, cause) {
		t.Errorf("Append: %v and %v, want ErrBroken with its cause", receipts, err)
	}
	s.holdMerge(nil) // which mends nothing of that
	if err := s.Err(); !errors.Is(err, cause) {
		t.Errorf("the store says %v", err)
	}
}

// runMergingChild returns what it stored, and what came of merging, after it was killed.
func runMergingChild(t *testing.T, dir string, env ...string) (stored []string, result string) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	out := startChild(t, cmd, append(env, mergingEnv+"="+dir)...)
	defer func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}()
	for lines := bufio.NewScanner(out); lines.Scan(); {
		id, ok := strings.CutPrefix(lines.Text(), "stored ")
		if !ok {
			return stored, lines.Text()
		}
		stored = append(stored, id)
	}
	t.Fatal("the process ended")
	return nil, ""
}

// TestTableThatCannotBeWrittenLosesNothing: merging tables is held where one of the new ones
// cannot be created, the store says so, and after the process all is there.
func TestTableThatCannotBeWrittenLosesNothing(t *testing.T) {
	dir := t.TempDir()
	stored, result := runMergingChild(t, dir)
	if !strings.Contains(result, "held") || !strings.Contains(result, "could not be written while tables were merged in "+dir) ||
		!strings.Contains(result, "start Caddy anew") {
		t.Fatalf("it says %q", result)
	}
	s := openAt(t, dir, nil)
	for _, id := range stored {
		seq, err := strconv.ParseUint(id, 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.Event(t.Context(), relay.Seq(seq)); err != nil {
			t.Fatalf("of %d events %s: %v", len(stored), id, err)
		}
	}
	if !s.reclaim() {
		t.Error("tables are not merged afterwards")
	}
}

// TestTableThatCannotBeWrittenControl: Badger goes on without it. If this test fails a new
// Badger has mended that, and nothing needs to be held any more.
func TestTableThatCannotBeWrittenControl(t *testing.T) {
	dir := t.TempDir()
	_, result := runMergingChild(t, dir, unwatchedEnv+"=1")
	if result != "merged true" {
		t.Fatalf("it says %q", result)
	}
	s, err := Open(dir, Options{})
	if lost := (*LossError)(nil); !errors.As(err, &lost) {
		_ = s.Close()
		t.Fatalf("opening: %v; want a loss", err)
	}
}

// TestMergingIsWatched: what Badger logs is what is waited for. If it were not, merging would
// not be watched, or be held for ever.
func TestMergingIsWatched(t *testing.T) {
	for _, key := range [][]byte{nil, []byte(strings.Repeat("k", 32))} {
		t.Run(strconv.Itoa(len(key)), func(t *testing.T) {
			s, err := Open(t.TempDir(), Options{EncryptionKey: key})
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			for range 3 {
				fill(t, s, 3000)
				if !s.reclaim() {
					t.Fatal("tables were not merged")
				}
			}
			db := s.db.Load()
			m := db.merges
			m.mu.Lock()
			defer m.mu.Unlock()
			if merged := tablesMerged(db.DB); merged == 0 || m.last < merged || len(m.announced) > 0 || len(m.holes) > gapMost {
				t.Errorf("%d tables were announced, of which %d are there; %d were not seen, and %d are looked for", m.last, merged, len(m.announced), len(m.holes))
			}
		})
	}
}

// TestMergingFindsTablesBehindManyNumbersWithoutOne: as after minutes in which no log could become
// a table.
func TestMergingFindsTablesBehindManyNumbersWithoutOne(t *testing.T) {
	dir := t.TempDir()
	s := openAt(t, dir, nil)
	fill(t, s, 3000)
	if !s.reclaim() {
		t.Fatal("tables were not merged")
	}
	ids, err := files.Tables(dir)
	if err != nil || len(ids) == 0 {
		t.Fatal(ids, err)
	}
	whole := files.TableName(dir, ids[0])
	m := newMerges(t.TempDir(), &Options{Logger: zap.NewNop()})
	put := func(id uint64) {
		t.Helper()
		if err := os.Link(whole, files.TableName(m.dir, id)); err != nil {
			t.Fatal(err)
		}
	}
	table, err := files.OpenTable(whole, files.TableInfo{Unknown: true}, files.Keys{})
	if err != nil {
		t.Fatal(err)
	}
	defer table.Close()
	for i, id := range []uint64{1, 3, 2, 4 + 2*gapMost, 6 + 10*holesMost, 5 + 2*gapMost + 10*holesMost} {
		m.announce(table.Records())
		if m.complete(m.last, true) {
			t.Fatalf("table %d is found before it is there", i)
		}
		put(id)
		m.hold()
		if len(m.announced) > 0 || len(m.holes) > holesMost {
			t.Fatalf("after table %d %v are announced, and %d looked for", i, m.announced, len(m.holes))
		}
	}
}

func tablesMerged(db *bdb.DB) (n int) {
	for _, l := range db.Levels() {
		if l.Level > 0 {
			n += l.NumTables
		}
	}
	return n
}
