//go:build linux || darwin || freebsd

package badger

import (
	"errors"
	"fmt"
	"io/fs"
	"syscall"

	"golang.org/x/sys/unix"
)

// freeBytes returns what an unprivileged process may still write to dir's volume, or
// -1 if that is unknown.
func freeBytes(dir string) int64 {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return -1
	}
	return int64(st.Bavail) * int64(st.Bsize) //nolint:unconvert // the types differ by system
}

// sizeOnDisk returns what a file takes. Badger's logs are made larger than what is
// in them.
func sizeOnDisk(info fs.FileInfo) int64 {
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		return st.Blocks * 512
	}
	return info.Size()
}

// ownerOf returns the user and the group that a file belongs to.
func ownerOf(info fs.FileInfo) (uid, gid int, ok bool) {
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return 0, 0, false
	}
	return int(st.Uid), int(st.Gid), true
}

// checkWritable tells a read-only directory before anything is tried in it.
func checkWritable(dir string) error {
	// As this process acts, which may have capabilities beside its user; an old kernel leaves
	// it to the library, which knows nothing of read-only volumes.
	err := unix.Faccessat(unix.AT_FDCWD, dir, unix.R_OK|unix.W_OK|unix.X_OK, unix.AT_EACCESS)
	if readOnly := unix.Access(dir, unix.W_OK); err == nil && errors.Is(readOnly, unix.EROFS) {
		err = readOnly
	}
	switch {
	case errors.Is(err, unix.EROFS):
		return fmt.Errorf("the volume of %s is mounted read-only: %w; mount it writable, or choose another directory", dir, err)
	case err != nil:
		return explainAccess(dir, err)
	}
	return nil
}
