package badger

import (
	"bytes"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	bdb "github.com/dgraph-io/badger/v4"

	"github.com/caddyrelay/caddyrelay/relay"
	"github.com/caddyrelay/caddyrelay/storage/storagetest"
)

// snapshot is what records there are, by their keys.
func snapshot(t *testing.T, s *Store, prefixes string) map[string][]byte {
	t.Helper()
	all := make(map[string][]byte)
	err := s.view(func(txn *bdb.Txn) error {
		for _, prefix := range []byte(prefixes) {
			if err := each(txn, prefix, func(key, rec []byte) error {
				all[string(key)] = bytes.Clone(rec)
				return nil
			}); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// putBack writes those records again that were removed, as they are where the table is gone that
// says so.
func putBack(t *testing.T, s *Store, records map[string][]byte) {
	t.Helper()
	put := 0
	for key, rec := range records {
		err := s.db.Load().Update(func(txn *bdb.Txn) error {
			there, err := exists(txn, []byte(key))
			if err != nil || there {
				return err
			}
			put++
			return txn.Set([]byte(key), rec)
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if put == 0 {
		t.Fatal("nothing was removed")
	}
}

// mended closes a store, makes its records agree as a salvage does, and opens it again. It must be
// sound then.
func mended(t *testing.T, s *Store) (*Store, *Salvage) {
	t.Helper()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	o := Options{}
	o.setDefaults()
	mark, _, err := readSentinel(s.dir)
	if err != nil {
		t.Fatal(err)
	}
	db, err := bdb.Open(badgerOptions(s.dir, &o))
	if err != nil {
		t.Fatal(err)
	}
	m := &mender{db: db, dir: s.dir, mark: mark, clock: time.Now, report: &Salvage{}}
	if err := errors.Join(m.mend(), db.Close()); err != nil {
		t.Fatal(err)
	}
	if report, err := Verify(s.dir, Options{}); err != nil || !report.Sound() {
		t.Errorf("the store is not sound: %+v, %v", report, err)
	}
	return openAt(t, s.dir, nil), m.report
}

func progressOf(t *testing.T, s *Store, name string) relay.Progress {
	t.Helper()
	_, st := s.subs.state(name)
	return st.progress
}

// TestSalvageLeavesWhatRetentionRemoved: events, of which the table is gone that says they were
// removed, do not come back, and are not delivered again.
func TestSalvageLeavesWhatRetentionRemoved(t *testing.T) {
	for name, test := range map[string]struct {
		first    uint64 // that is finished
		prefixes string
	}{
		"all, up to a mark": {1, "AELTWX"},
		"events alone":      {1, "E"},
		"behind an event that waits, whose chunk says it": {2, "ETWX"},
	} {
		t.Run(name, func(t *testing.T) {
			s := openAt(t, t.TempDir(), nil)
			events := batchOf(t, s, 20, "crm")
			u := relay.Update{Progress: relay.Progress{Subscription: "crm", Low: 20, Delivered: 19, Failed: 1}}
			if test.first > 1 {
				u.Progress.Low, u.Progress.Done = 0, []relay.Span{{From: test.first, To: 20}}
			}
			for i, e := range events[test.first-1:] {
				u.Attempts = append(u.Attempts, delivered(e, test.first+uint64(i)))
			}
			u.Put = []relay.Exception{{From: 9, To: 9, Seq: events[8].Seq, Kind: relay.Failed}}
			if err := s.Commit(t.Context(), []relay.Update{u}); err != nil {
				t.Fatal(err)
			}
			before := snapshot(t, s, test.prefixes)
			later := time.Now().AddDate(1, 0, 0)
			if step, err := s.Trim(t.Context(), relay.TrimPolicy{DeliveredBefore: later, FailedBefore: later}); err != nil || step.Events != 21-int(test.first) {
				t.Fatalf("%+v, %v", step, err)
			}
			newer := batchOf(t, s, 3, "crm")
			putBack(t, s, before)
			s, report := mended(t, s)
			for i, e := range append(events, newer...) {
				_, err := s.Event(t.Context(), e.Seq)
				if gone := uint64(i+1) >= test.first && i < 20; errors.Is(err, relay.ErrNotFound) != gone {
					t.Errorf("event %d: %v", i+1, err)
				}
			}
			if report.Repeated+report.Unfinished+report.Lost > 0 || len(report.Deliveries) > 0 {
				t.Errorf("told is %+v", report)
			}
			p := progressOf(t, s, "crm")
			if p.Open != 0 || p.Delivered != 19 || p.Failed != 1 || p.Head != 23 {
				t.Errorf("the progress is %+v", p)
			}
			if entries, err := s.Read(t.Context(), "crm", 20, 10, 1<<20); err != nil || len(entries) != 3 {
				t.Errorf("%d entries, %v", len(entries), err)
			}
		})
	}
}

// TestSalvageForgetsOldKeys that retention has removed: an event with such a key is a new one.
func TestSalvageForgetsOldKeys(t *testing.T) {
	clock := storagetest.NewClock(storagetest.Start)
	s := openAt(t, t.TempDir(), clock)
	post := func(text string) relay.Receipt {
		t.Helper()
		b := relay.Batch{Key: &relay.Key{Kind: relay.KeyHeader, Text: text}, Items: []relay.Item{{Event: &relay.Event{Type: "order.paid"}, Targets: storagetest.Targets("crm")}}}
		receipts, err := s.Append(t.Context(), b, nil)
		if err != nil {
			t.Fatal(err)
		}
		return receipts[0]
	}
	post("old")
	clock.Advance(time.Hour)
	post("older than the mark")
	before := snapshot(t, s, "IJ")
	clock.Advance(time.Hour)
	if step, err := s.Trim(t.Context(), relay.TrimPolicy{KeysBefore: clock.Now()}); err != nil || step.Keys != 2 {
		t.Fatalf("%+v, %v", step, err)
	}
	post("new")
	putBack(t, s, before)
	s, _ = mended(t, s)
	for _, text := range []string{"old", "new"} {
		if receipt := post(text); receipt.Duplicate != (text == "new") {
			t.Errorf("%s: %+v", text, receipt)
		}
	}
}

// TestSalvageTakesTheAttemptForIt where an older exception says that a delivery is to be made.
func TestSalvageTakesTheAttemptForIt(t *testing.T) {
	s := openAt(t, t.TempDir(), nil)
	events := batchOf(t, s, 3, "crm")
	var u relay.Update
	for i, e := range events {
		pos := uint64(i + 1)
		u.Put = append(u.Put, relay.Exception{From: pos, To: pos, Seq: e.Seq, Kind: relay.Retry, Attempts: 1})
		u.Attempts = append(u.Attempts, relay.AttemptRecord{Seq: e.Seq, Pos: pos, Attempt: relay.Attempt{Number: 1, Status: 500, ErrorKind: relay.Kind5xx}})
	}
	u.Progress = relay.Progress{Subscription: "crm", Low: 3, Open: 3}
	if err := s.Commit(t.Context(), []relay.Update{u}); err != nil {
		t.Fatal(err)
	}
	before := snapshot(t, s, "X")
	// The first is delivered, the second fails again, the third is delivered and then replayed.
	second := func(e *relay.Event, status int, kind relay.ErrorKind) relay.AttemptRecord {
		return relay.AttemptRecord{Seq: e.Seq, Attempt: relay.Attempt{Number: 2, Status: status, ErrorKind: kind}}
	}
	u = relay.Update{
		Progress: relay.Progress{Subscription: "crm", Low: 3, Open: 2, Delivered: 1},
		Drop:     []uint64{1, 2},
		Put:      []relay.Exception{{From: 3, To: 3, Seq: events[2].Seq, Kind: relay.Retry, Attempts: 2}},
		Attempts: []relay.AttemptRecord{second(events[0], 200, ""), second(events[1], 500, relay.Kind5xx), second(events[2], 200, "")},
	}
	if err := s.Commit(t.Context(), []relay.Update{u}); err != nil {
		t.Fatal(err)
	}
	putBack(t, s, before)
	s, report := mended(t, s)
	for i, want := range []bool{false, true, true} {
		if owed := s.owes(t, relay.Placement{Subscription: "crm", Pos: uint64(i + 1)}); owed != want {
			t.Errorf("delivery %d is to be made: %v, want %v", i+1, owed, want)
		}
	}
	if p := progressOf(t, s, "crm"); p.Open != 2 || p.Delivered != 1 || report.Repeated > 0 {
		t.Errorf("%+v; told is %+v", p, report)
	}
}

// TestSalvageRepeatsInOrder: what is made again stands in the line of its ordering key, whatever
// else the keys of its placement say.
func TestSalvageRepeatsInOrder(t *testing.T) {
	s := openAt(t, t.TempDir(), nil)
	const packed = "k\x1fdebounce\x1fp"
	store := func(name string, n int) (b relay.Batch) {
		t.Helper()
		for range n {
			b.Items = append(b.Items, relay.Item{Event: &relay.Event{Type: "order.paid"}, Targets: []relay.Target{{Subscription: name, Key: packed}}})
		}
		if _, err := s.Append(t.Context(), b, nil); err != nil {
			t.Fatal(err)
		}
		return b
	}
	store("crm", 1)
	const holes = mostDone + 10
	b := store("erp", 2*holes)
	sparse := relay.Update{Progress: relay.Progress{Subscription: "erp", Delivered: holes}}
	for pos := uint64(2); pos <= 2*holes; pos += 2 {
		sparse.Progress.Done = append(sparse.Progress.Done, relay.Span{From: pos, To: pos})
		sparse.Attempts = append(sparse.Attempts, delivered(b.Items[pos-1].Event, pos))
	}
	unknown := relay.Update{Progress: relay.Progress{Subscription: "crm", Low: 1, Delivered: 1}} // without an attempt
	if err := s.Commit(t.Context(), []relay.Update{sparse, unknown}); err != nil {
		t.Fatal(err)
	}
	s, report := mended(t, s)
	if report.Repeated != 1 {
		t.Errorf("%d are repeated", report.Repeated)
	}
	for name, want := range map[string]int{"crm": 1, "erp": holes} {
		open, err := s.Open(t.Context(), name, 0, 10*holes)
		if err != nil || len(open) != want {
			t.Fatalf("%s: %d are open, want %d; %v", name, len(open), want, err)
		}
		if i := slices.IndexFunc(open, func(x relay.Exception) bool { return x.Kind != relay.Ordered || x.Key != "k" }); i >= 0 {
			t.Errorf("%s: %+v", name, open[i])
		}
	}
}

// TestSalvageLeavesWhatFollowedAGroup: a group that was carried out long ago, of which the table is
// gone that says so, does not undo what came after it.
func TestSalvageLeavesWhatFollowedAGroup(t *testing.T) {
	for name, touchTail := range map[string]bool{"known by the tail": true, "known by the record": false} {
		t.Run(name, func(t *testing.T) {
			s := openAt(t, t.TempDir(), nil)
			batchOf(t, s, 3, "crm")
			if err := s.Commit(t.Context(), []relay.Update{{Progress: relay.Progress{Subscription: "crm", Low: 1, Failed: 1}}}); err != nil {
				t.Fatal(err)
			}
			before := snapshot(t, s, "P")
			var group redo
			for key, rec := range before {
				group.changes = append(group.changes, change{key: []byte(key), rec: rec})
			}
			missing := idemKey(idemHash{1})
			group.changes = append(group.changes, change{key: missing, rec: encodeKnown(missing, s.committed().last, &known{})})
			for n, part := range group.parts() {
				if err := s.db.Load().Update(func(txn *bdb.Txn) error { return txn.Set(redoKey(n), part) }); err != nil {
					t.Fatal(err)
				}
			}
			if err := s.Commit(t.Context(), []relay.Update{{Progress: relay.Progress{Subscription: "crm", Low: 3, Failed: 3}}}); err != nil {
				t.Fatal(err)
			}
			if touchTail {
				batchOf(t, s, 1, "crm")
			}
			s, report := mended(t, s)
			if p := progressOf(t, s, "crm"); p.Failed != 3 {
				t.Errorf("%+v; told is %+v", p, report)
			}
			if there := len(snapshot(t, s, "I")) == 1; there == touchTail {
				t.Errorf("what nothing followed is there: %v", there)
			}
			if left := recordsOf(t, s, redoPrefix); len(left) > 0 {
				t.Errorf("%d parts are left", len(left))
			}
		})
	}
}

// TestVerifyAmidRetention: an event is removed in several transactions if it is for many, and the
// process may end between them. That is no damage; two such events are.
func TestVerifyAmidRetention(t *testing.T) {
	for n, want := range []string{"", "", "the entry at 2 is gone"} {
		s := openAt(t, t.TempDir(), nil)
		events := batchOf(t, s, 3, "crm", "erp")
		for _, name := range []string{"crm", "erp"} {
			deliverAll(t, s, name, events)
		}
		err := s.db.Load().Update(func(txn *bdb.Txn) error {
			key := logKey(1, 1)
			c := chunk{sub: 1, first: 1, seqs: []relay.Seq{events[0].Seq, events[1].Seq, events[2].Seq}}
			clear(c.seqs[:n])
			return txn.Set(key, c.encode(key))
		})
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		report, err := Verify(s.dir, Options{})
		if err != nil || report.Sound() != (want == "") || !strings.Contains(strings.Join(report.Findings, "\n"), want) {
			t.Errorf("%d events: %+v, %v", n, report, err)
		}
	}
}
