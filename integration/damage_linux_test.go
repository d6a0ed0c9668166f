package integration

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
	"time"

	"github.com/caddyrelay/caddyrelay/relay"
	"github.com/caddyrelay/caddyrelay/storage/badger"
)

// deposit is a store as kill -9 leaves it, with what was acknowledged.
type deposit struct {
	dir    string
	bodies map[string]string // id → body
	last   string            // id of the newest
}

// openStore opens the store in a directory, with the limits of small volumes.
func openStore(dir, acceptLoss string) (*badger.Store, error) {
	return openWith(dir, badger.Options{AcceptLoss: acceptLoss})
}

func openWith(dir string, o badger.Options) (s *badger.Store, err error) {
	o.Limits.MinFree = 16 << 20
	unlocked(func() error {
		s, err = badger.Open(dir, o)
		return err
	})
	return s, err
}

// verifyStore checks the store in a directory.
func verifyStore(dir string) (report *badger.Report, err error) {
	unlocked(func() error {
		report, err = badger.Verify(dir, badger.Options{Limits: badger.Limits{MinFree: 16 << 20}})
		return err
	})
	return report, err
}

// unlocked tries again while the directory is locked: a process that another test starts
// holds the locks of this one until it has begun.
func unlocked(try func() error) {
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		if err := try(); !errors.Is(err, badger.ErrLocked) {
			return
		}
	}
}

// newDeposit makes a store with tables, older logs and a log that has just begun.
func newDeposit(t *testing.T) *deposit {
	t.Helper()
	d := &deposit{dir: filepath.Join(t.TempDir(), "store"), bodies: make(map[string]string)}
	live := filepath.Join(t.TempDir(), "live")
	var s *badger.Store
	reopen := func() {
		if s != nil {
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
		}
		var err error
		if s, err = openStore(live, ""); err != nil {
			t.Fatal(err)
		}
	}
	put := func(n int) {
		for range n {
			body := fmt.Sprintf(`{"n":%d,"text":%q}`, len(d.bodies), filler(100))
			e := &relay.Event{Type: "order.paid", Data: []byte(body)}
			batch := relay.Batch{Items: []relay.Item{{Event: e, Targets: []relay.Target{{Subscription: "crm"}}}}}
			if _, err := s.Append(t.Context(), batch, nil); err != nil {
				t.Fatal(err)
			}
			d.bodies[e.ID], d.last = body, e.ID
		}
	}
	for range 3 { // each closing makes a table
		reopen()
		put(30)
	}
	reopen()
	put(30)
	copyStore(t, live, d.dir)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	return d
}

