package integration

import (
	"fmt"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// F4: the Nth sync fails. Nobody gets a 202 for that batch, the store stops itself and
// opens itself again, and nothing that was answered 202 is lost.
func TestFailedSyncIsNeverAnsweredAndMends(t *testing.T) {
	t.Parallel()
	c, r, o := newFaulty(t, func(dir string) { tmpfs(t, dir, "256m") })
	c.start()
	few := []int{1, 2, 7}
	if long() {
		few = nil
		for n := range 200 {
			few = append(few, n+1)
		}
	}
	for _, n := range few {
		failing(t, c, o, fmt.Sprintf("fdatasync %d", n), "-e", "trace=fdatasync", "-e", fmt.Sprintf("inject=fdatasync:error=EIO:when=%d", n))
	}
	judge(c, r, o)
}

// While every sync fails it stays closed, and says so.
func TestSyncsThatKeepFailingKeepTheStoreClosed(t *testing.T) {
	t.Parallel()
	c, r, o := newFaulty(t, func(dir string) { tmpfs(t, dir, "256m") })
	c.start()
	i := c.inject("-e", "trace=msync,fsync,fdatasync", "-e", "inject=msync,fsync,fdatasync:error=EIO")
	taken, others := burst(c, o, "closed", 8, 10)
	if taken != 0 {
		t.Errorf("%d events were taken, though no sync succeeds", taken)
	}
	for _, a := range others {
		if !problemSlug(a, "store-failed") {
			t.Errorf("%s; want store-failed", a)
		}
	}
	o.fault()
	c.wantReadiness(http.StatusServiceUnavailable)
	eventually(t, func() bool { return strings.Contains(c.log(), "could not be opened again") },
		func() string { return "it did not try to open again" })
	if taken, _ := burst(c, o, "still closed", 8, 10); taken != 0 {
		t.Errorf("%d events were taken, though no sync succeeds", taken)
	}
	o.fault()
	i.end()
	c.wantReadiness(http.StatusOK)
	o.fault()
	if taken, others := burst(c, o, "open", 8, 10); taken != 8 {
		t.Errorf("after the fault: %v", others)
	}
	judge(c, r, o)
}

// failing posts events while system calls fail, until one is refused, then ends the fault
// and waits until events are taken again.
func failing(t *testing.T, c *instance, o *oracle, name string, options ...string) {
	t.Helper()
	const n, size = 8, 100
	i := c.inject(options...)
	defer i.end()
	refused := false
	for round := 0; !refused; round++ {
		if round == 1000 { // strace counts in each thread, and any of them may sync
			t.Fatalf("%s: nothing was ever refused:\n%.2000s", name, c.trace())
		}
		_, others := burst(c, o, fmt.Sprint(name, ", ", round), n, size)
		o.fault()
		c.alive()
		for _, a := range others {
			if refused = true; !problemSlug(a, "store-failed") {
				t.Errorf("%s: %s; want store-failed", name, a)
			}
		}
	}
	if !strings.Contains(c.trace(), "(INJECTED)") {
		t.Errorf("%s: refused, but nothing was injected", name)
	}
	i.end()
	c.wantReadiness(http.StatusOK)
	o.fault()
	if taken, others := burst(c, o, name+", mended", n, size); taken != n {
		t.Errorf("%s: after the fault: %v", name, others)
	}
}

// F5: the volume has no block for a write. The process lives, and goes on afterwards.
func TestWriteWithoutSpaceIsRefusedAndMends(t *testing.T) {
	t.Parallel()
	c, r, o := newFaulty(t, func(dir string) { tmpfs(t, dir, "512m") })
	c.start()
	for n := range counted(2, 20) {
		failing(t, c, o, fmt.Sprintf("pwrite64 %d", n+1),
			"-e", "trace=pwrite64", "-e", fmt.Sprintf("inject=pwrite64:error=ENOSPC:when=%d", n+1))
	}
	judge(c, r, o)
	if strings.Contains(c.log(), "goroutine 1 [") {
		t.Error("the process has panicked")
	}
}

// F5: no room for a new log, for a table, or in the list of tables. What Badger tries
// again in the background may go unnoticed; what was accepted is delivered, and events are
// taken once there is room. Where merging is held, that takes another start.
func TestFilesWithoutSpaceLoseNothing(t *testing.T) {
	t.Parallel()
	const size = 200_000
	for _, fault := range []struct{ name, call, path string }{
		{"new files", "ftruncate", ""},
		{"the list of tables", "write", "MANIFEST"},
	} {
		t.Run(fault.name, func(t *testing.T) {
			t.Parallel()
			c, r, o := newFaulty(t, func(dir string) { tmpfs(t, dir, "1g") })
			c.start()
			for n := range counted(1, 6) {
				name := fmt.Sprint(fault.call, " ", n+1)
				options := []string{"-e", "trace=" + fault.call, "-e", fmt.Sprintf("inject=%s:error=ENOSPC:when=%d", fault.call, n+1)}
				if fault.path != "" {
					options = append(options, "-P", filepath.Join(c.store(), fault.path))
				}
				i := c.inject(options...)
				injected := false
				refused := 0
				for round := 0; round < 30 && !injected; round++ {
					_, others := burst(c, o, fmt.Sprint(name, ", ", round), 20, size)
					o.fault()
					c.alive()
					for _, a := range others {
						if refused++; !problemSlug(a, "store-failed") {
							t.Errorf("%s: %s; want store-failed", name, a)
						}
					}
					injected = strings.Contains(c.trace(), "(INJECTED)")
				}
				i.end()
				c.startAnewIfHeld(o)
				if !injected {
					if n == 0 {
						t.Errorf("%s: nothing was injected", name)
					}
					break // no file is made so often
				}
				c.wantReadiness(http.StatusOK)
				o.fault()
				t.Logf("%s: %d refused", name, refused)
				wantTaken(t, c, o, name)
			}
			judge(c, r, o)
		})
	}
}

// startAnewIfHeld kills and starts Caddy if merging of tables is held, which it says when a
// table has not come for ten seconds.
func (c *instance) startAnewIfHeld(o *oracle) {
	c.t.Helper()
	held := func() bool { return strings.Contains(c.log(), "merging of tables is held") }
	for end := time.Now().Add(12 * time.Second); long() && !held() && time.Now().Before(end); {
		time.Sleep(100 * time.Millisecond)
	}
	if held() {
		c.t.Log("merging was held")
		o.killed(c.kill)
		c.start()
	}
}

// wantTaken waits until events are taken.
func wantTaken(t *testing.T, c *instance, o *oracle, name string) {
	t.Helper()
	last := fmt.Sprint(name, ", after")
	var others []answer
	eventually(t, func() bool {
		c.alive()
		var taken int
		taken, others = burst(c, o, fmt.Sprint(last, time.Now().UnixNano()), 1, 100)
		return taken == 1
	}, func() string { return fmt.Sprintf("%s: no events are taken: %v", name, others) })
}
