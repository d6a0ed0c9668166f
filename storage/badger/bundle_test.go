package badger

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/caddyrelay/caddyrelay/relay"
)

// delivered is a first attempt that succeeded.
func delivered(e *relay.Event, pos uint64) relay.AttemptRecord {
	return relay.AttemptRecord{Seq: e.Seq, Pos: pos, Attempt: relay.Attempt{Number: 1, At: e.Accepted, Status: 200, Local: "192.0.2.10:40123", Remote: "198.51.100.7:443"}}
}

// deliverAll commits a first attempt for each event at the positions from 1 on.
func deliverAll(t testing.TB, s *Store, name string, events []*relay.Event) {
	t.Helper()
	u := relay.Update{Progress: relay.Progress{Subscription: name, Low: uint64(len(events)), Delivered: uint64(len(events))}}
	for i, e := range events {
		u.Attempts = append(u.Attempts, delivered(e, uint64(i+1)))
	}
	if err := s.Commit(t.Context(), []relay.Update{u}); err != nil {
		t.Fatal(err)
	}
}

// attemptsAt reads the attempts of an event.
func attemptsAt(t testing.TB, s *Store, e *relay.Event, name string) []relay.Attempt {
	t.Helper()
	attempts, err := s.Attempts(t.Context(), e.Seq, name)
	if err != nil {
		t.Fatal(err)
	}
	return attempts
}

// FuzzBundle: no record of attempts makes the decoder panic, and what it accepts comes back
// from what it writes.
func FuzzBundle(f *testing.F) {
	at := windowAt{7, 3}
	key := bundleKey(at, 5)
	one := appendAttempt(nil, &relay.Attempt{Number: 1, At: time.Unix(5, 6), Status: 200, Excerpt: []byte("ok")})
	for _, b := range []bundle{{attempts: []bundled{{5, one}}}, {attempts: []bundled{{9, one}, {9, nil}, {5, one}}}} {
		rec := b.encode(key)
		f.Add(rec[1 : len(rec)-4])
	}
	f.Add([]byte{0x12, 0xff, 0xff})
	f.Fuzz(func(t *testing.T, fields []byte) {
		var b, again bundle
		_ = b.decode(key, fields)
		if err := b.decode(key, seal(key, append([]byte{recordVersion}, fields...))); err != nil {
			if corrupt, ok := errors.AsType[*CorruptError](err); !ok || !strings.Contains(err.Error(), "positions 192 to 255") {
				t.Fatalf("%v, %v", err, corrupt)
			}
			return
		}
		if b.windowAt != at || b.number != 5 || !bytes.Equal(b.key(), key) {
			t.Fatalf("%+v", b)
		}
		for _, one := range b.attempts {
			_, _ = decodeAttemptFields(key, one.fields)
		}
		if err := again.decode(key, b.encode(key)); err != nil || len(again.attempts) != len(b.attempts) {
			t.Fatalf("%+v comes back as %+v, %v", b, again, err)
		}
		for i, one := range b.attempts {
			if again.attempts[i].seq != one.seq || !bytes.Equal(again.attempts[i].fields, one.fields) {
				t.Fatalf("%+v comes back as %+v", one, again.attempts[i])
			}
		}
	})
}

// TestBundlesTakeNoMoreThanTheirAttemptsAskedFor: a group that is larger than its accounts
// would break the store.
func TestBundlesTakeNoMoreThanTheirAttemptsAskedFor(t *testing.T) {
	text := rapid.StringN(0, 60, -1)
	rapid.Check(t, func(t *rapid.T) {
		var b bundle
		need := load{}
		for range rapid.IntRange(1, 8).Draw(t, "attempts") {
			a := relay.Attempt{
				Number: rapid.Int().Draw(t, "number"), At: time.Unix(rapid.Int64Range(-62135596800, 253402300799).Draw(t, "s"), 999999999),
				Duration: time.Duration(rapid.Int64().Draw(t, "d")), Status: rapid.Int().Draw(t, "status"), Error: text.Draw(t, "error"),
				ErrorKind: relay.ErrorKind(text.Draw(t, "kind")), Local: text.Draw(t, "local"), Remote: text.Draw(t, "remote"),
				Excerpt: []byte(text.Draw(t, "excerpt")),
			}
			need = need.plus(attemptLoad(&a))
			b.attempts = append(b.attempts, bundled{relay.Seq(rapid.Uint64().Draw(t, "seq")), appendAttempt(nil, &a)})
		}
		key := b.key()
		if took := record(len(key) + len(b.encode(key))); !took.fits(need) {
			t.Fatalf("%d attempts take %+v, said to take %+v", len(b.attempts), took, need)
		}
	})
}