// copy returns a copy of the store to be damaged.
func (d *deposit) copy(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp(t.TempDir(), "copy")
	if err != nil {
		t.Fatal(err)
	}
	copyStore(t, d.dir, dir)
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

// Verdicts on a store that was damaged.
const (
	intact   = "intact"
	refused  = "refused"
	salvaged = "salvaged"
	lossTold = "loss told"
	reported = "reported"
)

// verdict opens a damaged store and says how it took it. It fails the test if an event is
// gone without a word, or has another body.
func (d *deposit) verdict(t *testing.T, dir, what string) string {
	t.Helper()
	s, err := openStore(dir, "")
	if damage, ok := errors.AsType[*badger.DamageError](err); ok {
		return d.salvage(t, dir, what, damage)
	}
	if loss, ok := errors.AsType[*badger.LossError](err); ok {
		if !strings.Contains(err.Error(), "accept_loss "+loss.Token) || loss.Count() == 0 {
			t.Errorf("%s: a loss without its mend: %v", what, err)
		}
		accepted, err := openStore(dir, loss.Token)
		if err != nil {
			t.Errorf("%s: with accept_loss: %v", what, err)
			return refused
		}
		gone := d.missing(t, accepted, what)
		if uint64(gone) != loss.Count() {
			t.Errorf("%s: %d events are gone; %d were told", what, gone, loss.Count())
		}
		if err := accepted.Close(); err != nil {
			t.Errorf("%s: %v", what, err)
		}
		return lossTold
	}
	if err != nil {
		if !strings.Contains(err.Error(), dir) {
			t.Errorf("%s: the refusal does not name the directory: %v", what, err)
		}
		return refused
	}
	gone := d.missing(t, s, what)
	if err := s.Close(); err != nil {
		t.Logf("%s: closing: %v", what, err)
	}
	if gone == 0 {
		return intact
	}
	// It is open and something cannot be read: that is no silence only if it is told when
	// it is read, which missing has seen, and by the doctor.
	report, err := verifyStore(dir)
	if err == nil && report.Sound() {
		t.Errorf("%s: %d events cannot be read, and the doctor finds nothing", what, gone)
	}
	return reported
}

// salvage goes on with what can be read of a damaged store, as its refusal says, and
// compares what is gone with what was told.
func (d *deposit) salvage(t *testing.T, dir, what string, damage *badger.DamageError) string {
	t.Helper()
	if !strings.Contains(damage.Error(), dir) || !strings.Contains(damage.Error(), "accept_loss "+damage.Token) {
		t.Errorf("%s: a refusal without its mend: %v", what, damage)
	}
	told, err := verifyStore(dir)
	if err != nil || told.Salvage == nil {
		t.Errorf("%s: the doctor says %+v, %v", what, told, err)
		return refused
	}
	s, err := openStore(dir, damage.Token)
	if err != nil {
		t.Errorf("%s: with accept_loss: %v", what, err)
		return refused
	}
	if gone := d.missing(t, s, what); uint64(gone) != told.Salvage.Lost {
		t.Errorf("%s: %d events are gone; %d were told", what, gone, told.Salvage.Lost)
	}
	if err := s.Close(); err != nil {
		t.Errorf("%s: %v", what, err)
	}
	if report, err := verifyStore(dir); err != nil || !report.Sound() {
		t.Errorf("%s: the doctor says afterwards %+v, %v", what, report, err)
	}
	return salvaged
}

// missing counts the events that are not there or cannot be read, and compares the bodies
// of the others. An entry of the log that is passed over without an error is an error.
func (d *deposit) missing(t *testing.T, s *badger.Store, what string) (gone int) {
	t.Helper()
	for id, body := range d.bodies {
		seq, err := s.Find(t.Context(), id)
		if err == nil {
			var e *relay.Event
			if e, err = s.Event(t.Context(), seq); err == nil && string(e.Data) != body {
				t.Errorf("%s: %s has another body", what, id)
			}
		}
		if err != nil {
			gone++
		}
	}
	return gone
}

// F7: the last log is cut within its last records. The store opens with what was
// acknowledged, or refuses and says what is gone.
func TestTornTailIsNeverSilent(t *testing.T) {
	t.Parallel()
	d := newDeposit(t)
	log, end := d.lastLog(t)
	begin := bytes.LastIndex(end, []byte(d.bodies[d.last]))
	if begin < 0 {
		t.Fatal("the last event is not in the last log")
	}
	written := len(bytes.TrimRight(end, "\x00"))
	var cuts []int
	for at := max(begin-1200, 0); at <= written; at += counted((written-begin+1200)/8, 1) {
		cuts = append(cuts, at)
	}
	cuts = append(cuts, written-1, written)
	counts := make(map[string]int)
	for _, at := range cuts {
		for _, zeros := range []bool{false, true} { // the file ends there, or only zeros follow
			dir := d.copy(t)
			name := filepath.Join(dir, log)
			err := os.Truncate(name, int64(at))
			if zeros {
				err = errors.Join(err, os.Truncate(name, int64(len(end))))
			}
			if err != nil {
				t.Fatal(err)
			}
			counts[d.verdict(t, dir, fmt.Sprintf("cut at %d of %d, zeros=%v", at, written, zeros))]++
			_ = os.RemoveAll(dir)
		}
	}
	t.Logf("%d cuts: %v", 2*len(cuts), counts)
	// The control: cuts do lose events, and the whole log loses none.
	if counts[lossTold]+counts[salvaged] == 0 || counts[intact] == 0 {
		t.Error("the cuts show nothing")
	}
}

// lastLog returns the newest log's name and content.
func (d *deposit) lastLog(t *testing.T) (name string, content []byte) {
	t.Helper()
	logs, err := filepath.Glob(filepath.Join(d.dir, "*.mem"))
	if err != nil || len(logs) == 0 {
		t.Fatalf("no logs: %v", err)
	}
	last := slices.Max(logs)
	if content, err = os.ReadFile(last); err != nil {
		t.Fatal(err)
	}
	return filepath.Base(last), content
}

// F8: one byte is changed, in each kind of file. No body is ever another one, and nothing
// is gone without a word. A run is repeated with the seed that it logs in RELAY_TEST_SEED.
func TestFlippedByteIsNeverAWrongBody(t *testing.T) {
	t.Parallel()
	seed := rand.Uint64()
	if text := os.Getenv("RELAY_TEST_SEED"); text != "" {
		if _, err := fmt.Sscan(text, &seed); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("RELAY_TEST_SEED=%d", seed)
	random := rand.New(rand.NewPCG(seed, 8))
	d := newDeposit(t)
	if verdict := d.verdict(t, d.copy(t), "sound"); verdict != intact {
		t.Fatalf("the sound store is %s", verdict)
	}
	files, err := filepath.Glob(filepath.Join(d.dir, "*"))
	if err != nil {
		t.Fatal(err)
	}
	counts := make(map[string]int)
	for _, file := range files {
		raw, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		name := filepath.Base(file)
		written := len(bytes.TrimRight(raw, "\x00"))
		if written == 0 || name == "BALLAST" || name == "LOCK" {
			continue
		}
		for range counted(6, 150) {
			at, bit := random.IntN(written), byte(1)<<random.IntN(8)
			dir := d.copy(t)
			changed := bytes.Clone(raw[:written])
			changed[at] ^= bit
			f, err := os.OpenFile(filepath.Join(dir, name), os.O_WRONLY, 0)
			if err != nil {
				t.Fatal(err)
			}
			_, err = f.Write(changed)
			if err := errors.Join(err, f.Close()); err != nil {
				t.Fatal(err)
			}
			kind := filepath.Ext(name)
			if kind == "" {
				kind = name
			}
			counts[kind+" "+d.verdict(t, dir, fmt.Sprintf("%s, byte %d of %d ^ %#x", name, at, written, bit))]++
			_ = os.RemoveAll(dir)
		}
	}
	t.Logf("%v", counts)
	if counts[".mem "+salvaged] == 0 || counts[".sst "+salvaged] == 0 {
		t.Error("the changes show nothing")
	}
}
