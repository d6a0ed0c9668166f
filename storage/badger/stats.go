package badger

import (
	"context"
	"os"
	"path/filepath"

	bdb "github.com/dgraph-io/badger/v4"

	"github.com/caddyrelay/caddyrelay/relay"
)

// Parts of a store by the first byte of the keys.
var parts = map[byte]string{
	eventPrefix:   "events",
	logPrefix:     "logs",
	attemptPrefix: "attempts",
	bundlePrefix:  "attempts",
}

// tables lists the tables of the database.
func (s *Store) tables() (tables []bdb.TableInfo, err error) {
	err = s.with(func(d *database) error {
		tables = d.Tables()
		return nil
	})
	return tables, err
}

// Stats implements [relay.Store]. A table counts for a part if it holds nothing else;
// what is young lies in mixed tables and logs, and counts as other. While the database is
// not open, its parts count as empty.
func (s *Store) Stats(ctx context.Context) (relay.StoreStats, error) {
	if !s.gate.Enter() {
		return relay.StoreStats{}, relay.ErrClosed
	}
	defer s.gate.Leave()
	if err := ctx.Err(); err != nil {
		return relay.StoreStats{}, err
	}
	stats := relay.StoreStats{
		Engine:   "badger",
		Location: s.dir,
		Size:     map[string]int64{"events": 0, "logs": 0, "attempts": 0, "other": 0},
		Free:     s.options.volume(s.dir),
		Events:   s.committed().ordinal,
	}
	tables, err := s.tables()
	if err != nil {
		return stats, nil // it is being opened again, and Err says why
	}
	for _, t := range tables {
		part := "other"
		if len(t.Left) > 0 && len(t.Right) > 0 && t.Left[0] == t.Right[0] {
			if name, ok := parts[t.Left[0]]; ok {
				part = name
			}
		}
		stats.Size[part] += int64(t.OnDiskSize)
	}
	files, err := os.ReadDir(s.dir)
	if err != nil {
		return stats, nil // as above
	}
	for _, f := range files {
		if filepath.Ext(f.Name()) == tableSuffix {
			continue
		}
		// A file may be gone by now; then it takes nothing.
		if info, err := f.Info(); err == nil {
			stats.Size["other"] += sizeOnDisk(info)
		}
	}
	return stats, nil
}
