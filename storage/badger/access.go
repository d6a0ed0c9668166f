package badger

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"

	bdb "github.com/dgraph-io/badger/v4"
)

// makeDirectory makes a directory, with all that leads to it.
func makeDirectory(dir string) error {
	err := os.MkdirAll(dir, 0o700)
	switch {
	case err == nil:
		return nil
	case errors.Is(err, syscall.ENOTDIR):
		err = fmt.Errorf("%w; %s is a file: move it away, or choose another directory", err, notDirectory(dir))
	case errors.Is(err, fs.ErrExist):
		err = fmt.Errorf("%w; it is a link that leads nowhere: mount what it leads to, or remove it", err)
	case errors.Is(err, syscall.EROFS):
		err = fmt.Errorf("%w; mount the volume writable, or choose another directory", err)
	case errors.Is(err, syscall.ENOSPC):
		err = fmt.Errorf("%w; %s", err, mendOf(err))
	default:
		err = fmt.Errorf("%w; make it, and give it to the user that Caddy runs as: install -d -m 700 -o %s %s", err, userName(os.Geteuid()), dir)
	}
	return fmt.Errorf("making the directory: %w", err)
}

// notDirectory returns the first part of a path that is no directory.
func notDirectory(path string) string {
	for part := path; ; part = filepath.Dir(part) {
		if info, err := os.Stat(part); err == nil && !info.IsDir() || part == filepath.Dir(part) {
			return part
		}
	}
}

// checkFiles refuses files of the store that this process may not write to, or cannot open
// at all: later that would look like damage, of which there is none. Most often somebody
// has once started Caddy as root.
func checkFiles(dir string, files []fs.DirEntry) error {
	for _, f := range files {
		if !f.Type().IsRegular() || !isOurs(f.Name()) {
			continue
		}
		file, err := os.OpenFile(filepath.Join(dir, f.Name()), os.O_RDWR, 0)
		if err != nil {
			return explainAccess(dir, err)
		}
		_ = file.Close() // nothing was written
	}
	return nil
}

// mendOf tells the mend of an error of Badger's, which is no error of the system's any more
// but its text.
func mendOf(err error) string {
	for _, m := range []struct {
		cause error
		mend  string
	}{
		{syscall.ENOSPC, "make room on the volume: df -h and df -i say whether bytes or inodes are used up"},
		{syscall.EMFILE, moreFiles},
		{syscall.ENFILE, moreFiles},
		{syscall.ENOMEM, "nothing is damaged: allow this process more memory, such as MemoryMax= of its systemd unit, or ulimit -v"},
	} {
		if strings.Contains(err.Error(), m.cause.Error()) {
			return m.mend
		}
	}
	return "see that the volume has room and inodes (df -h, df -i); if a file is damaged, restore the directory from a backup"
}

const moreFiles = "nothing is damaged: allow this process more open files, such as LimitNOFILE= of its systemd unit, or ulimit -n"

// explainAccess tells the mend of an error of opening a directory or a file in it.
func explainAccess(dir string, err error) error {
	path := dir
	if failed, ok := errors.AsType[*fs.PathError](err); ok {
		path = failed.Path
	}
	switch {
	case isShort(err):
		return fmt.Errorf("%w; %s", err, mendOf(err))
	case !errors.Is(err, fs.ErrPermission):
		return err
	}
	me := userName(os.Geteuid())
	owner := "another user"
	if info, statErr := os.Stat(path); statErr == nil {
		if uid, _, ok := ownerOf(info); ok {
			owner = userName(uid)
		}
	}
	return fmt.Errorf("%s belongs to %s, and Caddy runs as %s, who may not read and write it: %w; nothing is damaged: give the store to that user with chown -R %s %s, or start Caddy as %s",
		path, owner, me, err, me, dir, owner)
}

// isShort reports whether an error says that this process has too little of something to
// read a file, whatever is in the file.
func isShort(err error) bool {
	return errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ENFILE) || errors.Is(err, syscall.ENOMEM)
}

// handOver gives the files of a store to the user whose directory they are in, if root has
// opened it: "caddy relay doctor --storage", say, makes files which that user's Caddy
// could not open. What cannot be given away is named by the next start.
func handOver(dir string) {
	info, err := os.Stat(dir)
	if err != nil || os.Geteuid() != 0 {
		return
	}
	uid, gid, ok := ownerOf(info)
	if !ok || uid == 0 {
		return
	}
	_ = filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		if err != nil {
			return nil
		}
		if info, err := os.Lstat(path); err == nil {
			if now, _, ok := ownerOf(info); ok && now == 0 {
				_ = os.Lchown(path, uid, gid)
			}
		}
		return nil
	})
}

// userName is the name of a user, or the number if there is no name.
func userName(uid int) string {
	if u, err := user.LookupId(strconv.Itoa(uid)); err == nil {
		return u.Username
	}
	return strconv.Itoa(uid)
}

// isOurs reports whether a file of that name belongs to a store.
func isOurs(name string) bool {
	switch name {
	case manifestName, sentinelName, ballastName, discardName, pidName, bdb.KeyRegistryFileName:
		return true
	}
	return slices.Contains(dataSuffixes, filepath.Ext(name))
}
