package badger

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"sync"

	bdb "github.com/dgraph-io/badger/v4"
	"github.com/dgraph-io/badger/v4/fb"
	"github.com/dgraph-io/badger/v4/options"
	badgertable "github.com/dgraph-io/badger/v4/table"
	"github.com/dgraph-io/ristretto/v2"
	"github.com/dgraph-io/ristretto/v2/z"
)

// ErrDamagedTable means that a file of the database fails its checksums.
var ErrDamagedTable = errors.New("a table is damaged")

// checkTables reads every table of a database that is not open, and verifies checksums.
//
// Badger would do that itself, but panics over most damages, in goroutines of its own,
// which ends the process (table.VerifyChecksum of v4.9.6); and goes on without a table whose
// index is damaged.
func checkTables(dir string, o *Options) error {
	file, err := os.Open(filepath.Join(dir, manifestName))
	if err != nil {
		return nil // a new store, or Badger says why
	}
	defer file.Close()
	opened := badgerOptions(dir, o)
	manifest, _, err := bdb.ReplayManifestFile(file, opened.ExternalMagicVersion, opened)
	if err != nil || len(manifest.Tables) == 0 {
		return nil // Badger says why
	}
	keys, err := bdb.OpenKeyRegistry(bdb.KeyRegistryOptions{
		Dir: dir, ReadOnly: true, EncryptionKey: opened.EncryptionKey,
		EncryptionKeyRotationDuration: opened.EncryptionKeyRotationDuration,
	})
	if err != nil {
		return nil // Badger says why
	}
	defer func() { _ = keys.Close() }()
	// Encrypted tables need one.
	indexes, err := ristretto.NewCache(&ristretto.Config[uint64, *fb.TableIndex]{NumCounters: 1000, MaxCost: 1 << 20, BufferItems: 64})
	if err != nil {
		return err
	}
	defer indexes.Close()

	var mu sync.Mutex
	var found error
	var group sync.WaitGroup
	free := make(chan struct{}, runtime.GOMAXPROCS(0))
	for id, entry := range manifest.Tables {
		name := badgertable.NewFilename(id, dir)
		if _, err := os.Stat(name); err != nil {
			continue // Badger says that it is missing
		}
		key, err := keys.DataKey(entry.KeyID)
		if err != nil {
			return nil // Badger says why
		}
		free <- struct{}{}
		group.Go(func() {
			defer func() { <-free }()
			err := checkTable(name, id, &badgertable.Options{
				ChkMode: options.OnTableAndBlockRead, Compression: entry.Compression, DataKey: key, IndexCache: indexes,
			})
			if err != nil {
				mu.Lock()
				defer mu.Unlock()
				found = errors.Join(found, fmt.Errorf("%w: %s: %w; restore the directory from a backup", ErrDamagedTable, name, err))
			}
		})
	}
	group.Wait()
	return found
}

// checkTable reads one table.
func checkTable(name string, id uint64, o *badgertable.Options) (err error) {
	file, err := z.OpenMmapFile(name, os.O_RDONLY, 0)
	if err != nil {
		return err
	}
	defer func() {
		if r := recover(); r != nil {
			err = errors.New("what it says of its own parts cannot be")
		}
		err = errors.Join(err, file.Close(-1))
	}()
	t, err := badgertable.OpenInMemoryTable(file.Data, id, o)
	if err != nil {
		return err
	}
	return t.VerifyChecksum()
}
