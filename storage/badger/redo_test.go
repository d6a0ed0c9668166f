package badger

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	bdb "github.com/dgraph-io/badger/v4"

	"github.com/caddyrelay/caddyrelay/relay"
	"github.com/caddyrelay/caddyrelay/storage/storagetest"
)

// allRecords returns a sum of all records of a store.
func allRecords(t testing.TB, s *Store) (sum string) {
	t.Helper()
	h := sha256.New()
	err := s.view(func(txn *bdb.Txn) error {
		return scan(txn, nil, func(key, rec []byte) error {
			_, err := fmt.Fprintf(h, "%x %x ", key, rec)
			return err
		})
	})
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("%x", h.Sum(nil))
}

// manyRetries is an update that is much larger than a transaction.
func manyRetries(head uint64) relay.Update {
	const n = 40_000
	u := relay.Update{Progress: relay.Progress{Subscription: "crm", Low: n, Open: n}, Drop: []uint64{n + 7}}
	for i := range uint64(n) {
		u.Put = append(u.Put, relay.Exception{From: i + 1, To: i + 1, Seq: relay.Seq(i + 1), Kind: relay.Retry, Key: strings.Repeat("k", 20)})
	}
	for pos := range head {
		u.Attempts = append(u.Attempts, relay.AttemptRecord{Seq: relay.Seq(pos + 1), Pos: pos + 1, Attempt: relay.Attempt{Number: 1, Status: 500}})
	}
	return u
}

// TestGroupLargerThanATransactionIsThereAsAWholeOrNotAtAll, wherever a crash comes.
func TestGroupLargerThanATransactionIsThereAsAWholeOrNotAtAll(t *testing.T) {
	dir := t.TempDir()
	s := openAt(t, dir, nil)
	batchOf(t, s, 50, "crm")
	last := relay.Exception{From: 40_007, To: 40_007, Kind: relay.Retry}
	if err := s.Commit(t.Context(), []relay.Update{{Progress: relay.Progress{Subscription: "crm"}, Put: []relay.Exception{last}}}); err != nil {
		t.Fatal(err)
	}
	before := allRecords(t, s)
	var crashed []string
	withCommit(s, func(txn *bdb.Txn) error {
		err := txn.Commit()
		crashed = append(crashed, copyDirectory(t, dir))
		return err
	})
	if err := s.Commit(t.Context(), []relay.Update{manyRetries(50)}); err != nil {
		t.Fatal(err)
	}
	after := allRecords(t, s)
	if left := recordsOf(t, s, redoPrefix); len(left) > 0 {
		t.Errorf("%d parts are left", len(left))
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	parts, done := 0, 0
	for i, dir := range crashed {
		s := openAt(t, dir, nil)
		switch allRecords(t, s) {
		case before:
			parts++
			if done > 0 {
				t.Errorf("after %d of %d transactions it is not there, after %d it was", i+1, len(crashed), i)
			}
		case after:
			done++
		default:
			t.Errorf("after %d of %d transactions it is there in part", i+1, len(crashed))
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if parts == 0 || done < 3 {
		t.Errorf("of %d crashes %d came before it was whole, %d after: that tests little", len(crashed), parts, done)
	}
}

// TestGroupLargerThanATransactionFails as another does, and is carried out when the store is
// opened again, if it was written as a whole.
func TestGroupLargerThanATransactionFails(t *testing.T) {
	for name, whole := range map[string]bool{"before it is written as a whole": false, "after": true} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			s := openAt(t, dir, nil)
			batchOf(t, s, 50, "crm")
			before := allRecords(t, s)
			n := 0
			withCommit(s, func(txn *bdb.Txn) error {
				n++
				left, err := findLeftover(s.db.Load())
				if err != nil {
					t.Error(err)
				}
				if n > 2 && left.whole == whole {
					return errors.New("input/output error")
				}
				return txn.Commit()
			})
			if err := s.Commit(t.Context(), []relay.Update{manyRetries(50)}); !errors.Is(err, relay.ErrBroken) {
				t.Fatalf("%v, want ErrBroken", err)
			}
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			s = openAt(t, dir, nil)
			if there := allRecords(t, s) != before; there != whole {
				t.Errorf("it is there: %v; want %v", there, whole)
			}
			if left := recordsOf(t, s, redoPrefix); len(left) > 0 {
				t.Errorf("%d parts are left", len(left))
			}
			if err := s.Commit(t.Context(), []relay.Update{manyRetries(50)}); err != nil {
				t.Fatal(err)
			}
		})
	}
}

