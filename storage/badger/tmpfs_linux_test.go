package badger

import (
	"crypto/rand"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	bdb "github.com/dgraph-io/badger/v4"
	"golang.org/x/sys/unix"

	"github.com/caddyrelay/caddyrelay/relay"
)

// volume mounts a tmpfs of this size.
func volume(t *testing.T, size string) string {
	t.Helper()
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size="+size); err != nil {
		t.Skipf("needs root, to mount a tmpfs: %v", err)
	}
	t.Cleanup(func() { _ = unix.Unmount(dir, unix.MNT_DETACH) })
	return dir
}

// TestFullVolume: on a volume of 96 MB events are refused before it is full, deliveries
// drain, the store opens again, and all goes on once there is room.
func TestFullVolume(t *testing.T) {
	if testing.Short() {
		t.Skip("writes a volume full")
	}
	mount := volume(t, "96m")
	dir := filepath.Join(mount, "relay")
	limits := Limits{MinFree: 16 << 20}
	open := func() *Store {
		t.Helper()
		s, err := Open(dir, Options{Limits: limits})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = s.Close() })
		return s
	}
	s := open()
	n := fill(t, s, 1<<20)
	t.Logf("%d events taken; %d MiB free", n, freeBytes(dir)>>20)
	if n < 10_000 {
		t.Fatalf("only %d events of 1 KiB fit on 96 MB", n)
	}
	if !errors.Is(s.Err(), relay.ErrFull) {
		t.Fatalf("Err: %v", s.Err())
	}
	deliver(t, s, 0, uint64(n/2))
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = open()
	deliver(t, s, uint64(n/2), uint64(n))
	t.Logf("drained; %d MiB free", freeBytes(dir)>>20)
	fill(t, s, 100)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}

	// Another program takes the rest.
	hog, err := os.Create(filepath.Join(mount, "hog"))
	if err != nil {
		t.Fatal(err)
	}
	if err := allocate(hog, freeBytes(dir)-2<<20); err != nil {
		t.Fatal(err)
	}
	if s, err := Open(dir, Options{Limits: limits}); err == nil {
		t.Logf("it opens with %d MiB free", freeBytes(dir)>>20)
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	} else if !errors.Is(err, relay.ErrFull) {
		t.Fatal(err)
	}
	if err := errors.Join(hog.Close(), os.Remove(hog.Name())); err != nil {
		t.Fatal(err)
	}

	s = open()
	fill(t, s, 1<<20)
	if err := unix.Mount("tmpfs", mount, "tmpfs", unix.MS_REMOUNT, "size=256m"); err != nil {
		t.Fatal(err)
	}
	eventually(t, "events are taken again", func() bool { return s.Err() == nil })
	if fill(t, s, 5000) < 5000 {
		t.Fatal("the volume has room, and events are refused")
	}
	checkLog(t, s, "crm")
}

// TestFullVolumeControl is TestFullVolume without the protection: the process dies.
func TestFullVolumeControl(t *testing.T) {
	if testing.Short() {
		t.Skip("writes a volume full")
	}
	dir := filepath.Join(volume(t, "60m"), "relay")
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childEnv+"="+dir, unguardedEnv+"=1")
	timer := time.AfterFunc(time.Minute, func() { _ = cmd.Process.Kill() })
	defer timer.Stop()
	out, err := cmd.CombinedOutput()
	if err == nil || !strings.Contains(string(out), "unexpected fault address") && !strings.Contains(string(out), "SIGBUS") {
		t.Fatalf("the volume is full, and the process lives: this tests nothing; %v", err)
	}
}

func TestNetworkFileSystemIsRefused(t *testing.T) {
	for number, name := range map[int64]string{0x6969: "NFS", 0xFF534D42: "CIFS"} {
		err := checkFileSystem("/mnt/x", number)
		if !errors.Is(err, ErrNetworkFileSystem) || !strings.Contains(err.Error(), name) || !strings.Contains(err.Error(), "/mnt/x") {
			t.Errorf("%x: %v", number, err)
		}
	}
	for _, number := range []int64{0xEF53, 0x01021994, 0x58465342, 0x9123683E} {
		if err := checkFileSystem("/mnt/x", number); err != nil {
			t.Errorf("%x: %v", number, err)
		}
	}
}

func TestReadOnlyVolumeIsRefused(t *testing.T) {
	mount := volume(t, "64m")
	dir := filepath.Join(mount, "relay")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("tmpfs", mount, "tmpfs", unix.MS_REMOUNT|unix.MS_RDONLY, ""); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(dir, Options{}); !errors.Is(err, unix.EROFS) || !strings.Contains(err.Error(), "read-only") {
		t.Fatalf("Open: %v", err)
	}
}

