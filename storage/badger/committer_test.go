package badger

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	bdb "github.com/dgraph-io/badger/v4"

	"github.com/caddyrelay/caddyrelay/relay"
	"github.com/caddyrelay/caddyrelay/storage/storagetest"
)

var background = context.Background()

// withCommit makes the store commit its groups by another function. It stops the
// committer to exchange it.
func withCommit(s *Store, commit func(*bdb.Txn) error) {
	s.mendAfter = time.Hour // a test says when, if at all
	close(s.requests)
	<-s.stopped
	s.requests, s.stopped = make(chan request, queueLength), make(chan struct{})
	c := newCommitter(s)
	c.commit = func(_ *database, txn *bdb.Txn) error { return commit(txn) }
	go c.run()
}

func TestFailedCommitBreaksTheStore(t *testing.T) {
	dir := t.TempDir()
	s := openAt(t, dir, nil)
	first := put(t, s, 2)
	before, err := s.Stats(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	cause := errors.New("input/output error")
	fail := true
	withCommit(s, func(txn *bdb.Txn) error {
		if fail {
			return cause
		}
		return txn.Commit()
	})

	// All of a group fail, those too that would have been refused or were repeats.
	var wait sync.WaitGroup
	for range 8 {
		wait.Go(func() {
			e := &relay.Event{Type: "lost"}
			_, err := s.Append(background, relay.Batch{Items: []relay.Item{{
				Event: e, Targets: storagetest.Targets("crm", "new"), Key: &relay.Key{Text: "k"},
			}}}, func([]*relay.Event) { t.Error("stored was called") })
			if !errors.Is(err, relay.ErrBroken) || !errors.Is(err, cause) {
				t.Errorf("Append: %v, want ErrBroken with its cause", err)
			}
			if e.ID != "" || e.Seq != 0 || !e.Accepted.IsZero() || e.Deliveries != nil {
				t.Errorf("a lost event was filled in: %+v", e)
			}
		})
	}
	wait.Wait()

	fail = false // it stays broken though it would work again
	if _, err := s.Append(t.Context(), relay.Batch{Items: []relay.Item{{Event: &relay.Event{Type: "a"}}}}, nil); !errors.Is(err, relay.ErrBroken) {
		t.Fatalf("Append: %v, want ErrBroken", err)
	}
	if err := s.Commit(t.Context(), []relay.Update{{}}); !errors.Is(err, relay.ErrBroken) {
		t.Fatalf("Commit: %v, want ErrBroken", err)
	}
	if _, err := s.Trim(t.Context(), relay.TrimPolicy{}); !errors.Is(err, relay.ErrBroken) {
		t.Fatalf("Trim: %v, want ErrBroken", err)
	}
	if err := s.Err(); !errors.Is(err, relay.ErrBroken) || !errors.Is(err, cause) {
		t.Fatalf("Err: %v, want ErrBroken with its cause", err)
	}
	// What was there is readable, what failed has left no number.
	if entries, err := s.Read(t.Context(), "crm", 0, 10, 1000); err != nil || len(entries) != 2 {
		t.Fatalf("Read: %v, %v; want 2", entries, err)
	}
	after, err := s.Stats(t.Context())
	if err != nil || after.Events != before.Events {
		t.Fatalf("%d events, want %d; %v", after.Events, before.Events, err)
	}
	for p := range s.Progress(t.Context()) {
		if p.Subscription != "crm" || p.Head != 2 {
			t.Fatalf("Progress: %+v", p)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}

	s = openAt(t, dir, nil)
	if e := put(t, s, 1)[0]; e.Deliveries[0].Pos != 3 || e.Seq <= first[1].Seq {
		t.Fatalf("after opening again: %+v", e)
	}
}

// TestEveryCommitFailsOnce fails the Nth commit, for each N, and looks whether what was
// acknowledged before is all there is.
func TestEveryCommitFailsOnce(t *testing.T) {
	dir := t.TempDir()
	for n := range 12 {
		s := openAt(t, dir, nil)
		count, attempts := 0, 0
		withCommit(s, func(txn *bdb.Txn) error {
			if count++; count > n {
				txn.Discard()
				return errors.New("input/output error")
			}
			return txn.Commit()
		})
		before := s.committed()
		for {
			e := &relay.Event{Type: "a", Data: []byte("x")}
			if _, err := s.Append(t.Context(), relay.Batch{Items: []relay.Item{{Event: e, Targets: storagetest.Targets("crm")}}}, nil); err != nil {
				break
			}
			attempts++
		}
		if attempts != n {
			t.Fatalf("%d appends were acknowledged, %d committed", attempts, n)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		s = openAt(t, dir, nil)
		if got := s.committed().ordinal - before.ordinal; got != uint64(n) {
			t.Fatalf("%d events are there, %d were acknowledged", got, n)
		}
		checkLog(t, s, "crm")
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// The control of F4, F5 and F34, in which syncs or writes fail: a store that goes on over the error, as
// Badger does, acknowledges what is gone afterwards, and the ledger of what was acknowledged
// shows it; so does the sentinel, when the store is opened.
func TestSwallowedWriteErrorControl(t *testing.T) {
	for _, cause := range []error{syscall.EIO, syscall.ENOSPC, syscall.EROFS} {
		for _, swallowed := range []bool{false, true} {
			dir := t.TempDir()
			s := openAt(t, dir, nil)
			put(t, s, 3)
			withCommit(s, func(txn *bdb.Txn) error {
				txn.Discard()
				if swallowed {
					return nil
				}
				return cause
			})
			var acknowledged []string
			for range 5 {
				e := &relay.Event{Type: "a", Data: []byte("x")}
				receipts, err := s.Append(t.Context(), relay.Batch{Items: []relay.Item{{Event: e, Targets: storagetest.Targets("crm")}}}, nil)
				if err == nil {
					acknowledged = append(acknowledged, receipts[0].ID)
				} else if !errors.Is(err, cause) || !errors.Is(s.Err(), relay.ErrBroken) {
					t.Errorf("%v: %v, and then %v", cause, err, s.Err())
				}
			}
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			s, err := Open(dir, Options{})
			loss, told := errors.AsType[*LossError](err)
			if told {
				s, err = Open(dir, Options{AcceptLoss: loss.Token})
			}
			if err != nil {
				t.Fatal(err)
			}
			gone := 0
			for _, id := range acknowledged {
				if _, err := s.Find(t.Context(), id); errors.Is(err, relay.ErrNotFound) {
					gone++
				}
			}
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			if want := len(acknowledged); swallowed != (want == 5) || gone != want || told != swallowed {
				t.Errorf("%v, swallowed=%v: %d acknowledged, %d gone, told %v", cause, swallowed, want, gone, told)
			}
		}
	}
}

func TestOneTransactionForWhatWaits(t *testing.T) {
	s := openAt(t, t.TempDir(), nil)
	entered, release := make(chan struct{}), make(chan struct{})
	commits := 0
	withCommit(s, func(txn *bdb.Txn) error {
		if commits++; commits == 1 {
			close(entered)
			<-release
		}
		return txn.Commit()
	})
	var wait sync.WaitGroup
	wait.Go(func() { put(t, s, 1) })
	<-entered
	for range 50 {
		wait.Go(func() { put(t, s, 1) })
	}
	for len(s.requests) < 50 {
		// The others come to the queue while the first is being synced.
		if err := s.Err(); err != nil {
			t.Fatal(err)
		}
	}
	close(release)
	wait.Wait()
	if commits != 2 {
		t.Fatalf("%d commits, want 2", commits)
	}
}

func TestBatchTooLarge(t *testing.T) {
	s := openAt(t, t.TempDir(), nil)
	batch := func(n, size int) relay.Batch {
		var b relay.Batch
		for range n {
			b.Items = append(b.Items, relay.Item{
				Event:   &relay.Event{Type: "a", Data: make([]byte, size)},
				Targets: storagetest.Targets("crm"),
			})
		}
		return b
	}
	for _, test := range []struct{ n, size int }{{40, 100 << 10}, {20_000, 1}, {5, relay.MaxDataSize}, {2, 2 << 20}} {
		b := batch(test.n, test.size)
		_, err := s.Append(t.Context(), b, func([]*relay.Event) { t.Error("stored was called") })
		var large *relay.BatchTooLargeError
		if !errors.As(err, &large) || large.Fits >= test.n {
			t.Fatalf("%d items of %d bytes: %v, want a BatchTooLargeError", test.n, test.size, err)
		}
		if head, _ := s.subs.state("crm"); head != nil {
			t.Fatal("a refused batch left something")
		}
		if large.Fits == 0 {
			continue
		}
		fits := batch(large.Fits, test.size)
		other := openAt(t, t.TempDir(), nil)
		if _, err := other.Append(t.Context(), fits, nil); err != nil {
			t.Fatalf("%d items of %d bytes, said to fit: %v", large.Fits, test.size, err)
		}
		if err := other.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// TestValueLogIsNotUsed: its syncs are not reliable, so that nothing may go there.
func TestValueLogIsNotUsed(t *testing.T) {
	dir := t.TempDir()
	s := openAt(t, dir, nil)
	for range 5 {
		e := &relay.Event{Type: "a", Data: halfCompressible(relay.MaxDataSize)}
		if _, err := s.Append(t.Context(), relay.Batch{Items: []relay.Item{{Event: e}}}, nil); err != nil {
			t.Fatal(err)
		}
	}
	logs, err := filepath.Glob(filepath.Join(dir, "*"+valueSuffix))
	if err != nil || len(logs) == 0 {
		t.Fatalf("value logs: %v, %v", logs, err)
	}
	for _, name := range logs {
		info, err := os.Stat(name)
		if err != nil {
			t.Fatal(err)
		}
		if size := sizeOnDisk(info); size > 64<<10 && size < info.Size() {
			t.Fatalf("%s holds %d bytes", name, size)
		}
	}
}

// TestThousandsOfSubscriptions: one event for all of them, its trimming over several
// transactions, and the heads found again.
func TestThousandsOfSubscriptions(t *testing.T) {
	const n = 5000
	dir := t.TempDir()
	clock := storagetest.NewClock(storagetest.Start)
	s := openAt(t, dir, clock)
	var all []string
	for i := range n {
		all = append(all, fmt.Sprintf("subscription-%d", i))
	}
	var events []*relay.Event
	for range 3 {
		e := &relay.Event{Type: "a", Data: make([]byte, 100<<10)}
		if _, err := s.Append(t.Context(), relay.Batch{Items: []relay.Item{{Event: e, Targets: storagetest.Targets(all...)}}}, nil); err != nil {
			t.Fatal(err)
		}
		events = append(events, e)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = openAt(t, dir, clock)
	var updates []relay.Update
	for p, err := range s.Progress(t.Context()) {
		if err != nil || p.Head != 3 {
			t.Fatalf("Progress: %+v, %v; want head 3", p, err)
		}
		p.Low, p.PausedReason = 2, strings.Repeat("r", 200)
		updates = append(updates, relay.Update{Progress: p, Attempts: []relay.AttemptRecord{{Seq: events[0].Seq, Attempt: relay.Attempt{Number: 1}}}})
	}
	if err := s.Commit(t.Context(), updates); err != nil {
		t.Fatal(err)
	}
	later := storagetest.Start.AddDate(1, 0, 0)
	done, err := s.Trim(t.Context(), relay.TrimPolicy{DeliveredBefore: later})
	if err != nil || done.Events != 2 {
		t.Fatalf("Trim: %+v, %v; want 2 events", done, err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = openAt(t, dir, clock)
	for p, err := range s.Progress(t.Context()) {
		if err != nil || p.Head != 3 || p.Low != 2 {
			t.Fatalf("Progress: %+v, %v; want head 3, low 2", p, err)
		}
	}
	if attempts, err := s.Attempts(t.Context(), events[0].Seq, all[7]); err != nil || len(attempts) != 0 {
		t.Fatalf("trimming left attempts: %v, %v", attempts, err)
	}
	if entries, err := s.Read(t.Context(), all[n-1], 0, 10, 1<<20); err != nil || len(entries) != 1 || entries[0].Pos != 3 {
		t.Fatalf("Read: %v, %v", entries, err)
	}
}

// TestHeadIsFoundWithoutProgress: a log that was never committed to has its head found
// by probing, at any length.
func TestHeadIsFoundWithoutProgress(t *testing.T) {
	dir := t.TempDir()
	total := uint64(0)
	for _, n := range []int{1, 1, 1, 4, 9, 100, 1} {
		s := openAt(t, dir, nil)
		var b relay.Batch
		for range n {
			b.Items = append(b.Items, relay.Item{Event: &relay.Event{Type: "a"}, Targets: storagetest.Targets("crm")})
		}
		if _, err := s.Append(t.Context(), b, nil); err != nil {
			t.Fatal(err)
		}
		total += uint64(n)
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		s = openAt(t, dir, nil)
		if _, st := s.subs.state("crm"); st.progress.Head != total {
			t.Fatalf("the head is %d, want %d", st.progress.Head, total)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// TestTrimCutAnywhere fails each of the transactions of a trimming in turn: what is
// left is consistent, gives no number again, and is trimmed the next time.
func TestTrimCutAnywhere(t *testing.T) {
	const n = 6000
	dir := t.TempDir()
	clock := storagetest.NewClock(storagetest.Start)
	later := relay.TrimPolicy{DeliveredBefore: storagetest.Start.AddDate(1, 0, 0)}
	s := openAt(t, dir, clock)
	var all []string
	var updates []relay.Update
	for i := range n {
		all = append(all, fmt.Sprint(i))
		updates = append(updates, relay.Update{Progress: relay.Progress{Subscription: all[i], Low: 4}})
	}
	for range 4 {
		if _, err := s.Append(t.Context(), relay.Batch{Items: []relay.Item{{Event: &relay.Event{Type: "a"}, Targets: storagetest.Targets(all...)}}}, nil); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Commit(t.Context(), updates); err != nil {
		t.Fatal(err)
	}
	last := s.committed()
	for fail := range 100 {
		count := 0
		withCommit(s, func(txn *bdb.Txn) error {
			if count++; count > fail {
				return errors.New("input/output error")
			}
			return txn.Commit()
		})
		_, err := s.Trim(t.Context(), later)
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		s = openAt(t, dir, clock)
		if got := s.committed(); got.last != last.last || got.ordinal != last.ordinal {
			t.Fatalf("after failing at %d: last %d, ordinal %d; want %d, %d", fail, got.last, got.ordinal, last.last, last.ordinal)
		}
		for p, err := range s.Progress(t.Context()) {
			if err != nil || p.Head != 4 {
				t.Fatalf("after failing at %d: %+v, %v; want head 4", fail, p, err)
			}
		}
		if _, err := s.Read(t.Context(), all[0], 0, 10, 1000); err != nil {
			t.Fatalf("after failing at %d: Read: %v", fail, err)
		}
		if err == nil {
			if fail == 0 {
				t.Fatal("nothing was written: this tests nothing")
			}
			break
		}
	}
	if page, err := s.Events(t.Context(), relay.EventQuery{Limit: 10}); err != nil || len(page.Events) != 0 {
		t.Fatalf("Events: %v, %v; want none", page, err)
	}
	if entries, err := s.Log(t.Context(), all[n-1], 0, 10); err != nil || len(entries) != 0 {
		t.Fatalf("Log: %v, %v; want nothing", entries, err)
	}
}

// A reader may see a group's records as soon as they are committed, which is before the
// committer goes on: they name subscriptions that are new with them.
func TestEventsOfNewSubscriptionsCanBeReadAtOnce(t *testing.T) {
	s := openAt(t, t.TempDir(), nil)
	var seen error
	withCommit(s, func(txn *bdb.Txn) error {
		err := txn.Commit()
		seen = s.view(func(txn *bdb.Txn) error { // what retention looks at
			_, err := (&trimRequest{walk: &trimmer{}, policy: relay.TrimPolicy{DeliveredBefore: time.Now().Add(time.Hour)}}).findEvents(s, txn)
			return err
		})
		return err
	})
	put(t, s, 1)
	if seen != nil {
		t.Errorf("right behind the commit: %v", seen)
	}
}
