package badger

import (
	"bufio"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	bdb "github.com/dgraph-io/badger/v4"

	"github.com/caddyrelay/caddyrelay/relay"
	"github.com/caddyrelay/caddyrelay/storage/storagetest"
)

// childEnv makes the test binary a writer to the directory that it names.
const childEnv = "CADDYRELAY_TEST_WRITE_TO"

// unguardedEnv makes that writer not look at how full the volume is.
const unguardedEnv = "CADDYRELAY_TEST_UNGUARDED"

// hastyEnv makes it answer before what it answers is written.
const hastyEnv = "CADDYRELAY_TEST_HASTY"

// child appends events from many goroutines and prints a line for each that was
// acknowledged, until it is killed. It commits progress too, as an engine does.
func child(dir string) {
	o := Options{Limits: Limits{MinFree: 16 << 20}}
	if os.Getenv(unguardedEnv) != "" {
		o.volume = func(string) int64 { return -1 }
	}
	s, err := Open(dir, o)
	if err != nil {
		fmt.Println("error", err)
		os.Exit(1)
	}
	if os.Getenv(hastyEnv) != "" {
		withCommit(s, func(txn *bdb.Txn) error {
			txn.CommitWith(func(error) {})
			return nil
		})
	}
	fmt.Println("open")
	var mu sync.Mutex
	var wait sync.WaitGroup
	for w := range 16 {
		wait.Go(func() {
			random := rand.New(rand.NewPCG(uint64(os.Getpid()), uint64(w)))
			for i := 0; ; i++ {
				data := make([]byte, 1+random.IntN(3000))
				for j := range data {
					data[j] = byte(random.Uint32())
				}
				e := &relay.Event{Type: "order.paid", Data: data}
				_, err := s.Append(background, relay.Batch{Items: []relay.Item{{Event: e, Targets: storagetest.Targets("crm", "billing")}}}, nil)
				if err != nil {
					fmt.Println("error", err)
					os.Exit(1)
				}
				mu.Lock()
				fmt.Printf("ack %s %x\n", e.ID, sha256.Sum256(data))
				mu.Unlock()
				if i%8 == 0 {
					_ = s.Commit(background, []relay.Update{{
						Progress: relay.Progress{Subscription: "crm", Low: e.Deliveries[0].Pos},
						Attempts: []relay.AttemptRecord{{Seq: e.Seq, Attempt: relay.Attempt{Number: 1}}},
					}})
				}
			}
		})
	}
	wait.Wait()
}

