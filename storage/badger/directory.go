package badger

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"go.uber.org/zap"
)

// Errors of Open.
var (
	// ErrLocked means that another process, or another store of this one, has the
	// directory open.
	ErrLocked = errors.New("the directory is locked")
	// ErrNoManifest means that there are data files without the list that names them.
	ErrNoManifest = errors.New("MANIFEST is missing")
	// ErrOtherStore means that the files of a directory belong to different stores.
	ErrOtherStore = errors.New("the files of two stores are mixed")
	// ErrOtherVersion means that another version of this program made the store.
	ErrOtherVersion = errors.New("the store is of another version")
	// ErrForeign means that a directory holds something else.
	ErrForeign = errors.New("the directory is not a store's")
	// ErrWrongKey means that the encryption key is not the store's.
	ErrWrongKey = errors.New("the encryption key does not fit")
	// ErrNetworkFileSystem means that the directory is not of this machine.
	ErrNetworkFileSystem = errors.New("the directory is on a network file system")
)

// Names of Badger's files.
const (
	manifestName = "MANIFEST"
	pidName      = "LOCK"
	discardName  = "DISCARD"
	tableSuffix  = ".sst"
	memSuffix    = ".mem"
	valueSuffix  = ".vlog"
)

var dataSuffixes = []string{tableSuffix, memSuffix, valueSuffix}

// prepare makes the directory fit for Badger to open: there, private, not in use,
// and without what Badger would stumble over or destroy. It returns the sentinel.
func prepare(dir string, o *Options) (*sentinel, error) {
	if err := makeDirectory(dir); err != nil {
		return nil, err
	}
	if err := checkVolume(dir); err != nil {
		return nil, err
	}
	if err := checkWritable(dir); err != nil {
		return nil, err
	}
	unlock, err := lock(dir)
	if err != nil {
		return nil, err
	}
	// Badger takes the same lock; only for the moment between may another process
	// come first, and then Badger refuses.
	defer unlock()
	if err := makePrivate(dir); err != nil {
		return nil, err
	}
	if err := finishSwap(dir, o); err != nil {
		return nil, err
	}
	files, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("listing the directory: %w", err)
	}
	if err := checkOurs(dir, files); err != nil {
		return nil, err
	}
	if err := checkRegular(dir, files); err != nil {
		return nil, err
	}
	if err := checkFiles(dir, files); err != nil {
		return nil, err
	}
	if err := removeEmptyLogs(dir, files, o.Logger); err != nil {
		return nil, err
	}
	if err := clearAway(dir, o); err != nil {
		return nil, err
	}
	if err := checkDamage(dir, o); err != nil {
		return nil, err
	}
	return prepareSentinel(dir, o)
}

// checkDamage refuses damaged files, or salvages what can be read of them if that is asked
// for.
func checkDamage(dir string, o *Options) error {
	mark, _, err := readSentinel(dir)
	if err != nil && !errors.Is(err, errSentinelMissing) && !errors.Is(err, errSentinelDamaged) {
		return fmt.Errorf("reading %s: %w", sentinelName, err)
	}
	x, damage, err := examine(dir, o, mark)
	switch {
	case err != nil:
		return err
	case damage == nil:
		return nil
	case o.AcceptLoss == damage.Token:
		return accept(x, damage, mark, o)
	}
	damage.wrongToken = o.AcceptLoss != ""
	return damage
}

