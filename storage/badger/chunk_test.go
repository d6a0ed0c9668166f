package badger

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	bdb "github.com/dgraph-io/badger/v4"
	"pgregory.net/rapid"

	"github.com/caddyrelay/caddyrelay/relay"
	"github.com/caddyrelay/caddyrelay/storage/storagetest"
)

// batchOf appends so many events as one batch, which is one group.
func batchOf(t testing.TB, s *Store, n int, names ...string) []*relay.Event {
	t.Helper()
	var b relay.Batch
	var events []*relay.Event
	for i := range n {
		e := &relay.Event{Type: "order.paid", Data: fmt.Appendf(nil, "the body of event %d", i)}
		events = append(events, e)
		b.Items = append(b.Items, relay.Item{Event: e, Targets: storagetest.Targets(names...)})
	}
	if _, err := s.Append(t.Context(), b, nil); err != nil {
		t.Fatal(err)
	}
	return events
}

// finishUpTo commits that everything up to a position is delivered.
func finishUpTo(t testing.TB, s *Store, name string, low uint64) {
	t.Helper()
	if err := s.Commit(t.Context(), []relay.Update{{Progress: relay.Progress{Subscription: name, Low: low}}}); err != nil {
		t.Fatal(err)
	}
}

// recordsOf counts the records under a letter, by their keys.
func recordsOf(t testing.TB, s *Store, prefix byte) (keys [][]byte) {
	t.Helper()
	err := s.view(func(txn *bdb.Txn) error {
		return each(txn, prefix, func(key, _ []byte) error {
			keys = append(keys, bytes.Clone(key))
			return nil
		})
	})
	if err != nil {
		t.Fatal(err)
	}
	return keys
}

// FuzzChunk: no record of a log makes the decoder panic or give more than a chunk may hold,
// and what it accepts comes back from what it writes.
func FuzzChunk(f *testing.F) {
	key := logKey(7, 100)
	for _, seqs := range [][]relay.Seq{{5}, {0, 5}, {5, 6, 7}, {1 << 60, 1<<60 + 1, 0, 0, 1 << 59, 1<<60 + 1<<20}, make([]relay.Seq, chunkMost)} {
		rec := (&chunk{first: 100, seqs: seqs}).encode(key)
		f.Add(rec[1 : len(rec)-4])
	}
	f.Add([]byte{0x12, 0xff, 0xff})
	f.Fuzz(func(t *testing.T, fields []byte) {
		var c, again chunk
		_ = c.decode(key, fields)
		if err := c.decode(key, seal(key, append([]byte{recordVersion}, fields...))); err != nil {
			if damaged, ok := errors.AsType[*chunkError](err); !ok || damaged.From != 100 || damaged.To != 163 {
				t.Fatalf("%v", err)
			}
			return
		}
		if len(c.seqs) == 0 || len(c.seqs) > chunkMost || c.sub != 7 || c.first != 100 {
			t.Fatalf("%+v", c)
		}
		if slices.ContainsFunc(c.seqs, func(s relay.Seq) bool { return s >= 1<<62 }) {
			return // no time has such a number
		}
		if err := again.decode(key, c.encode(key)); err != nil || !slices.Equal(c.seqs, again.seqs) {
			t.Fatalf("%v comes back as %v, %v", c.seqs, again.seqs, err)
		}
	})
}

// TestChunksComeBack: with holes, and with events that were added late; and none takes more
// room than its entries have asked for.
func TestChunksComeBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := chunk{sub: rapid.Uint32().Draw(t, "sub"), first: rapid.Uint64Max(1<<63).Draw(t, "first")}
		c.seqs = rapid.SliceOfN(rapid.Custom(func(t *rapid.T) relay.Seq {
			return relay.Seq(rapid.Uint64Max(1<<62).Draw(t, "seq"))
		}), 1, chunkMost).Draw(t, "seqs")
		key := logKey(c.sub, c.first)
		rec := c.encode(key)
		if took := len(key) + len(rec); took > len(c.seqs)*entryLen || took > chunkLen {
			t.Fatalf("%d entries take %d bytes, said to take %d and %d", len(c.seqs), took, len(c.seqs)*entryLen, chunkLen)
		}
		var back chunk
		if err := back.decode(key, rec); err != nil || back.sub != c.sub || back.first != c.first || !slices.Equal(back.seqs, c.seqs) {
			t.Fatalf("%+v comes back as %+v, %v", c, back, err)
		}
		for i, seq := range c.seqs {
			if pos := c.first + uint64(i); !back.covers(pos) || back.at(pos) != seq {
				t.Fatalf("at %d is %d, want %d", pos, back.at(pos), seq)
			}
		}
	})
}

