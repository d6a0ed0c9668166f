package postgrestest

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// NewSmall is New with the data on a volume of its own, in memory, of so many MiB. walApart
// has the write-ahead log elsewhere. Without the right to mount the test is skipped.
func NewSmall(t testing.TB, mib int, walApart bool, settings ...string) *Server {
	t.Helper()
	s, err := prepare(settings)
	if err == nil {
		err = s.initSmall(t, mib, walApart)
	}
	return s.first(t, err)
}

func (s *Server) initSmall(t testing.TB, mib int, walApart bool) error {
	if err := os.Mkdir(s.data(), 0o700); err != nil {
		return err
	}
	if err := unix.Mount("tmpfs", s.data(), "tmpfs", 0, fmt.Sprintf("mode=700,size=%dm", mib)); err != nil {
		_ = os.RemoveAll(s.Dir)
		t.Skipf("needs root, to mount a tmpfs: %v", err)
	}
	// It ends after the server, which whoever calls this has end at a later Cleanup.
	t.Cleanup(func() { _ = os.RemoveAll(s.Dir) })
	t.Cleanup(func() { _ = unix.Unmount(s.data(), unix.MNT_DETACH) })
	if s.user != nil {
		if err := os.Chown(s.data(), int(s.user.Uid), int(s.user.Gid)); err != nil {
			return err
		}
	}
	if walApart {
		return s.initdb("--waldir=" + filepath.Join(s.Dir, "wal"))
	}
	return s.initdb()
}

func (s *Server) ballast() string { return filepath.Join(s.data(), "ballast") }

// FillUp leaves so many bytes of a small server's volume.
func (s *Server) FillUp(t testing.TB, left uint64) {
	t.Helper()
	var volume unix.Statfs_t
	err := unix.Statfs(s.data(), &volume)
	if err == nil {
		free := volume.Bavail * uint64(volume.Bsize)
		var f *os.File
		if f, err = os.Create(s.ballast()); err == nil {
			err = errors.Join(unix.Fallocate(int(f.Fd()), 0, 0, int64(free-min(left, free-1))), f.Close())
		}
	}
	if err != nil {
		t.Fatalf("filling up the server's volume: %v", err)
	}
}

// MakeRoom ends what FillUp has done.
func (s *Server) MakeRoom(t testing.TB) {
	t.Helper()
	if err := os.Remove(s.ballast()); err != nil {
		t.Fatal(err)
	}
}

// Ended reports whether the server has ended by itself.
func (s *Server) Ended() bool {
	select {
	case <-s.exited:
		return true
	default:
		return false
	}
}
