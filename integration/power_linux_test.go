package integration

import (
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
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
		if err := c.cmd.Process.Signal(syscall.SIGSTOP); err != nil {
			t.Fatal(err)
		}
		mu.Lock()
		known := make(map[string]string, len(accepted))
		for id, body := range accepted {
			known[id] = body
		}
		mu.Unlock()
		seen = len(known)
		dir := powerCut(t, image, fmt.Sprint("cut", round))
		if err := c.cmd.Process.Signal(syscall.SIGCONT); err != nil {
			t.Fatal(err)
		}
		s, err := openStore(dir, "")
		if err != nil {
			t.Fatalf("after %d events: %v", seen, err)
		}
		for id, body := range known {
			seq, err := s.Find(t.Context(), id)
			if err != nil {
				t.Fatalf("%s of %d was accepted and is lost: %v", id, seen, err)
			}
			if e, err := s.Event(t.Context(), seq); err != nil || string(e.Data) != body {
				t.Fatalf("%s of %d has another body, or %v", id, seen, err)
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
	end()
	t.Logf("%d events accepted", len(accepted))
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