// TestChunkOfOneIsARecordOfBefore: what formats 1 and 2 have written for a position is a chunk
// like any other.
func TestChunkOfOneIsARecordOfBefore(t *testing.T) {
	key := logKey(3, 9)
	one := chunk{sub: 3, first: 9, seqs: []relay.Seq{1 << 60}}
	if rec := one.encode(key); !bytes.Equal(rec, encodeNumber(key, 1<<60)) {
		t.Fatalf("%x, want %x", rec, encodeNumber(key, 1<<60))
	}
}

// TestChunkThatIsNoneIsUnreadable flips every bit of a chunk, cuts it, and puts it in
// another's place.
func TestChunkThatIsNoneIsUnreadable(t *testing.T) {
	key := logKey(1, 5)
	var c chunk
	for seq := range relay.Seq(20) {
		c.seqs = append(c.seqs, 1<<60+seq*3<<20)
	}
	sound := c.encode(key)
	var back chunk
	for bit := range len(sound) * 8 {
		bad := bytes.Clone(sound)
		bad[bit/8] ^= 1 << (bit % 8)
		if err := back.decode(key, bad); err == nil {
			t.Fatalf("bit %d flipped: no error", bit)
		}
	}
	for n := range len(sound) {
		if err := back.decode(key, sound[:n]); err == nil {
			t.Fatalf("cut at %d: no error", n)
		}
	}
	for _, other := range [][]byte{logKey(1, 6), logKey(2, 5)} {
		if err := back.decode(other, sound); err == nil {
			t.Fatal("another's chunk: no error")
		}
	}
	long := appendFixed(newRecord(0), chunkFirst, 5)
	long = seal(key, appendBytes(long, chunkRest, make([]byte, chunkMost)))
	if err := back.decode(key, long); !errors.Is(err, errTooMany) {
		t.Fatalf("too long: %v", err)
	}
	if err := back.decode(key[:9], sound); err == nil {
		t.Fatal("a short key: no error")
	}
	end := logKey(1, ^uint64(0))
	if err := back.decode(end, seal(end, appendBytes(newRecord(0), chunkRest, []byte{3}))); err == nil {
		t.Fatal("beyond the last position: no error")
	}
}

// TestEventsOfAGroupShareARecord: one record for the entries of a log, up to its bound.
func TestEventsOfAGroupShareARecord(t *testing.T) {
	s := openAt(t, t.TempDir(), nil)
	batchOf(t, s, 40, "crm", "billing")
	if keys := recordsOf(t, s, logPrefix); len(keys) != 2 {
		t.Fatalf("40 events for two take %d records in their logs, want 2", len(keys))
	}
	batchOf(t, s, 2*chunkMost+1, "crm")
	if keys := recordsOf(t, s, logPrefix); len(keys) != 5 {
		t.Fatalf("%d records, want 3 more", len(keys))
	}
	checkLog(t, s, "crm")
}