// TestAttemptsOfAGroupShareARecord: those of neighbours, as long as nothing removes them
// alone and they are short.
func TestAttemptsOfAGroupShareARecord(t *testing.T) {
	s := openAt(t, t.TempDir(), nil)
	events := batchOf(t, s, 200, "crm")
	deliverAll(t, s, "crm", events)
	if keys := recordsOf(t, s, bundlePrefix); len(keys) != 4 {
		t.Fatalf("200 attempts take %d records, want 4", len(keys))
	}
	if keys := recordsOf(t, s, attemptPrefix); len(keys) != 0 {
		t.Fatalf("%d attempts have records of their own", len(keys))
	}
	alone := []relay.AttemptRecord{delivered(events[0], 1), delivered(events[1], 2), delivered(events[2], 0)}
	alone[0].Number = 6 // the 51st pushes it out
	alone[1].Number, alone[1].Excerpt = 2, bytes.Repeat([]byte("x"), bundledMost)
	alone[2].Number = 2 // nobody says where it stands
	if err := s.Commit(t.Context(), []relay.Update{{Progress: relay.Progress{Subscription: "crm", Low: 200}, Attempts: alone}}); err != nil {
		t.Fatal(err)
	}
	if keys := recordsOf(t, s, attemptPrefix); len(keys) != 3 {
		t.Fatalf("%d attempts have records of their own, want 3", len(keys))
	}
	for i, e := range events {
		got := attemptsAt(t, s, e, "crm")
		want := 1
		if i < 3 {
			want = 2
		}
		if len(got) != want || got[0].Number != 1 || got[0].Status != 200 {
			t.Fatalf("event %d: %+v", i, got)
		}
	}
}

// TestAttemptThatIsMadeAgainCountsOnce: a crash may have left an attempt without what followed
// from it; it is made again under its number, and may be kept otherwise than before.
func TestAttemptThatIsMadeAgainCountsOnce(t *testing.T) {
	s := openAt(t, t.TempDir(), nil)
	events := batchOf(t, s, 3, "crm")
	for round, excerpt := range []int{5, 2000, 10, 3000} {
		for i, e := range events {
			again := delivered(e, uint64(i+1))
			again.At, again.Excerpt = e.Accepted.Add(time.Duration(round)*time.Second), bytes.Repeat([]byte("x"), excerpt)
			if err := s.Commit(t.Context(), []relay.Update{{Progress: relay.Progress{Subscription: "crm"}, Attempts: []relay.AttemptRecord{again}}}); err != nil {
				t.Fatal(err)
			}
			if got := attemptsAt(t, s, e, "crm"); len(got) != 1 || len(got[0].Excerpt) != excerpt {
				t.Fatalf("event %d has %d attempts, %+v", i, len(got), got)
			}
		}
	}
}

// TestBundleGoesWithItsLastAttempt: and its room is counted no more.
func TestBundleGoesWithItsLastAttempt(t *testing.T) {
	s := openAt(t, t.TempDir(), nil)
	events := batchOf(t, s, 100, "crm")
	deliverAll(t, s, "crm", events)
	if err := s.Commit(t.Context(), []relay.Update{{
		Progress: relay.Progress{Subscription: "crm", Low: 100, Open: 1},
		Put:      []relay.Exception{{From: 40, To: 40, Seq: events[39].Seq, Kind: relay.Retry}},
	}}); err != nil {
		t.Fatal(err)
	}
	later := s.clock().AddDate(1, 0, 0)
	all := relay.TrimPolicy{DeliveredBefore: later, FailedBefore: later}
	if step, err := s.Trim(t.Context(), all); err != nil || step.Events != 99 {
		t.Fatalf("%+v, %v", step, err)
	}
	if keys := recordsOf(t, s, bundlePrefix); len(keys) != 1 {
		t.Fatalf("%d records are left, want 1", len(keys))
	}
	if got := attemptsAt(t, s, events[39], "crm"); len(got) != 1 {
		t.Fatalf("%+v", got)
	}
	var left bundle
	key := recordsOf(t, s, bundlePrefix)[0]
	overwrite(t, s, key, func(rec []byte) []byte {
		if err := left.decode(key, rec); err != nil || len(left.attempts) != 1 {
			t.Fatalf("%+v, %v", left, err)
		}
		return rec
	})
	if err := s.Commit(t.Context(), []relay.Update{{Progress: relay.Progress{Subscription: "crm", Low: 100}, Drop: []uint64{40}}}); err != nil {
		t.Fatal(err)
	}
	if step, err := s.Trim(t.Context(), all); err != nil || step.Events != 1 {
		t.Fatalf("%+v, %v", step, err)
	}
	if keys := recordsOf(t, s, bundlePrefix); len(keys) != 0 || s.committed().live != 0 {
		t.Fatalf("%d records are left, %d bytes", len(keys), s.committed().live)
	}
}

