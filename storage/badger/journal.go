package badger

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/caddyrelay/caddyrelay/storage/badger/files"
)

// journal syncs the log that Badger commits to: the file NNNNN.mem of the table in memory, of
// which a new one is begun when that table is full.
//
// With SyncWrites Badger syncs its value log before each sync of this one. That holds nothing
// here, but the disk is asked to empty its cache once more. What is synced here is the one file
// that was written to. That works where syncing a file covers what was written through a
// mapping of it, as Badger does: on Linux. POSIX promises it of msync(2) alone, and elsewhere
// Badger syncs itself. A journal that is nil does nothing: there, and in a salvage, in which
// nothing counts before the database is closed.
//
// A transaction is in one log, since Badger begins a new one only between two of them. So it
// suffices that one committer calls sync after each.
type journal struct {
	dir    string
	number uint64
	file   *os.File
}

// openJournal finds the log of a database that has just been opened in dir.
func openJournal(dir string) (*journal, error) {
	if badgerSyncs {
		return nil, nil
	}
	j := &journal{dir: dir}
	return j, j.find()
}

// find looks for the log that is written to, the one with the highest number.
func (j *journal) find() error {
	if j == nil {
		return nil
	}
	logs, err := files.Logs(j.dir)
	if err != nil {
		return err
	}
	if len(logs) == 0 {
		return fmt.Errorf("there is no log in %s", j.dir)
	}
	last, _ := files.LogNumber(logs[len(logs)-1])
	return j.take(last)
}

// take makes the log of that number the one that is synced. Its name is synced at once.
func (j *journal) take(number uint64) error {
	file, err := os.Open(files.LogName(j.dir, number))
	if err != nil {
		return err
	}
	if err := syncDirectory(j.dir); err != nil {
		return errors.Join(err, file.Close())
	}
	_ = j.close() // what it holds is synced
	j.number, j.file = number, file
	return nil
}

// sync brings to the disk what the transaction that was committed last has written.
func (j *journal) sync() error {
	if j == nil {
		return nil
	}
	// To look takes no descriptor, of which there may be none: most commits need none.
	_, err := os.Lstat(files.LogName(j.dir, j.number+1))
	if err == nil {
		err = j.take(j.number + 1)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return syncData(j.file)
}

func (j *journal) close() error {
	if j == nil || j.file == nil {
		return nil
	}
	return j.file.Close()
}
