package badger

import (
	"os"

	"golang.org/x/sys/unix"
)

// allocate gives a new file blocks of its own.
func allocate(f *os.File, size int64) error {
	return unix.Fallocate(int(f.Fd()), 0, 0, size)
}
