package badger

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"go.uber.org/zap"
)

// Names of directories in that of a store, with the token of the damage behind them.
//
// What can be read of damaged files is copied into salvage-TOKEN.new. When that is whole
// and synced, it becomes salvage-TOKEN.done: from then on it counts, and whoever opens the
// store next goes on where a crash has stopped. The files of before are moved to
// damaged-TOKEN, one by one; then it becomes salvage-TOKEN.moving, and its files are moved
// to their place, one by one.
const (
	salvagePrefix = "salvage-"
	damagedPrefix = "damaged-"

	stageNew    = ".new"
	stageDone   = ".done"
	stageMoving = ".moving"
)

// ownDirectory reports whether a directory in that of a store was made by a salvage.
func ownDirectory(name string) bool {
	return strings.HasPrefix(name, salvagePrefix) || strings.HasPrefix(name, damagedPrefix)
}

// keep copies a file into a directory of its own beside it.
func keep(path string) error {
	dir, err := makeAside(filepath.Dir(path))
	if err != nil {
		return err
	}
	in, err := os.Open(path)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(filepath.Join(dir, filepath.Base(path)), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Sync(), out.Close(), syncDirectory(dir))
}

// kept returns the directory in that of a store with the copy of a log that was kept last,
// or an empty string.
func kept(dir string) string {
	copies, err := filepath.Glob(filepath.Join(dir, damagedPrefix+"*Z", "*"+memSuffix))
	if err != nil || len(copies) == 0 {
		return ""
	}
	slices.Sort(copies)
	return filepath.Dir(copies[len(copies)-1])
}

// swapping reports whether a salvage has ended in a directory, and was interrupted before all its
// files were in their place.
func swapping(dir string) bool {
	entries, _ := os.ReadDir(dir) // opening it has errors of its own for that
	return slices.ContainsFunc(entries, func(e fs.DirEntry) bool {
		stage := filepath.Ext(e.Name())
		return strings.HasPrefix(e.Name(), salvagePrefix) && (stage == stageDone || stage == stageMoving)
	})
}

// finishSwap completes a salvage that a crash has interrupted, or clears away one that had
// not come to its end.
func finishSwap(dir string, o *Options) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return fmt.Errorf("listing the directory: %w", err)
	}
	for _, e := range entries {
		token, ok := strings.CutPrefix(e.Name(), salvagePrefix)
		if !ok || !e.IsDir() {
			continue
		}
		stage := filepath.Ext(token)
		token = strings.TrimSuffix(token, stage)
		switch stage {
		case stageNew:
			err = os.RemoveAll(filepath.Join(dir, e.Name()))
		case stageDone, stageMoving:
			o.Logger.Info("the salvage of a damaged store goes on", zap.String("directory", dir))
			err = swap(dir, token, stage, o)
		}
		if err != nil {
			return fmt.Errorf("finishing the salvage of a damaged store in %s: %w", e.Name(), err)
		}
	}
	return nil
}

// swap puts what was salvaged in the place of the damaged files. Each step may be the last
// one before a crash, and is done again after it.
func swap(dir, token, stage string, o *Options) error {
	in := filepath.Join(dir, salvagePrefix+token)
	if stage == stageDone {
		out := filepath.Join(dir, damagedPrefix+token)
		if err := os.MkdirAll(out, 0o700); err != nil {
			return err
		}
		if err := moveFiles(dir, out, o); err != nil {
			return err
		}
		if err := os.Rename(in+stageDone, in+stageMoving); err != nil {
			return err
		}
		o.step("moving")
		if err := syncDirectory(dir); err != nil {
			return err
		}
	}
	if err := moveFiles(in+stageMoving, dir, o); err != nil {
		return err
	}
	if err := os.RemoveAll(in + stageMoving); err != nil { // a LOCK may be left
		return err
	}
	o.step("moved")
	return syncDirectory(dir)
}

// moveFiles moves the files of a database, with their sentinel.
func moveFiles(from, to string, o *Options) error {
	entries, err := os.ReadDir(from)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if name := e.Name(); e.Type().IsRegular() && name != pidName && name != ballastName {
			if err := os.Rename(filepath.Join(from, name), filepath.Join(to, name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return err
			}
			o.step("moved " + name)
		}
	}
	return errors.Join(syncDirectory(to), syncDirectory(from))
}
