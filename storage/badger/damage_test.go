package badger

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/caddyrelay/caddyrelay/relay"
	"github.com/caddyrelay/caddyrelay/storage/badger/files"
	"github.com/caddyrelay/caddyrelay/storage/storagetest"
)

// wreck is a store to be damaged, with what it holds.
type wreck struct {
	dir string
	key []byte
	// events are all that were acknowledged.
	events []*relay.Event
	// owed are the deliveries that are still to be made, by event and subscription.
	owed map[string]bool
	// heads are the highest positions.
	heads map[string]uint64
}

func owedBy(e *relay.Event, name string) string { return e.ID + " " + name }

// newWreck makes a store as kill -9 leaves it, with tables and a log. Of its deliveries some
// are made, given up, retried, set aside in order, and pending.
func newWreck(t *testing.T, key []byte) *wreck {
	t.Helper()
	w := &wreck{key: key, owed: make(map[string]bool), heads: make(map[string]uint64)}
	live := t.TempDir()
	var s *Store
	for round := range 4 {
		var err error
		if s, err = Open(live, Options{EncryptionKey: key}); err != nil {
			t.Fatal(err)
		}
		for range 15 {
			w.batch(t, s)
		}
		if round < 3 {
			if err := s.Close(); err != nil { // makes a table of the log
				t.Fatal(err)
			}
		}
	}
	w.dir = copyDirectory(t, live)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	return w
}

// batch appends ten events and commits what became of them.
func (w *wreck) batch(t *testing.T, s *Store) {
	t.Helper()
	names := []string{"crm", "billing", "erp"}
	var b relay.Batch
	for range 10 {
		n := len(w.events)
		e := &relay.Event{Type: "order.paid", Data: fmt.Appendf(nil, "the body of event %d %x", n, rand.Uint64())}
		item := relay.Item{Event: e, Key: &relay.Key{Kind: relay.KeyHeader, Text: fmt.Sprint("key", n), Sum: sha256.Sum256(e.Data)}}
		for i, name := range names {
			if i == 0 || n%(i+1) == 0 {
				item.Targets = append(item.Targets, relay.Target{Subscription: name, Key: fmt.Sprint("k", n%3)})
			}
		}
		w.events = append(w.events, e)
		b.Items = append(b.Items, item)
	}
	if _, err := s.Append(t.Context(), b, nil); err != nil {
		t.Fatal(err)
	}
	updates := make(map[string]*relay.Update)
	for _, name := range names {
		updates[name] = &relay.Update{Progress: relay.Progress{Subscription: name}}
		for p := range s.Progress(t.Context()) {
			if p.Subscription == name {
				updates[name].Progress = p
			}
		}
	}
	for _, item := range b.Items {
		e := item.Event
		for _, p := range e.Deliveries {
			w.heads[p.Subscription] = p.Pos
			u := updates[p.Subscription]
			x := relay.Exception{From: p.Pos, To: p.Pos, Seq: e.Seq, Attempts: 1, Key: p.Key, Due: e.Accepted, At: e.Accepted}
			attempt := relay.AttemptRecord{Seq: e.Seq, Pos: p.Pos, Attempt: relay.Attempt{Number: 1, At: e.Accepted, Status: 500, ErrorKind: relay.Kind5xx}}
			switch kind := rand.IntN(10); {
			case p.Subscription == "erp": // nothing is made: it is paused
				w.owed[owedBy(e, p.Subscription)] = true
				continue
			case kind < 6:
				attempt.Status, attempt.ErrorKind = 200, ""
				u.Progress.Delivered++
			case kind == 6:
				x.Kind = relay.Failed
				u.Progress.Failed++
				u.Put = append(u.Put, x)
			case kind == 7:
				x.Kind, x.Attempts = relay.Ordered, 0
				u.Put = append(u.Put, x)
				u.Progress.Open++
				u.Progress.Low = p.Pos
				w.owed[owedBy(e, p.Subscription)] = true
				continue
			default:
				x.Kind = relay.Retry
				u.Put = append(u.Put, x)
				u.Progress.Open++
				w.owed[owedBy(e, p.Subscription)] = true
			}
			u.Progress.Low = p.Pos
			u.Attempts = append(u.Attempts, attempt)
		}
	}
	if err := s.Commit(t.Context(), []relay.Update{*updates["crm"], *updates["billing"]}); err != nil {
		t.Fatal(err)
	}
}

