package badger

import (
	"io"
	"os"
	"os/exec"
	"testing"

	"go.uber.org/goleak"
	"go.uber.org/zap"

	"github.com/caddyrelay/caddyrelay/relay"
	"github.com/caddyrelay/caddyrelay/storage/storagetest"
)

func TestMain(m *testing.M) {
	if dir := os.Getenv(childEnv); dir != "" {
		child(dir)
		return
	}
	if dir := os.Getenv(salvageEnv); dir != "" {
		salvageChild(dir)
		return
	}
	if dir := os.Getenv(backlogEnv); dir != "" {
		backlogChild(dir)
		return
	}
	if dir := os.Getenv(reopenEnv); dir != "" {
		reopenChild(dir)
		return
	}
	if dir := os.Getenv(mergingEnv); dir != "" {
		mergingChild(dir)
		return
	}
	if dir := os.Getenv(floodedEnv); dir != "" {
		floodedChild(dir)
		return
	}
	goleak.VerifyTestMain(m,
		// Badger leaves these behind: opening a log starts the first for the process.
		goleak.IgnoreTopFunction("github.com/golang/glog.(*fileSink).flushDaemon"),
		goleak.IgnoreTopFunction("go.opencensus.io/stats/view.(*worker).start"),
		// And these where it refuses to open, as with a wrong key.
		goleak.IgnoreTopFunction("github.com/dgraph-io/badger/v4.(*DB).monitorCache"),
		goleak.IgnoreTopFunction("github.com/dgraph-io/ristretto/v2/z.(*AllocatorPool).freeupAllocators"),
		goleak.IgnoreAnyFunction("github.com/dgraph-io/ristretto/v2.(*Cache[...]).processItems"),
		goleak.IgnoreAnyFunction("github.com/dgraph-io/ristretto/v2.(*defaultPolicy[...]).processItems"),
	)
}

// startChild starts cmd, which runs the test binary, as one of the processes that TestMain knows.
// It returns what that prints; who calls it ends it.
func startChild(t testing.TB, cmd *exec.Cmd, env ...string) io.Reader {
	t.Helper()
	cmd.Env = append(os.Environ(), env...)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return out
}

// openAt opens a store that is closed at the end of the test, if it was not before.
func openAt(t testing.TB, dir string, clock *storagetest.Clock) *Store {
	t.Helper()
	o := Options{Logger: zap.NewNop()}
	if clock != nil {
		o.Clock = clock.Now
	}
	s, err := Open(dir, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func TestConformance(t *testing.T) { storagetest.Run(t, openHarness) }

func TestMoving(t *testing.T) { storagetest.RunMoving(t, openHarness) }

func openHarness(t *testing.T) storagetest.Harness {
	dir := t.TempDir()
	clock := storagetest.NewClock(storagetest.Start)
	store := openAt(t, dir, clock)
	return storagetest.Harness{
		Store: store,
		Clock: clock,
		Reopen: func(t *testing.T) relay.Store {
			t.Helper()
			if err := store.Close(); err != nil {
				t.Fatal(err)
			}
			store = openAt(t, dir, clock)
			return store
		},
		Kill: func(t *testing.T) relay.Store {
			t.Helper()
			left := copyDirectory(t, dir)
			if err := store.Close(); err != nil {
				t.Fatal(err)
			}
			dir = left
			store = openAt(t, dir, clock)
			return store
		},
	}
}