// TestAcceptedEventsSurviveKill: what was acknowledged before a kill -9 is there
// after it, byte for byte, and the logs have no gaps.
func TestAcceptedEventsSurviveKill(t *testing.T) {
	if testing.Short() {
		t.Skip("starts processes")
	}
	dir := t.TempDir()
	acknowledged := make(map[string]string)
	for round := range 4 {
		for id, sum := range killed(t, dir, time.Duration(100+rand.IntN(300))*time.Millisecond) {
			acknowledged[id] = sum
		}
		s := openAt(t, dir, nil)
		for id, sum := range acknowledged {
			seq, err := s.Find(t.Context(), id)
			if err != nil {
				t.Fatalf("round %d: %s was acknowledged and is lost: %v", round, id, err)
			}
			e, err := s.Event(t.Context(), seq)
			if err != nil {
				t.Fatal(err)
			}
			if got := sha256.Sum256(e.Data); hex.EncodeToString(got[:]) != sum {
				t.Fatalf("round %d: %s has another body", round, id)
			}
		}
		for _, name := range []string{"crm", "billing"} {
			checkLog(t, s, name)
		}
		stats, err := s.Stats(t.Context())
		if err != nil || stats.Events < uint64(len(acknowledged)) {
			t.Fatalf("round %d: %d events ever, %d acknowledged; %v", round, stats.Events, len(acknowledged), err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if len(acknowledged) < 100 {
		t.Fatalf("only %d events were acknowledged: this tests nothing", len(acknowledged))
	}
	t.Logf("%d events acknowledged over 4 kills", len(acknowledged))
}

// The control of F1 and F33, in which the process is killed: a store that answers when the commit
// has begun, in place of when it has ended, acknowledges what is gone afterwards. The ledger of what
// was acknowledged shows it, and the sentinel, too, when the store is opened.
func TestKillControl(t *testing.T) {
	if testing.Short() {
		t.Skip("starts processes")
	}
	t.Setenv(hastyEnv, "1")
	for range 20 { // each kill hits a commit that is under way, as a rule
		dir := t.TempDir()
		acknowledged := killed(t, dir, time.Duration(50+rand.IntN(100))*time.Millisecond)
		s, err := Open(dir, Options{})
		loss, told := errors.AsType[*LossError](err)
		if told {
			s, err = Open(dir, Options{AcceptLoss: loss.Token})
		}
		if _, damaged := errors.AsType[*DamageError](err); damaged {
			continue // buffers that the haste has overwritten: the store is refused for another reason
		}
		if err != nil {
			t.Fatal(err)
		}
		gone := 0
		for id := range acknowledged {
			if _, err := s.Find(t.Context(), id); errors.Is(err, relay.ErrNotFound) {
				gone++
			}
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		if gone > 0 {
			if !told {
				t.Errorf("%d of %d acknowledged events are gone, and the store says nothing", gone, len(acknowledged))
			}
			return
		}
	}
	t.Error("nothing that was acknowledged too early was lost, so that the test of kills proves nothing")
}

// TestTwoOwnersControl shows what the lock is for: another program opens the database without
// asking for it, and the one that had it loses what it accepted, or its life.
func TestTwoOwnersControl(t *testing.T) {
	if testing.Short() {
		t.Skip("starts processes")
	}
	o := Options{}
	o.setDefaults()
	for range 20 {
		dir := t.TempDir()
		acknowledged, end := childUntil(t, dir, func() {
			other, err := bdb.Open(badgerOptions(dir, &o))
			if err == nil {
				t.Error("a second program has opened the database by the lock")
				_ = other.Close()
				return
			}
			if other, err = bdb.Open(badgerOptions(dir, &o).WithBypassLockGuard(true)); err == nil {
				_ = other.Close()
			}
			time.Sleep(100 * time.Millisecond)
		})
		if end != "signal: killed" {
			t.Logf("the first owner ended by itself: %s", end)
			return
		}
		s, err := Open(dir, Options{})
		if err != nil {
			t.Logf("what the first owner left is refused: %v", err)
			return
		}
		for id := range acknowledged {
			if _, err := s.Find(t.Context(), id); err != nil {
				t.Logf("an acknowledged event is gone: %v", err)
				return
			}
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	t.Error("two owners did no harm, so that the test of the lock proves nothing")
}

// killed runs a child for some time, kills it, and returns what it acknowledged.
func killed(t *testing.T, dir string, after time.Duration) map[string]string {
	t.Helper()
	acks, end := childUntil(t, dir, func() { time.Sleep(after) })
	if end != "signal: killed" {
		t.Errorf("the child ended by itself: %s", end)
	}
	return acks
}

// childUntil runs a child. When it has opened the directory, fn is called, and when that
// returns, the child is killed. It returns what the child acknowledged, and how it ended: by an
// error that it told, or as the system says.
func childUntil(t *testing.T, dir string, fn func()) (acks map[string]string, end string) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	out := startChild(t, cmd, childEnv+"="+dir)
	var killer sync.WaitGroup
	acks = make(map[string]string)
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		word, rest, _ := strings.Cut(lines.Text(), " ")
		switch word {
		case "open":
			killer.Go(func() {
				fn()
				_ = cmd.Process.Kill()
			})
		case "ack":
			// The last line may be cut.
			if id, sum, ok := strings.Cut(rest, " "); ok && len(sum) == 2*sha256.Size {
				acks[id] = sum
			}
		case "error":
			end = rest
		}
	}
	killer.Wait()
	if err := cmd.Wait(); end == "" {
		end = fmt.Sprint(err)
	}
	return acks, end
}

// checkLog fails the test unless the log is contiguous and each entry's event says
// the same.
func checkLog(t *testing.T, s *Store, name string) {
	t.Helper()
	var after uint64
	for {
		entries, err := s.Read(t.Context(), name, after, 1000, 1<<30)
		if err != nil {
			t.Fatal(err)
		}
		if len(entries) == 0 {
			break
		}
		for _, e := range entries {
			if e.Pos != after+1 {
				t.Fatalf("%s: position %d follows %d", name, e.Pos, after)
			}
			after = e.Pos
		}
	}
	for p, err := range s.Progress(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		if p.Subscription == name && (p.Head != after || p.Low > p.Head) {
			t.Fatalf("%s: head %d, low %d; the log ends at %d", name, p.Head, p.Low, after)
		}
	}
}
