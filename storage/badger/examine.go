package badger

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"

	bdb "github.com/dgraph-io/badger/v4"

	"github.com/caddyrelay/caddyrelay/storage/badger/files"
)

// examination is a look at the files of a store before anything opens them: what Badger
// would not open, would cut, or would leave out.
type examination struct {
	dir     string
	keys    files.Keys
	damages []Damage

	// tables are those that count, by number: listed in MANIFEST, or all that are there if
	// that cannot be read. strays are there and were never listed.
	tables map[uint64]files.TableInfo
	strays []uint64
	// logs are paths, oldest first.
	logs []string
}

// examine returns a [DamageError] if files are damaged, and what it saw of them.
func examine(dir string, o *Options, mark acked) (*examination, *DamageError, error) {
	x := &examination{dir: dir}
	var err error
	if x.keys, err = files.OpenKeys(dir, o.EncryptionKey); err != nil {
		return nil, nil, explainKeys(dir, err, o)
	}
	if x.logs, err = files.Logs(dir); err != nil {
		return nil, nil, err
	}
	if err := x.readManifest(); err != nil {
		return nil, nil, err
	}
	if err := x.checkKeys(); err != nil {
		return nil, nil, err
	}
	if err := x.checkTables(); err != nil {
		return nil, nil, err
	}
	if err := x.checkStrays(); err != nil {
		return nil, nil, err
	}
	if err := x.checkLogs(mark); err != nil {
		return nil, nil, err
	}
	if len(x.damages) == 0 {
		return x, nil, nil
	}
	return x, newDamageError(dir, mark, x.damages), nil
}

func (x *examination) damaged(path, format string, args ...any) {
	x.damages = append(x.damages, Damage{filepath.Base(path), fmt.Sprintf(format, args...)})
}

// readManifest finds out which tables count.
func (x *examination) readManifest() error {
	there, err := files.Tables(x.dir)
	if err != nil {
		return err
	}
	m, err := files.ReadManifest(x.dir)
	var removed map[uint64]struct{}
	if err == nil {
		removed, err = files.RemovedTables(x.dir)
	}
	if err == nil {
		x.tables = m.Tables
		x.strays = slices.DeleteFunc(there, func(id uint64) bool {
			_, listed := m.Tables[id]
			_, gone := removed[id]
			return listed || gone
		})
		return nil
	}
	switch {
	case isShort(err), errors.Is(err, fs.ErrPermission):
		return explainAccess(x.dir, err)
	case !files.IsMissing(err) && isOtherVersion(err):
		return fmt.Errorf("%w: %s: %w; start the version that made it. If that is this one, the file is damaged: move it out of the directory and start again", ErrOtherVersion, manifestName, err)
	case !files.IsMissing(err):
		x.damaged(manifestName, "cannot be read: %v", err)
	case len(there)+len(x.logs) > 0:
		x.damaged(manifestName, isMissing)
	}
	x.tables = make(map[uint64]files.TableInfo, len(there))
	for _, id := range there {
		x.tables[id] = files.TableInfo{Unknown: true}
	}
	return nil
}

// checkKeys looks for keys that are missing.
func (x *examination) checkKeys() error {
	for id, info := range x.tables {
		if info.Unknown || x.keys.Has(info.Key) {
			continue
		}
		name := filepath.Base(files.TableName(x.dir, id))
		if !x.keys.Encrypted() {
			return fmt.Errorf("%w: %s is missing in %s, or empty, and %s is encrypted with a key of it; restore this file from a backup: without it nothing can be read",
				ErrDamaged, bdb.KeyRegistryFileName, x.dir, name)
		}
		x.damaged(bdb.KeyRegistryFileName, "lacks the key %d, with which %s is encrypted", info.Key, name)
	}
	return nil
}

// checkTables reads every table that counts.
func (x *examination) checkTables() error {
	var mu sync.Mutex
	var failed error
	var group sync.WaitGroup
	free := make(chan struct{}, runtime.GOMAXPROCS(0))
	for id, info := range x.tables {
		free <- struct{}{}
		group.Go(func() {
			defer func() { <-free }()
			name := files.TableName(x.dir, id)
			what, err := checkTable(name, info, x.keys)
			mu.Lock()
			defer mu.Unlock()
			switch {
			case err != nil:
				failed = explainAccess(x.dir, err)
			case what != "":
				x.damaged(name, "%s", what)
			}
		})
	}
	group.Wait()
	return failed
}

