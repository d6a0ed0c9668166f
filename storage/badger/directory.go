package badger

import (
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
)

// Names of Badger's files.
const (
	manifestName = "MANIFEST"
	pidName      = "LOCK"
	tableSuffix  = ".sst"
	memSuffix    = ".mem"
	valueSuffix  = ".vlog"
)

// prepare makes the directory fit for Badger to open: there, private, not in use,
// and without what Badger would stumble over or destroy.
func prepare(dir string, log *zap.Logger) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("making the directory: %w", err)
	}
	unlock, err := lock(dir)
	if err != nil {
		return err
	}
	// Badger takes the same lock; only for the moment between may another process
	// come first, and then Badger refuses.
	defer unlock()
	if err := makePrivate(dir); err != nil {
		return err
	}
	files, err := os.ReadDir(dir)
	if err != nil {
		return fmt.Errorf("listing the directory: %w", err)
	}
	return checkFiles(dir, files, log)
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

// checkFiles removes logs of no length, and refuses to open data without a manifest.
func checkFiles(dir string, files []fs.DirEntry, log *zap.Logger) error {
	var data []string
	manifest := false
	for _, f := range files {
		name := f.Name()
		if name == manifestName {
			manifest = true
		}
		ext := filepath.Ext(name)
		if !f.Type().IsRegular() || !slices.Contains([]string{tableSuffix, memSuffix, valueSuffix}, ext) {
			continue
		}
		info, err := f.Info()
		if err != nil {
			return fmt.Errorf("reading the size of %s: %w", name, err)
		}
		if info.Size() > 0 || ext == tableSuffix {
			data = append(data, name)
			continue
		}
		// A crash while Badger removed a log: it cuts it first. Badger then fails to
		// open, once.
		if err := os.Remove(filepath.Join(dir, name)); err != nil {
			return fmt.Errorf("removing the empty file %s: %w", name, err)
		}
		log.Info("removed an empty log that a crash had left", zap.String("file", name))
	}
	if !manifest && len(data) > 0 {
		return fmt.Errorf("%w from %s, but there are data files (%s), which Badger would delete; restore MANIFEST from a backup, or move the directory away to begin with an empty store",
			ErrNoManifest, dir, brief(data))
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
