package badger

import (
	"os"

	"golang.org/x/sys/unix"
)

// badgerSyncs says whether Badger itself syncs what it commits: the journal does.
const badgerSyncs = false

// syncData brings to the disk what the file holds, and of its metadata what reading it takes.
func syncData(f *os.File) error {
	for {
		if err := unix.Fdatasync(int(f.Fd())); err != unix.EINTR {
			return os.NewSyscallError("fdatasync", err)
		}
	}
}
