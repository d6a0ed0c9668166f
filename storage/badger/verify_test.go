package badger

import (
	"errors"
	"strings"
	"testing"

	bdb "github.com/dgraph-io/badger/v4"

	"github.com/caddyrelay/caddyrelay/relay"
	"github.com/caddyrelay/caddyrelay/storage/storagetest"
)

// TestVerify: a sound store has no findings, and each damage has one that names it.
func TestVerify(t *testing.T) {
	clock := storagetest.NewClock(storagetest.Start)
	var events []*relay.Event
	build := func(damage func(txn *bdb.Txn) error) string {
		s := openAt(t, t.TempDir(), clock)
		events = put(t, s, 10)
		if err := s.Commit(t.Context(), []relay.Update{{
			Progress: relay.Progress{Subscription: "crm", Low: 6, Open: 1},
			Put:      []relay.Exception{{From: 5, To: 5, Seq: events[4].Seq, Kind: relay.Retry}},
			Attempts: []relay.AttemptRecord{{Seq: events[4].Seq, Attempt: relay.Attempt{Number: 1}}},
		}}); err != nil {
			t.Fatal(err)
		}
		if done, err := s.Trim(t.Context(), relay.TrimPolicy{DeliveredBefore: clock.Now().Add(1 << 40)}); err != nil || done.Events != 5 {
			t.Fatalf("%+v, %v", done, err)
		}
		if damage != nil {
			if err := s.db.Load().Update(damage); err != nil {
				t.Fatal(err)
			}
		}
		dir := s.dir
		if _, err := Verify(dir, Options{}); !errors.Is(err, ErrLocked) {
			t.Fatalf("Verify of an open store: %v", err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		return dir
	}
	for name, test := range map[string]struct {
		damage func(txn *bdb.Txn) error
		want   string
	}{
		"sound":         {},
		"event gone":    {func(txn *bdb.Txn) error { return txn.Delete(eventKey(events[7].Seq)) }, "of the numbers 8 to 8"},
		"older gone":    {func(txn *bdb.Txn) error { return txn.Delete(eventKey(events[4].Seq)) }, "1 events more are missing"},
		"entry gone":    {func(txn *bdb.Txn) error { return txn.Delete(logKey(1, 8)) }, "the entry at 8 is gone"},
		"entry changed": {func(txn *bdb.Txn) error { return txn.Set(logKey(1, 8), encodeNumber(logKey(1, 8), 5)) }, "in place of"},
		"event damaged": {func(txn *bdb.Txn) error { return txn.Set(eventKey(events[8].Seq), []byte{1, 2, 3, 4, 5, 6}) }, "cannot be read"},
		"attempt":       {func(txn *bdb.Txn) error { return txn.Set(attemptKey(events[4].Seq, 1, 1), []byte{1}) }, "cannot be read"},
		"beyond": {func(txn *bdb.Txn) error {
			key := exceptKey(classOpen, 1, 99)
			return txn.Set(key, encodeException(key, &relay.Exception{From: 99, To: 99, Kind: relay.Retry}))
		}, "beyond the head"},
	} {
		t.Run(name, func(t *testing.T) {
			report, err := Verify(build(test.damage), Options{})
			if err != nil {
				t.Fatal(err)
			}
			if test.want == "" {
				if !report.Sound() || report.Events != 5 || report.Removed != 5 || report.Entries != 5 {
					t.Fatalf("%+v", report)
				}
				return
			}
			text := strings.Join(report.Findings, "\n")
			if report.Loss != nil {
				text += report.Loss.Error()
			}
			if report.Sound() || !strings.Contains(text, test.want) {
				t.Fatalf("%+v, want %q", report, test.want)
			}
		})
	}
	if _, err := Verify(t.TempDir(), Options{}); err == nil || !strings.Contains(err.Error(), "no store") {
		t.Fatalf("Verify of nothing: %v", err)
	}
}
