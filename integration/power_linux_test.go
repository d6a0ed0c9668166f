package integration

import (
	"fmt"
	"maps"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
	"testing"

	bdb "github.com/dgraph-io/badger/v4"
)

// powerCut copies an image as a power cut leaves it, mounts the copy and returns where.
func powerCut(t *testing.T, image, name string) (dir string) {
	t.Helper()
	dir = filepath.Join(filepath.Dir(image), name)
	cut := dir + ".image"
	// What the file system has not handed to the device is not in its image.
	if out, err := exec.Command("cp", "--sparse=always", image, cut).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	mountImage(t, cut, dir, "")
	return dir
}

// stopped runs fn while the process stands still.
func (c *instance) stopped(fn func()) {
	c.t.Helper()
	if err := c.cmd.Process.Signal(syscall.SIGSTOP); err != nil {
		c.t.Fatal(err)
	}
	defer func() {
		if err := c.cmd.Process.Signal(syscall.SIGCONT); err != nil {
			c.t.Error(err)
		}
	}()
	fn()
}

// wantInCut cuts the power of an image, and wants these events in what is left: bodies by ID.
func wantInCut(t *testing.T, image, name string, accepted map[string]string) {
	t.Helper()
	dir := powerCut(t, image, name)
	s, err := openStore(dir, "")
	if err != nil {
		t.Fatalf("after %d events: %v", len(accepted), err)
	}
	for id, body := range accepted {
		seq, err := s.Find(t.Context(), id)
		if err != nil {
			t.Fatalf("%s of %d was accepted and is lost: %v", id, len(accepted), err)
		}
		if e, err := s.Event(t.Context(), seq); err != nil || string(e.Data) != body {
			t.Fatalf("%s of %d has another body, or %v", id, len(accepted), err)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	unmount(t, dir)
	if err := os.Remove(dir + ".image"); err != nil {
		t.Fatal(err)
	}
}

// F2: the volume is copied while Caddy is stopped in the middle of its work, and what was
// answered 202 until then is in the copy.
func TestAcceptedEventsSurviveAPowerCut(t *testing.T) {
	t.Parallel()
	image := filepath.Join(t.TempDir(), "image")
	makeImage(t, image, 192)
	c, _, o := newFaulty(t, func(dir string) { mountImage(t, image, dir, "") })
	c.start()

	var mu sync.Mutex
	accepted := make(map[string]string) // id → body
	stop := make(chan struct{})
	var group sync.WaitGroup
	for w := range 4 {
		group.Go(func() {
			for n := 0; ; n++ {
				select {
				case <-stop:
					return
				default:
				}
				body := fmt.Sprintf(`{"application":%d,"n":%d,"text":%q}`, w, n, filler(n%700))
				o.sending("order.paid", body)
				a := c.post("/v1/events/order.paid", body)
				if !o.answered(body, a) || a.status != http.StatusAccepted {
					t.Errorf("posting: %s", a)
					return
				}
				mu.Lock()
				accepted[a.header.Get("Location")[len("/v1/events/"):]] = body
				mu.Unlock()
			}
		})
	}
	end := sync.OnceFunc(func() { close(stop); group.Wait() })
	t.Cleanup(end)

	seen := 0
	for round := range counted(3, 50) {
		eventually(t, func() bool {
			c.alive()
			mu.Lock()
			defer mu.Unlock()
			return len(accepted) > seen+50
		}, func() string { return "no events are taken" })
		c.stopped(func() {
			mu.Lock()
			known := maps.Clone(accepted)
			mu.Unlock()
			seen = len(known)
			wantInCut(t, image, fmt.Sprint("cut", round), known)
		})
	}
	end()
	t.Logf("%d events accepted", len(accepted))
}

// The same where Badger has just begun a new log, with the event that was the first in it.
func TestAcceptedEventsSurviveAPowerCutWhenALogBegins(t *testing.T) {
	t.Parallel()
	image := filepath.Join(t.TempDir(), "image")
	makeImage(t, image, 512)
	c, _, _ := newFaulty(t, func(dir string) { mountImage(t, image, dir, "") })
	c.start()
	logs := func() string {
		names, err := filepath.Glob(filepath.Join(c.store(), "*.mem"))
		if err != nil || len(names) == 0 {
			t.Fatalf("no logs in %s: %v", c.store(), err)
		}
		return slices.Max(names)
	}
	accepted := make(map[string]string)
	begun, last := 0, logs()
	for n := 0; begun < counted(2, 10); n++ {
		if n == 1000 {
			t.Fatalf("%d logs were begun by %d events", begun, n)
		}
		body := fmt.Sprintf(`{"n":%d,"text":%q}`, n, filler(300_000))
		accepted[c.accept("order.paid", body).ID] = body
		if now := logs(); now != last {
			begun, last = begun+1, now
			c.stopped(func() { wantInCut(t, image, fmt.Sprint("cut", begun), accepted) })
		}
	}
}

// The control of F2: a database that does not sync loses events by such a cut.
func TestPowerCutControl(t *testing.T) {
	t.Parallel()
	for _, synced := range []bool{false, true} {
		image := filepath.Join(t.TempDir(), "image")
		makeImage(t, image, 128)
		mounted := filepath.Join(filepath.Dir(image), "mounted")
		mountImage(t, image, mounted, "")
		options := func(dir string) bdb.Options {
			return bdb.DefaultOptions(filepath.Join(dir, "db")).WithSyncWrites(synced).
				WithMemTableSize(16 << 20).WithValueLogFileSize(8 << 20).WithLogger(nil)
		}
		db, err := bdb.Open(options(mounted))
		if err != nil {
			t.Fatal(err)
		}
		const n = 100
		for i := range n {
			err := db.Update(func(txn *bdb.Txn) error { return txn.Set([]byte{byte(i)}, []byte("stored")) })
			if err != nil {
				t.Fatal(err)
			}
		}
		dir := powerCut(t, image, "cut")
		if err := db.Close(); err != nil {
			t.Fatal(err)
		}
		found := 0
		if db, err = bdb.Open(options(dir)); err == nil {
			_ = db.View(func(txn *bdb.Txn) error {
				for i := range n {
					if _, err := txn.Get([]byte{byte(i)}); err == nil {
						found++
					}
				}
				return nil
			})
			if err := db.Close(); err != nil {
				t.Fatal(err)
			}
		}
		t.Logf("synced=%v: %d of %d are there (%v)", synced, found, n, err)
		if synced != (found == n) {
			t.Errorf("synced=%v, and %d of %d are there: the cut shows nothing", synced, found, n)
		}
	}
}