// TestPartsThatCannotBeRead: a group that cannot be carried out to the end keeps a store from
// being opened, and a salvage goes on without it.
func TestPartsThatCannotBeRead(t *testing.T) {
	s := openAt(t, t.TempDir(), nil)
	parts := (&redo{[]change{{key: []byte("Xkey"), rec: make([]byte, redoPart)}, {key: []byte("Y"), gone: true, expires: 7}}}).parts()
	if len(parts) != 2 {
		t.Fatalf("%d parts, want 2", len(parts))
	}
	put := func(n int, part []byte) {
		t.Helper()
		if err := s.db.Load().Update(func(txn *bdb.Txn) error {
			if part == nil {
				return txn.Delete(redoKey(n))
			}
			return txn.Set(redoKey(n), part)
		}); err != nil {
			t.Fatal(err)
		}
	}
	put(0, parts[0])
	if left, err := findLeftover(s.db.Load()); err != nil || left.whole || left.parts != 1 {
		t.Errorf("of the first part: %+v, %v", left, err)
	}
	put(1, parts[1])
	left, err := findLeftover(s.db.Load())
	if err != nil || !left.whole || len(left.changes) != 2 || len(left.changes[0].rec) != redoPart || !left.changes[1].gone || left.changes[1].expires != 7 {
		t.Errorf("of both parts: %v", err)
	}
	put(0, nil)
	if _, err := findLeftover(s.db.Load()); err == nil {
		t.Error("the first part is gone, and nothing is said")
	}
	put(0, parts[0][:len(parts[0])-9])
	if _, err := findLeftover(s.db.Load()); err == nil {
		t.Error("the first part is cut, and nothing is said")
	}
	put(0, seal(redoKey(0), append(newRecord(9), appendBytes(nil, redoChanges, []byte{200})...)))
	if _, err := findLeftover(s.db.Load()); err == nil {
		t.Error("the first part is another's, and nothing is said")
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(s.dir, Options{}); err == nil || !strings.Contains(err.Error(), "finishing what was being written") {
		t.Errorf("Open: %v", err)
	}
}

// TestBatchLargerThanATransaction is stored, whole: an event of many subscriptions, and many
// events of one.
func TestBatchLargerThanATransaction(t *testing.T) {
	dir := t.TempDir()
	s := openAt(t, dir, nil)
	names := make([]string, newCommitter(s).txnLimit.count*3/5)
	for i := range names {
		names[i] = fmt.Sprintf("s%d", i)
	}
	wide := []relay.Item{{Event: &relay.Event{Type: "order.paid"}, Targets: storagetest.Targets(names...)}}
	many := make([]relay.Item, 900)
	for i := range many {
		data := make([]byte, 2<<10)
		_, _ = rand.Read(data)
		many[i] = relay.Item{Event: &relay.Event{Type: "order.paid", Data: data}, Targets: storagetest.Targets(names[0])}
	}
	commits := 0
	withCommit(s, func(txn *bdb.Txn) error {
		commits++
		return txn.Commit()
	})
	for _, items := range [][]relay.Item{wide, many} {
		told := 0
		commits = 0
		if _, err := s.Append(t.Context(), relay.Batch{Items: items}, func(events []*relay.Event) { told += len(events) }); err != nil {
			t.Fatal(err)
		}
		if told != len(items) || commits < 2 {
			t.Errorf("of %d events %d were told, in %d transactions", len(items), told, commits)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	entries := uint64(len(names) + len(many))
	if report, err := Verify(dir, Options{}); err != nil || !report.Sound() || report.Events != 901 || report.Entries != entries {
		t.Errorf("%+v, %v", report, err)
	}
	s = openAt(t, dir, nil)
	for _, item := range many {
		if e, err := s.Event(t.Context(), item.Event.Seq); err != nil || !bytes.Equal(e.Data, item.Event.Data) {
			t.Fatalf("%v; or it has another body", err)
		}
	}
}

// TestSalvageFinishesWhatWasBeingWritten, as far as that can be read.
func TestSalvageFinishesWhatWasBeingWritten(t *testing.T) {
	for name, readable := range map[string]bool{"all of it": true, "without its first part": false} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			s := openAt(t, dir, nil)
			batchOf(t, s, 50, "crm")
			key := exceptKey(classOpen, s.subs.get("crm").id, 3)
			x := &relay.Exception{From: 3, To: 3, Kind: relay.Retry, Attempts: 7}
			left := redo{[]change{{key: []byte("Zunknown"), rec: make([]byte, redoPart)}, {key: key, rec: encodeException(key, x)}}}
			w := newInTurn(s.db.Load(), (*database).commit)
			if err := writeAhead(w, left.parts()); err != nil {
				t.Fatal(err)
			}
			if !readable {
				if err := w.write(func(txn *bdb.Txn) error { return txn.Delete(redoKey(0)) }); err != nil {
					t.Fatal(err)
				}
			}
			if err := w.flush(); err != nil {
				t.Fatal(err)
			}
			w.end()
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			if err := os.Remove(filepath.Join(dir, manifestName)); err != nil {
				t.Fatal(err)
			}
			_, err := Open(dir, Options{})
			damage, ok := errors.AsType[*DamageError](err)
			if !ok {
				t.Fatalf("%v, want a DamageError", err)
			}
			if report, err := Verify(dir, Options{}); err != nil || (len(report.Salvage.Findings) == 0) != readable {
				t.Errorf("%+v, %v", report, err)
			}
			if s, err = Open(dir, Options{AcceptLoss: damage.Token}); err != nil {
				t.Fatal(err)
			}
			open, err := s.Open(t.Context(), "crm", 0, 9)
			if err != nil || (len(open) == 1 && open[0].Attempts == 7) != readable {
				t.Errorf("%+v, %v", open, err)
			}
			if left := recordsOf(t, s, redoPrefix); len(left) > 0 {
				t.Errorf("%d parts are left", len(left))
			}
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
		})
	}
}
