//go:build !linux

package badger

import "os"

// badgerSyncs says whether Badger itself syncs what it commits: it does, and there is no journal.
const badgerSyncs = true

func syncData(f *os.File) error { return f.Sync() }