// contents is a digest of all files in a directory.
func contents(t *testing.T, dir string) string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var all strings.Builder
	for _, e := range entries {
		if e.IsDir() || e.Name() == pidName || e.Name() == ballastName {
			continue
		}
		raw, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&all, "%s %d %08x\n", e.Name(), len(raw), crc32.Checksum(raw, castagnoli))
	}
	return all.String()
}

// salvaged opens a damaged store by the token of its refusal and compares what there is. It
// returns how many events are gone.
func (w *wreck) salvaged(t *testing.T, dir, what string) int {
	t.Helper()
	before := contents(t, dir)
	_, err := Open(dir, Options{EncryptionKey: w.key})
	damage, ok := errors.AsType[*DamageError](err)
	if !ok {
		t.Fatalf("%s: Open: %v, want a DamageError", what, err)
	}
	for _, want := range []string{dir, "accept_loss " + damage.Token, "damaged-" + damage.Token, "doctor --storage " + dir} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %q does not say %q", what, err, want)
		}
	}
	if _, err := Open(dir, Options{EncryptionKey: w.key, AcceptLoss: "0123456789ab"}); !errors.Is(err, ErrDamaged) || !strings.Contains(err.Error(), "another loss") {
		t.Fatalf("%s: another token: %v", what, err)
	}
	rehearsed, err := Verify(dir, Options{EncryptionKey: w.key})
	if err != nil || rehearsed.Sound() || rehearsed.Damage.Token != damage.Token || rehearsed.Salvage == nil {
		t.Fatalf("%s: Verify: %+v, %v", what, rehearsed, err)
	}
	if after := contents(t, dir); after != before {
		t.Fatalf("%s: looking has changed the files:\n%s\nbefore:\n%s", what, after, before)
	}
	s, err := Open(dir, Options{EncryptionKey: w.key, AcceptLoss: damage.Token})
	if err != nil {
		t.Fatalf("%s: Open by the token: %v", what, err)
	}
	gone := w.compare(t, s, what, rehearsed.Salvage)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if kept := contents(t, filepath.Join(dir, damagedPrefix+damage.Token)); !strings.Contains(kept, lostName) ||
		!containsAll(kept, strings.Split(strings.TrimSpace(before), "\n")) {
		t.Errorf("%s: kept are\n%s\nof\n%s", what, kept, before)
	}
	if left, _ := filepath.Glob(filepath.Join(dir, salvagePrefix+"*")); len(left) > 0 {
		t.Errorf("%s: left are %v", what, left)
	}
	report, err := Verify(dir, Options{EncryptionKey: w.key})
	if err != nil || !report.Sound() {
		t.Fatalf("%s: afterwards: %+v, %v", what, report, err)
	}
	if s, err = Open(dir, Options{EncryptionKey: w.key}); err != nil {
		t.Fatalf("%s: opening it again: %v", what, err)
	}
	if again := w.compare(t, s, what, nil); again != gone {
		t.Errorf("%s: %d events are gone, then %d", what, gone, again)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	return gone
}

func containsAll(text string, parts []string) bool {
	return !slices.ContainsFunc(parts, func(part string) bool { return !strings.Contains(text, part) })
}

// compare looks for every event and every delivery that is owed, and counts the events that
// are gone.
func (w *wreck) compare(t *testing.T, s *Store, what string, told *Salvage) (gone int) {
	t.Helper()
	for _, e := range w.events {
		seq, _, _ := relay.ParseID(e.ID)
		got, err := s.Event(t.Context(), seq)
		if errors.Is(err, relay.ErrNotFound) {
			gone++
			continue
		}
		if err != nil || got.ID != e.ID || !bytes.Equal(got.Data, e.Data) || len(got.Deliveries) != len(e.Deliveries) {
			t.Fatalf("%s: %s is %+v, %v", what, e.ID, got, err)
		}
		for i, p := range got.Deliveries {
			if name := p.Subscription; name != e.Deliveries[i].Subscription && !strings.HasPrefix(name, "lost-") {
				t.Fatalf("%s: %s is for %s, want %s", what, e.ID, name, e.Deliveries[i].Subscription)
			}
			if w.owed[owedBy(e, e.Deliveries[i].Subscription)] && !s.owes(t, p) {
				t.Errorf("%s: the delivery of %s to %s is not to be made any more", what, e.ID, p.Subscription)
			}
		}
	}
	if told != nil && (uint64(gone) != told.Lost || told.Events+told.Lost != uint64(len(w.events))) {
		t.Errorf("%s: %d events are gone; told were %d, and %d that are there", what, gone, told.Lost, told.Events)
	}
	return gone
}