// TestLogsAreReadFromAnywhere compares what is read of logs with what should be there, from
// each position on and from each one back: while events come in groups of any size, are added
// late, and go, oldest first and others before them; and after the store was opened again.
func TestLogsAreReadFromAnywhere(t *testing.T) {
	clock := storagetest.NewClock(storagetest.Start)
	dir := t.TempDir()
	s := openAt(t, dir, clock)
	var want []relay.LogEntry // of crm
	done := make(map[uint64]bool)
	low := uint64(0)
	head := uint64(0)
	for round := range 24 {
		clock.Advance(5_000_000)
		switch n := rand.IntN(4); {
		case n == 0 && round > 2: // an older one is added behind the others
			e := batchOf(t, s, 1, "other")[0]
			finishUpTo(t, s, "other", e.Deliveries[0].Pos)
			batchOf(t, s, 3, "crm")
			if err := s.Place(t.Context(), e.Seq, relay.Target{Subscription: "crm"}, func(e *relay.Event) {
				for i := range 3 {
					want = append(want, relay.LogEntry{Pos: head + uint64(i) + 1})
				}
				want = append(want, relay.LogEntry{Pos: head + 4, Seq: e.Seq})
			}); err != nil {
				t.Fatal(err)
			}
			page, err := s.Log(t.Context(), "crm", head+4, 3)
			if err != nil || len(page) != 3 {
				t.Fatal(page, err)
			}
			for i, l := range page {
				want[len(want)-2-i] = l
			}
			head += 4
		default:
			for _, e := range batchOf(t, s, []int{1, 2, 7, chunkMost - 1, chunkMost, chunkMost + 1, 150}[rand.IntN(7)], "crm") {
				head++
				want = append(want, relay.LogEntry{Pos: head, Seq: e.Seq})
			}
		}
		if round%3 == 2 { // some are delivered in any order, and what is old enough goes
			for range 40 {
				done[low+1+rand.Uint64N(head-low)] = true
			}
			p := relay.Progress{Subscription: "crm", Low: low}
			for done[p.Low+1] {
				p.Low++
			}
			low = p.Low
			for pos := low + 1; pos <= head; pos++ {
				if !done[pos] {
					continue
				}
				if n := len(p.Done); n > 0 && p.Done[n-1].To == pos-1 {
					p.Done[n-1].To = pos
				} else {
					p.Done = append(p.Done, relay.Span{From: pos, To: pos})
				}
			}
			if err := s.Commit(t.Context(), []relay.Update{{Progress: p}}); err != nil {
				t.Fatal(err)
			}
			before := clock.Now()
			for more := true; more; {
				step, err := s.Trim(t.Context(), relay.TrimPolicy{DeliveredBefore: before, FailedBefore: before})
				if err != nil {
					t.Fatal(err)
				}
				more = step.More
			}
			want = slices.DeleteFunc(want, func(l relay.LogEntry) bool { return done[l.Pos] && l.Seq.Time().Before(before) })
		}
		if round%5 == 4 {
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			s = openAt(t, dir, clock)
		}
		compareLog(t, s, "crm", head, want)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if report, err := Verify(dir, Options{}); err != nil || !report.Sound() || report.Entries < uint64(len(want)) {
		t.Fatalf("%+v, %v", report, err)
	}
}

// compareLog reads a log from each position on, and back from each.
func compareLog(t *testing.T, s *Store, name string, head uint64, want []relay.LogEntry) {
	t.Helper()
	if _, st := s.subs.state(name); st.progress.Head != head {
		t.Fatalf("the head is %d, want %d", st.progress.Head, head)
	}
	for at := uint64(0); at <= head+1; at += 1 + rand.Uint64N(5) {
		i, _ := slices.BinarySearchFunc(want, at+1, func(l relay.LogEntry, pos uint64) int { return int(l.Pos) - int(pos) })
		limit := 1 + rand.IntN(100)
		entries, err := s.Read(t.Context(), name, at, limit, 1<<20)
		if err != nil {
			t.Fatalf("reading after %d: %v", at, err)
		}
		behind := want[i:min(i+limit, len(want))]
		if len(entries) != len(behind) {
			t.Fatalf("%d entries after %d, want %d", len(entries), at, len(behind))
		}
		for j, e := range entries {
			if e.Pos != behind[j].Pos || e.Event.Seq != behind[j].Seq {
				t.Fatalf("after %d: %d at %d, want %v", at, e.Event.Seq, e.Pos, behind[j])
			}
		}
		page, err := s.Log(t.Context(), name, at+1, limit)
		if err != nil {
			t.Fatalf("listing before %d: %v", at+1, err)
		}
		back := slices.Clone(want[max(i-limit, 0):i])
		slices.Reverse(back)
		if !slices.Equal(page, back) {
			t.Fatalf("before %d: %v, want %v", at+1, page, back)
		}
	}
}

// TestTrimmedChunkKeepsItsPlace: an entry that went leaves a hole, the others keep their
// positions; the record goes with the last of them, and so does its room.
func TestTrimmedChunkKeepsItsPlace(t *testing.T) {
	clock := storagetest.NewClock(storagetest.Start)
	s := openAt(t, t.TempDir(), clock)
	batchOf(t, s, 10, "crm")
	all := s.committed().live
	later := clock.Now().AddDate(1, 0, 0)
	trim := func(low uint64, done ...relay.Span) relay.Trimmed {
		t.Helper()
		if err := s.Commit(t.Context(), []relay.Update{{Progress: relay.Progress{Subscription: "crm", Low: low, Done: done}}}); err != nil {
			t.Fatal(err)
		}
		step, err := s.Trim(t.Context(), relay.TrimPolicy{DeliveredBefore: later, FailedBefore: later})
		if err != nil {
			t.Fatal(err)
		}
		return step
	}
	if step := trim(3, relay.Span{From: 7, To: 7}); step.Events != 4 {
		t.Fatalf("%+v", step)
	}
	if keys := recordsOf(t, s, logPrefix); len(keys) != 1 {
		t.Fatalf("%d records", len(keys))
	}
	if _, st := s.subs.state("crm"); st.floor != 4 {
		t.Fatalf("the floor is %d, want 4", st.floor)
	}
	entries, err := s.Read(t.Context(), "crm", 4, 10, 1<<20)
	if err != nil || len(entries) != 5 || entries[0].Pos != 5 || entries[2].Pos != 8 {
		t.Fatalf("%+v, %v", entries, err)
	}
	if left := s.committed().live; left >= all || left == 0 {
		t.Fatalf("%d bytes are there of %d", left, all)
	}
	if step := trim(10); step.Events != 6 {
		t.Fatalf("%+v", step)
	}
	if keys := recordsOf(t, s, logPrefix); len(keys) != 0 {
		t.Fatalf("%d records are left", len(keys))
	}
	if _, st := s.subs.state("crm"); st.floor != 11 || s.committed().live != 0 {
		t.Fatalf("the floor is %d, %d bytes are there", st.floor, s.committed().live)
	}
	if e := batchOf(t, s, 1, "crm")[0]; e.Deliveries[0].Pos != 11 {
		t.Fatalf("%+v", e.Deliveries)
	}
}

// TestDamagedChunkIsNamedWithItsPositions: who reads gets what stands before it, then the
// positions that it took, all at once, then what stands behind it. No position is given
// twice. It goes when everything is finished that it held.
func TestDamagedChunkIsNamedWithItsPositions(t *testing.T) {
	dir := t.TempDir()
	s := openAt(t, dir, nil)
	batchOf(t, s, 5, "crm")
	batchOf(t, s, 7, "crm")
	batchOf(t, s, 3, "crm")
	overwrite(t, s, logKey(1, 6), func(rec []byte) []byte { rec[3] ^= 1; return rec })
	entries, err := s.Read(t.Context(), "crm", 2, 10, 1<<20)
	if err != nil || len(entries) != 3 {
		t.Fatalf("Read: %v, %v; want 3 to 5", entries, err)
	}
	for _, after := range []uint64{5, 8, 11} {
		_, err = s.Read(t.Context(), "crm", after, 10, 1<<20)
		unreadable, ok := errors.AsType[*relay.UnreadableError](err)
		if want := fmt.Sprintf("positions %d to 12", after+1); !ok || unreadable.Pos != 12 || !strings.Contains(err.Error(), want) {
			t.Fatalf("Read after %d: %v, want an UnreadableError of the %s", after, err, want)
		}
	}
	if entries, err = s.Read(t.Context(), "crm", 12, 10, 1<<20); err != nil || len(entries) != 3 || entries[0].Pos != 13 {
		t.Fatalf("Read: %v, %v; want 13 to 15", entries, err)
	}
	if _, err := s.Log(t.Context(), "crm", 0, 10); err == nil || !strings.Contains(err.Error(), "positions 6 to") {
		t.Fatalf("Log: %v", err)
	}
	reopen := func() {
		t.Helper()
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		s = openAt(t, dir, nil)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	report, err := Verify(dir, Options{})
	if err != nil || report.Entries != 8 || !strings.Contains(strings.Join(report.Findings, "\n"), `subscription "crm": the entries of the positions 6 to 12`) {
		t.Fatalf("%+v, %v", report, err)
	}
	s = openAt(t, dir, nil)
	if _, st := s.subs.state("crm"); st.progress.Head != 15 {
		t.Fatalf("the head is %d", st.progress.Head)
	}

	later := relay.TrimPolicy{DeliveredBefore: s.clock().AddDate(1, 0, 0), FailedBefore: s.clock().AddDate(1, 0, 0)}
	for _, low := range []uint64{10, 15} {
		finishUpTo(t, s, "crm", low)
		if _, err := s.Trim(t.Context(), later); err != nil {
			t.Fatal(err)
		}
		if keys := recordsOf(t, s, logPrefix); low == 10 && len(keys) != 2 || low == 15 && len(keys) != 0 {
			t.Fatalf("up to %d is finished, and %d records are left", low, len(keys))
		}
	}
	reopen()
	batchOf(t, s, 2, "crm") // the newest are damaged: how many they were is not known
	overwrite(t, s, logKey(1, 16), func(rec []byte) []byte { rec[3] ^= 1; return rec })
	reopen()
	if e := batchOf(t, s, 1, "crm")[0]; e.Deliveries[0].Pos <= 17 {
		t.Fatalf("the position %d is given again", e.Deliveries[0].Pos)
	}
}

// TestDamagedChunkIsMadeAnew: the events know their positions, so that a salvage loses no
// entry with a chunk.
func TestDamagedChunkIsMadeAnew(t *testing.T) {
	w := newWreck(t, nil)
	s := openAt(t, w.dir, nil)
	keys := recordsOf(t, s, logPrefix)
	for range 10 {
		key := keys[rand.IntN(len(keys))]
		overwrite(t, s, key, func(rec []byte) []byte { rec[rand.IntN(len(rec))] ^= 1 << rand.IntN(8); return rec })
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(w.dir, manifestName)); err != nil {
		t.Fatal(err)
	}
	if gone := w.salvaged(t, w.dir, "chunks"); gone != 0 {
		t.Errorf("%d events are gone", gone)
	}
}