// TestDamagedBundleIsNamedWithItsPositions: and it goes when the first event goes, or is
// erased, whose attempts it may hold.
func TestDamagedBundleIsNamedWithItsPositions(t *testing.T) {
	later := time.Now().AddDate(1, 0, 0)
	for name, remove := range map[string]func(s *Store, e *relay.Event) error{
		"trim": func(s *Store, _ *relay.Event) error {
			_, err := s.Trim(t.Context(), relay.TrimPolicy{DeliveredBefore: later, FailedBefore: later})
			return err
		},
		"erase": func(s *Store, e *relay.Event) error { return s.Erase(t.Context(), e.Seq, nil) },
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			s := openAt(t, dir, nil)
			events := batchOf(t, s, 100, "crm")
			deliverAll(t, s, "crm", events)
			overwrite(t, s, bundleKey(windowAt{1, 1}, 2), func(rec []byte) []byte { rec[9] ^= 1; return rec })
			if got := attemptsAt(t, s, events[62], "crm"); len(got) != 1 {
				t.Fatalf("%+v", got)
			}
			_, err := s.Attempts(t.Context(), events[63].Seq, "crm")
			if corrupt, ok := errors.AsType[*CorruptError](err); !ok || !strings.Contains(err.Error(), "attempts of the positions 64 to 127") {
				t.Fatalf("%v, %v", err, corrupt)
			}
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			report, err := Verify(dir, Options{})
			if err != nil || !strings.Contains(strings.Join(report.Findings, "\n"), "attempts of the positions 64 to 127") {
				t.Fatalf("%+v, %v", report, err)
			}
			s = openAt(t, dir, nil)
			if err := remove(s, events[70]); err != nil {
				t.Fatal(err)
			}
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			if report, err := Verify(dir, Options{}); err != nil || !report.Sound() {
				t.Fatalf("%+v, %v", report, err)
			}
		})
	}
}

// TestSalvageReadsBundles: what they say is delivered is not made again; what stood in one
// that cannot be read is, where nothing else says that it was. Numbers go on.
func TestSalvageReadsBundles(t *testing.T) {
	w := newWreck(t, nil)
	if err := os.Remove(filepath.Join(w.dir, manifestName)); err != nil {
		t.Fatal(err)
	}
	salvaged := func(dir string) *Salvage {
		t.Helper()
		report, err := Verify(dir, Options{})
		if err != nil || report.Salvage == nil {
			t.Fatalf("%+v, %v", report, err)
		}
		return report.Salvage
	}
	if report := salvaged(w.dir); report.Repeated != 0 || report.Found != 0 {
		t.Fatalf("%v, %v", report, report.Findings)
	}
	w = newWreck(t, nil)
	s := openAt(t, w.dir, nil)
	keys := recordsOf(t, s, bundlePrefix)
	last := s.committed().bundles
	for _, i := range rand.Perm(len(keys))[:5] {
		overwrite(t, s, keys[i], func(rec []byte) []byte { rec[2] ^= 1; return rec })
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(w.dir, manifestName)); err != nil {
		t.Fatal(err)
	}
	if report := salvaged(w.dir); report.Repeated == 0 || report.Found != 5 || !strings.Contains(fmt.Sprint(report.Findings), "attempts of the positions") {
		t.Fatalf("%v, %v", report, report.Findings)
	}
	w.salvaged(t, w.dir, "bundles")
	s = openAt(t, w.dir, nil)
	if again := s.committed().bundles; again < last {
		t.Errorf("the next bundle gets the number %d, the last one had %d", again+1, last)
	}
}