// TestFullVolumeIsMergedAgain: another program takes the room that merging tables needs, and
// gives it back.
func TestFullVolumeIsMergedAgain(t *testing.T) {
	if testing.Short() {
		t.Skip("writes a volume full")
	}
	mount := volume(t, "128m")
	dir := filepath.Join(mount, "relay")
	open := func() *Store {
		t.Helper()
		s, err := Open(dir, Options{Limits: Limits{MinFree: 16 << 20}, hurry: true})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = s.Close() })
		return s
	}
	s := open()
	stored := fill(t, s, 30_000)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(dir, ballastName)); err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	hog, err := os.Create(filepath.Join(mount, "hog"))
	if err != nil {
		t.Fatal(err)
	}
	defer hog.Close()
	u := count(dir)
	if err := allocate(hog, freeBytes(dir)-u.toOpen()-4<<20); err != nil {
		t.Fatal(err)
	}
	s = open()
	if !s.resting.Load() {
		t.Fatalf("with %d MiB free and tables of %d it merges", freeBytes(dir)>>20, u.tables>>20)
	}
	if err := os.Remove(hog.Name()); err != nil {
		t.Fatal(err)
	}
	if err := hog.Close(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "it merges again", func() bool { return !s.resting.Load() })
	deliver(t, s, 0, uint64(stored))
	eventually(t, "events are taken again", func() bool { return appendOne(t, s) == nil })
	checkLog(t, s, "crm")
}

// TestMergingFitsInWhatIsKeptFree: what is free when the store is opened as always is enough
// for the largest merge, of all new tables at once. If it were not, the system would end the
// process here, and anybody's Caddy.
func TestMergingFitsInWhatIsKeptFree(t *testing.T) {
	if testing.Short() {
		t.Skip("writes half a GiB")
	}
	for _, c := range []struct {
		name  string
		fresh int // new tables
	}{{"as many as are merged", newTables + 1}, {"more than could be merged", 2 * newTables}} {
		t.Run(c.name, func(t *testing.T) { fitsInWhatIsKeptFree(t, c.fresh) })
	}
}

func fitsInWhatIsKeptFree(t *testing.T, fresh int) {
	mount := volume(t, "1200m")
	dir := filepath.Join(mount, "relay")
	s, err := Open(dir, Options{Limits: Limits{MinFree: 16 << 20}})
	if err != nil {
		t.Fatal(err)
	}
	put(t, s, 20)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	scatter(t, dir, 200<<20, false)
	scatter(t, dir, fresh*memTableSize, true)
	_ = os.Remove(filepath.Join(dir, ballastName))
	u := count(dir)
	u.merging = mergingIn(dir)
	hog, err := os.Create(filepath.Join(mount, "hog"))
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(allocate(hog, freeBytes(dir)-u.critical()-1<<20), hog.Close()); err != nil {
		t.Fatal(err)
	}
	s, err = Open(dir, Options{Limits: Limits{MinFree: 16 << 20}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	if s.resting.Load() {
		t.Fatalf("with %d MiB free it does not merge", freeBytes(dir)>>20)
	}
	eventually(t, "the new tables are merged", func() bool { return s.db.Load().Levels()[0].NumTables == 0 })
	checkLog(t, s, "crm")
}

// scatter writes records that mean nothing, all over their letter, to the database of a store
// that is not open: as new tables, or merged.
func scatter(t *testing.T, dir string, size int, anew bool) {
	t.Helper()
	o := Options{rest: anew}
	o.setDefaults()
	tuned := badgerOptions(dir, &o).WithSyncWrites(false)
	if !anew {
		tuned = tuned.WithNumLevelZeroTables(1)
	}
	db, err := bdb.Open(tuned)
	if err != nil {
		t.Fatal(err)
	}
	writes := db.NewWriteBatch()
	for size > 0 {
		key, rec := make([]byte, 9), make([]byte, 16<<10)
		_, _ = rand.Read(key)
		_, _ = rand.Read(rec)
		key[0] = scratchPrefix
		if err := writes.Set(key, rec); err != nil {
			t.Fatal(err)
		}
		size -= len(rec)
	}
	if err := writes.Flush(); err != nil {
		t.Fatal(err)
	}
	if !anew {
		if err := db.Flatten(1); err != nil {
			t.Fatal(err)
		}
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
}
