package integration

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// F6: the volume really fills. Events are refused before the system ends the process,
// deliveries drain, and events are taken again once there is room. A start on a full
// volume delivers what is there. (The control, a store that does not look at the volume
// and is ended by SIGBUS, is in storage/badger.)
func TestFullVolumeRefusesDrainsAndRecovers(t *testing.T) {
	t.Parallel()
	c, r, o := newFaulty(t, func(dir string) { tmpfs(t, dir, "96m") })
	c.start()
	g := newGate(t)
	r.answer(g.then(with(http.StatusOK)))
	const size = 64 << 10
	full := fillUp(t, c, o, "first", size)
	if !problemSlug(full, "store-full") {
		t.Fatalf("%s; want store-full", full)
	}
	c.wantReadiness(http.StatusServiceUnavailable)
	if s := c.subscription("crm"); s.Pending < 20 {
		t.Errorf("only %d events were taken", s.Pending)
	}
	g.open()
	judge(c, r, o)

	// A larger volume.
	if err := unix.Mount("tmpfs", c.store(), "tmpfs", unix.MS_REMOUNT, "size=256m"); err != nil {
		t.Fatal(err)
	}
	c.wantReadiness(http.StatusOK)
	g = newGate(t)
	r.answer(g.then(with(http.StatusOK)))
	if taken, others := burst(c, o, "larger", 40, size); taken != 40 {
		t.Fatalf("there is room: %v", others)
	}

	// Another program fills it while Caddy is down. What is left is too little for events.
	if code := c.stop(); code != 0 {
		t.Fatalf("exit code %d", code)
	}
	hog := c.path("store/hog")
	// Between what the database needs for its own work and where events are taken.
	takeAllBut(t, hog, tables(t, c.store())+20<<20)
	o.fault()
	g.open()
	c.spawn()
	c.wantReadiness(http.StatusServiceUnavailable)
	judge(c, r, o)
	if taken, others := burst(c, o, "none", 4, 10); taken != 0 || !problemSlug(others[0], "store-full") {
		t.Errorf("%d taken, %v; want store-full", taken, others)
	}

	// It gives the room back.
	if err := os.Remove(hog); err != nil {
		t.Fatal(err)
	}
	c.wantReadiness(http.StatusOK)
	if taken, others := burst(c, o, "room", 40, size); taken != 40 {
		t.Errorf("there is room: %v", others)
	}
	judge(c, r, o)
	if code := c.stop(); code != 0 {
		t.Errorf("exit code %d", code)
	}
}

// fillUp posts events until one is refused, and returns that answer.
func fillUp(t *testing.T, c *instance, o *oracle, name string, size int) answer {
	t.Helper()
	for round := range 1000 {
		_, others := burst(c, o, fmt.Sprint(name, ", ", round), 8, size)
		c.alive()
		if len(others) > 0 {
			return others[0]
		}
	}
	t.Fatal("the volume is never full")
	return answer{}
}

// tables is how much room the tables of a store take.
func tables(t *testing.T, dir string) (size uint64) {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(dir, "*.sst"))
	if err != nil || len(names) == 0 {
		t.Fatalf("no tables in %s: %v", dir, err)
	}
	for _, name := range names {
		var info unix.Stat_t
		if err := unix.Stat(name, &info); err != nil {
			t.Fatal(err)
		}
		size += uint64(info.Blocks) * 512
	}
	return size
}

// takeAllBut makes a file that leaves so much of its volume.
func takeAllBut(t *testing.T, name string, left uint64) {
	t.Helper()
	var volume unix.Statfs_t
	if err := unix.Statfs(filepath.Dir(name), &volume); err != nil {
		t.Fatal(err)
	}
	f, err := os.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := unix.Fallocate(int(f.Fd()), 0, 0, int64(volume.Bavail*uint64(volume.Bsize)-left)); err != nil {
		t.Fatal(err)
	}
}

// F34: the file system stops all writing by itself, as after an error of its disk. The
// storage stops itself and says why; after a repair of the volume all is there.
func TestVolumeThatTurnsReadOnlyStopsTheStorage(t *testing.T) {
	t.Parallel()
	image := filepath.Join(t.TempDir(), "image")
	makeImage(t, image, 192)
	c, r, o := newFaulty(t, func(dir string) { mountImage(t, image, dir, "") })
	c.start()
	if taken, others := burst(c, o, "before", 40, 1000); taken != 40 {
		t.Fatalf("%v", others)
	}
	// What ext4 does to itself when it finds an error.
	if err := unix.Mount("", c.store(), "", unix.MS_REMOUNT, "abort"); err != nil {
		t.Skipf("this ext4 cannot be stopped: %v", err)
	}
	taken, others := burst(c, o, "read-only", 8, 100)
	o.fault()
	if taken != 0 || !problemSlug(others[0], "store-failed") {
		t.Fatalf("%d taken on a read-only volume: %v", taken, others)
	}
	c.wantReadiness(http.StatusServiceUnavailable)
	eventually(t, func() bool { return strings.Contains(c.log(), "could not be opened again") },
		func() string { return "it did not try to open again" })
	if !strings.Contains(c.log(), "read-only file system") {
		t.Error("the log does not say why")
	}
	c.kill()
	unmount(t, c.store())
	mountImage(t, image, c.store(), "")
	c.start()
	o.fault()
	if taken, others := burst(c, o, "after", 40, 1000); taken != 40 {
		t.Fatalf("%v", others)
	}
	judge(c, r, o)
}

// F34: the directory is read-only for a time, so that no new files can be made, and then
// is writable again: no restart is needed.
func TestReadOnlyDirectoryMendsWhenItIsWritableAgain(t *testing.T) {
	t.Parallel()
	c, r, o := newFaulty(t, func(dir string) { tmpfs(t, dir, "1g") })
	c.start()
	// What Caddy has open for writing keeps a volume from being mounted read-only: the same
	// directory is mounted read-only over it.
	if err := unix.Mount(c.store(), c.store(), "", unix.MS_BIND, ""); err != nil {
		t.Skipf("needs root, to mount: %v", err)
	}
	t.Cleanup(func() { _ = unix.Unmount(c.store(), unix.MNT_DETACH) })
	if err := unix.Mount("", c.store(), "", unix.MS_REMOUNT|unix.MS_BIND|unix.MS_RDONLY, ""); err != nil {
		t.Fatal(err)
	}
	if refusal := fillUp(t, c, o, "read-only", 200_000); !problemSlug(refusal, "store-failed") {
		t.Fatalf("%s; want store-failed", refusal)
	}
	o.fault()
	c.wantReadiness(http.StatusServiceUnavailable)
	eventually(t, func() bool { return strings.Contains(c.log(), "could not be opened again") },
		func() string { return "it did not try to open again" })
	if !strings.Contains(c.log(), "read-only file system") {
		t.Error("the log does not say why")
	}
	if err := unix.Unmount(c.store(), 0); err != nil {
		t.Fatal(err)
	}
	c.wantReadiness(http.StatusOK)
	o.fault()
	if taken, others := burst(c, o, "writable", 40, 1000); taken != 40 {
		t.Fatalf("%v", others)
	}
	judge(c, r, o)
}