// prepareSentinel opens the sentinel, or makes one for a new store.
func prepareSentinel(dir string, o *Options) (*sentinel, error) {
	found, generation, err := readSentinel(dir)
	if err == nil {
		return openSentinel(dir, found, generation)
	}
	manifest, readErr := os.ReadFile(filepath.Join(dir, manifestName))
	fresh := errors.Is(readErr, fs.ErrNotExist)
	switch {
	case !errors.Is(err, errSentinelMissing) && !errors.Is(err, errSentinelDamaged):
		return nil, fmt.Errorf("reading %s: %w", sentinelName, err)
	case fresh && errors.Is(err, errSentinelMissing):
		var next acked
		_, _ = rand.Read(next.id[:])
		return makeSentinel(dir, next)
	case readErr != nil && !fresh:
		return nil, fmt.Errorf("reading %s: %w", manifestName, readErr)
	}
	sum := sha256.Sum256(append([]byte(err.Error()), manifest...))
	token := hex.EncodeToString(sum[:6])
	if o.AcceptLoss == token {
		o.Logger.Error("the store is opened without its sentinel, by accept_loss: whether acknowledged events are gone cannot be known", zap.String("directory", dir))
		return makeSentinel(dir, acked{}) // takes its id from the database
	}
	return nil, fmt.Errorf("%w in %s, the file that says how far events were acknowledged: the directory is another program's, or the file was lost, and so may events be; "+
		"restore the directory from a backup. To start without it, write into the block of storage: accept_loss %s", err, dir, token)
}

// checkOurs refuses a directory that holds something and no store.
func checkOurs(dir string, files []fs.DirEntry) error {
	var strangers []string
	for _, f := range files {
		name := f.Name()
		switch {
		case name == manifestName, name == sentinelName, slices.Contains(dataSuffixes, filepath.Ext(name)):
			return nil
		case name == pidName, name == sentinelName+".new", name == ballastName, name == "lost+found", f.IsDir() && ownDirectory(name), strings.HasPrefix(name, "."):
		default:
			strangers = append(strangers, name)
		}
	}
	if len(strangers) == 0 {
		return nil
	}
	return fmt.Errorf("%w: %s holds %s; choose an empty directory", ErrForeign, dir, brief(strangers))
}

// checkRegular refuses what has the name of a file of ours and is none.
func checkRegular(dir string, files []fs.DirEntry) error {
	for _, f := range files {
		name := f.Name()
		if isOurs(name) && !f.Type().IsRegular() {
			return fmt.Errorf("%w: %s is not a file; move it out of the directory", ErrForeign, filepath.Join(dir, name))
		}
	}
	return nil
}

// makePrivate takes the rights of others off the directory. Badger makes its files
// readable for all; the directory is what protects them.
func makePrivate(dir string) error {
	info, err := os.Stat(dir)
	if err != nil {
		return fmt.Errorf("reading the directory's mode: %w", err)
	}
	if !info.IsDir() {
		return fmt.Errorf("%s is not a directory", dir)
	}
	if mode := info.Mode().Perm(); mode&0o077 != 0 {
		if err := os.Chmod(dir, mode&0o700); err != nil {
			return fmt.Errorf("the directory has mode %#o and is open to other users, which cannot be changed; make it private with chmod 700: %w", mode, err)
		}
	}
	return nil
}

// removeEmptyLogs removes logs of no length: a crash while Badger removed a log, which it
// cuts first. Badger then fails to open, once.
func removeEmptyLogs(dir string, files []fs.DirEntry, log *zap.Logger) error {
	for _, f := range files {
		name := f.Name()
		if ext := filepath.Ext(name); !f.Type().IsRegular() || ext != memSuffix && ext != valueSuffix {
			continue
		}
		info, err := f.Info()
		if err != nil {
			return fmt.Errorf("reading the size of %s: %w", name, err)
		}
		if info.Size() > 0 {
			continue
		}
		if err := os.Remove(filepath.Join(dir, name)); err != nil {
			return fmt.Errorf("removing the empty file %s: %w", name, err)
		}
		log.Info("removed an empty log that a crash had left", zap.String("file", name))
	}
	return nil
}

// brief lists at most three names.
func brief(names []string) string {
	if len(names) > 3 {
		return strings.Join(names[:3], ", ") + fmt.Sprintf(" and %d more", len(names)-3)
	}
	return strings.Join(names, ", ")
}