// owes reports whether a delivery is still to be made: it is in the log and not finished, or
// has an open exception.
func (s *Store) owes(t *testing.T, p relay.Placement) bool {
	t.Helper()
	x, found, err := s.Exception(t.Context(), p.Subscription, p.Pos)
	if err != nil {
		t.Fatal(err)
	}
	if found {
		return !x.Kind.Closed()
	}
	entries, err := s.Read(t.Context(), p.Subscription, p.Pos-1, 1, 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	_, st := s.subs.state(p.Subscription)
	return len(entries) == 1 && entries[0].Pos == p.Pos && !st.finished(p.Pos)
}

// damaging is one way to damage a store.
type damaging struct {
	// sort is tried at least once.
	sort, file string
	change     func(path string) error
	// most is how many events may be gone.
	most int
}

// damages are ways to damage a store in n bytes of each file, and to take files away.
func (w *wreck) damages(t *testing.T, n int) (all []damaging) {
	t.Helper()
	entries, err := os.ReadDir(w.dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range entries {
		name, ext := entry.Name(), filepath.Ext(entry.Name())
		raw, err := os.ReadFile(filepath.Join(w.dir, name))
		if err != nil {
			t.Fatal(err)
		}
		written := bytes.TrimRight(raw, "\x00")
		table, log, manifest := ext == tableSuffix, ext == memSuffix, name == manifestName
		if !table && !log && !manifest {
			continue
		}
		if table || manifest {
			most := 0 // tables say all that MANIFEST does
			if table {
				most = 150
			}
			for sort, change := range map[string]func(path string) error{
				" missing": os.Remove,
				" empty":   func(path string) error { return os.Truncate(path, 0) },
				" half":    func(path string) error { return os.Truncate(path, int64(len(raw)/2)) },
			} {
				all = append(all, damaging{ext + sort, name, change, most})
			}
		}
		for range n {
			at, most := rand.IntN(len(written)), 0
			switch {
			case log:
				at, most = 100+rand.IntN(len(written)-3000), 1
			case table && at >= indexOf(t, w, name):
				most = 150
			case table:
				most = 60 // a block
			case at >= 4 && at < 8:
				at = 0 // these say which version it is
			}
			changed := bytes.Clone(raw)
			changed[at] ^= 1 << rand.IntN(8)
			change := func(path string) error { return os.WriteFile(path, changed, 0o600) }
			all = append(all, damaging{fmt.Sprint(ext, " byte"), fmt.Sprintf("%s byte %d of %d", name, at, len(written)), change, most})
		}
	}
	return all
}

// TestDamageLosesAsLittleAsCanBe: each file of a store is missing, cut, or has a byte that
// is wrong. The store is refused before anything is changed; by the token of the refusal it
// opens with all that can be read.
func TestDamageLosesAsLittleAsCanBe(t *testing.T) {
	for _, encrypted := range []bool{false, true} {
		t.Run(fmt.Sprint("encrypted=", encrypted), func(t *testing.T) {
			t.Parallel()
			var key []byte
			if encrypted {
				key = bytes.Repeat([]byte{7}, 32)
			}
			w := newWreck(t, key)
			all := w.damages(t, counted(1, 40))
			rand.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
			tried := make(map[string]bool)
			for _, d := range all {
				if counted(1, 0) == 1 && (tried[d.sort] || encrypted && !strings.HasSuffix(d.sort, "byte")) {
					continue
				}
				tried[d.sort] = true
				dir := copyDirectory(t, w.dir)
				if err := d.change(filepath.Join(dir, strings.Fields(d.file)[0])); err != nil {
					t.Fatal(err)
				}
				what := d.file + d.sort
				if gone := w.salvaged(t, dir, what); gone > d.most {
					t.Errorf("%s: %d events are gone, want at most %d", what, gone, d.most)
				}
				_ = os.RemoveAll(dir)
			}
		})
	}
}

// counted is how often a thing is tried: few by default, many in long runs.
func counted(few, many int) int {
	if os.Getenv("RELAY_TEST_LONG") != "" {
		return many
	}
	return few
}

// indexOf returns where the index of a table begins: behind its last block.
func indexOf(t *testing.T, w *wreck, name string) int {
	t.Helper()
	keys, err := files.OpenKeys(w.dir, w.key)
	if err != nil {
		t.Fatal(err)
	}
	m, err := files.ReadManifest(w.dir)
	if err != nil {
		t.Fatal(err)
	}
	for id, info := range m.Tables {
		path := files.TableName(w.dir, id)
		if filepath.Base(path) != name {
			continue
		}
		table, err := files.OpenTable(path, info, keys)
		if err != nil {
			t.Fatal(err)
		}
		defer table.Close()
		return int(table.End())
	}
	t.Fatalf("%s is not listed", name)
	return 0
}

// TestManyDamagesAtOnce, and the names of subscriptions among them.
func TestManyDamagesAtOnce(t *testing.T) {
	w := newWreck(t, nil)
	tables, err := filepath.Glob(filepath.Join(w.dir, "*"+tableSuffix))
	if err != nil || len(tables) < 3 {
		t.Fatalf("%v, %v", tables, err)
	}
	for _, path := range tables {
		raw, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for range 3 {
			raw[rand.IntN(len(raw)*3/4)] ^= 0xff
		}
		if err := os.WriteFile(path, raw, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Remove(tables[0]); err != nil {
		t.Fatal(err)
	}
	gone := w.salvaged(t, w.dir, "all tables")
	s := openAt(t, w.dir, nil)
	e := &relay.Event{Type: "a", Data: []byte("after")}
	if _, err := s.Append(t.Context(), relay.Batch{Items: []relay.Item{{Event: e, Targets: storagetest.Targets("crm", "billing", "erp")}}}, nil); err != nil {
		t.Fatal(err)
	}
	for _, p := range e.Deliveries {
		if p.Pos <= w.heads[p.Subscription] && gone == 0 {
			t.Errorf("%s gives the position %d again", p.Subscription, p.Pos)
		}
	}
	if last := w.events[len(w.events)-1]; e.Seq <= last.Seq || s.committed().ordinal != uint64(len(w.events))+1 {
		t.Errorf("the next event is %d at %d", s.committed().ordinal, e.Seq)
	}
	t.Logf("%d of %d events are gone", gone, len(w.events))
}

// TestTableThatWasMergedIsNoDamage: a crash may leave a table that was struck off, whose records
// were removed since. One that was never listed is another thing.
func TestTableThatWasMergedIsNoDamage(t *testing.T) {
	dir := t.TempDir()
	s := openAt(t, dir, nil)
	put(t, s, 200)
	if !s.reclaim() {
		t.Fatal("tables were not merged")
	}
	before, err := files.Tables(dir)
	if err != nil || len(before) == 0 {
		t.Fatal(before, err)
	}
	old := files.TableName(dir, before[0])
	kept, err := os.ReadFile(old)
	if err != nil {
		t.Fatal(err)
	}
	deliver(t, s, 0, 200)
	trimAll(t, s)
	if !s.reclaim() {
		t.Fatal("tables were not merged again")
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(old); !errors.Is(err, fs.ErrNotExist) {
		t.Fatalf("%s is still there: %v", old, err)
	}
	never := files.TableName(copyDirectory(t, dir), 9999)
	for _, path := range []string{old, never} {
		if err := os.WriteFile(path, kept, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	s = openAt(t, dir, nil)
	if _, err := os.Stat(old); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("%s is still there once the store is open: %v", old, err)
	}
	if n := s.committed().removed; n != 200 {
		t.Errorf("%d events are removed", n)
	}
	if _, err := Open(filepath.Dir(never), Options{}); !errors.Is(err, ErrDamaged) {
		t.Errorf("with a table that was never listed: %v", err)
	}
}