// checkTable reads one table and says what is wrong with it. The error is of this process,
// and says nothing about the file.
func checkTable(name string, info files.TableInfo, keys files.Keys) (wrong string, err error) {
	t, err := files.OpenTable(name, info, keys)
	switch {
	case files.IsMissing(err):
		return isMissing, nil
	case isShort(err), errors.Is(err, fs.ErrPermission):
		return "", err
	case err != nil:
		return "cannot be read: " + err.Error(), nil
	}
	bad := t.Check()
	_ = t.Close() // it was only read
	if len(bad) > 0 {
		return fmt.Sprintf("cannot be read in %d of %d blocks: %v", len(bad), t.Blocks(), bad[0]), nil
	}
	return "", nil
}

// checkStrays looks at the tables that MANIFEST never listed, which Badger deletes as those that
// were struck off and are still there. A crash leaves new tables not yet listed, whose records
// are elsewhere still. If one holds a record that is nowhere else, MANIFEST has lost its end.
func (x *examination) checkStrays() error {
	for _, id := range x.strays {
		name := files.TableName(x.dir, id)
		t, err := files.OpenTable(name, files.TableInfo{Unknown: true}, x.keys)
		if err != nil {
			continue // half written, and nobody was told that it is there
		}
		only, err := x.onlyIn(t)
		if err := errors.Join(err, t.Close()); err != nil {
			return err
		}
		if only > 0 {
			x.damaged(manifestName, "does not list the table %s, with %d records that stand nowhere else", filepath.Base(name), only)
			x.tables[id] = files.TableInfo{Unknown: true}
		}
	}
	return nil
}

// onlyIn counts the records of a table that stand nowhere else, neither in this version
// nor in a newer one.
func (x *examination) onlyIn(t *files.Table) (int, error) {
	versions := make(map[string]uint64)
	for i := range t.Blocks() {
		entries, err := t.Block(i)
		if err != nil {
			continue
		}
		for _, e := range entries {
			versions[string(e.Key)] = max(versions[string(e.Key)], e.Version)
		}
	}
	seen := func(e files.Entry) {
		if v, ok := versions[string(e.Key)]; ok && v <= e.Version {
			delete(versions, string(e.Key))
		}
	}
	for _, name := range x.logs {
		if _, err := files.ReadLog(name, x.keys, seen); err != nil {
			return 0, err
		}
	}
	for id, info := range x.tables {
		if len(versions) == 0 {
			break
		}
		other, err := files.OpenTable(files.TableName(x.dir, id), info, x.keys)
		if err != nil {
			continue // it is noted
		}
		for i := range other.Blocks() {
			entries, _ := other.Block(i)
			for _, e := range entries {
				seen(e)
			}
		}
		if err := other.Close(); err != nil {
			return 0, err
		}
	}
	return len(versions), nil
}

// checkLogs looks for what Badger would cut off. Behind the end of the newest log a crash
// may leave a part of a transaction, that nobody was told of; everything else there is
// damage: a transaction is only begun when the one before is synced, and a log when the
// one before is whole. Where nothing can be read behind the end, and the sentinel says that
// something should, a copy of the log is kept before it is cut.
func (x *examination) checkLogs(mark acked) error {
	for i, name := range x.logs {
		log, err := files.ReadLog(name, x.keys, nil)
		if err != nil {
			return err
		}
		if !log.Rest {
			continue
		}
		if newest := i == len(x.logs)-1; newest && log.End > 0 && log.Versions() <= 1 {
			lacks := x.lacks(mark)
			if lacks && len(log.Behind) == 0 {
				if err := keep(name); err != nil {
					return fmt.Errorf("keeping a copy of %s, which is damaged, before it is cut: %w", name, err)
				}
			}
			if !lacks || len(log.Behind) == 0 {
				continue
			}
		}
		x.damaged(name, "cannot be read from byte %d on, with %d records behind it that can", log.End, len(log.Behind))
	}
	return nil
}

// lacks reports whether events are missing that the sentinel speaks of.
func (x *examination) lacks(mark acked) bool {
	newest, version := tail{}, uint64(0)
	see := func(e files.Entry) {
		if e.Version < version || string(e.Key) != string(tailKey) {
			return
		}
		if found, err := decodeTail(e.Value); err == nil {
			newest, version = found, e.Version
		}
	}
	for _, name := range x.logs {
		if _, err := files.ReadLog(name, x.keys, see); err != nil {
			return true
		}
	}
	if version > 0 { // what is in a log is newer than any table
		return mark.ordinal > newest.ordinal
	}
	for id, info := range x.tables {
		t, err := files.OpenTable(files.TableName(x.dir, id), info, x.keys)
		if err != nil {
			continue
		}
		if e, ok, _ := t.Find(tailKey); ok {
			see(e)
		}
		_ = t.Close()
	}
	return mark.ordinal > newest.ordinal
}

// isOtherVersion tells Badger's complaint about a MANIFEST of another version.
func isOtherVersion(err error) bool {
	return strings.Contains(err.Error(), "unsupported version") || strings.Contains(err.Error(), "external magic number")
}
