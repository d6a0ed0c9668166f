package files

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	bdb "github.com/dgraph-io/badger/v4"
	"github.com/dgraph-io/badger/v4/options"
	"github.com/dgraph-io/badger/v4/pb"
	"github.com/dgraph-io/badger/v4/table"
	"google.golang.org/protobuf/proto"
)

// Names of Badger's files.
const (
	ManifestName = bdb.ManifestFilename
	TableSuffix  = ".sst"
	LogSuffix    = ".mem"
)

// TableInfo is what a table does not say of itself.
type TableInfo struct {
	// Key is the number of the key that it is encrypted with, 0 if it is not. Unknown says
	// that neither is known.
	Key         uint64
	Compression options.CompressionType
	Unknown     bool
	// Level is 0 for a log that became a table, and more for what was merged.
	Level int
}

// Manifest is the list of a database's tables, by their numbers.
type Manifest struct {
	Tables map[uint64]TableInfo
	// Torn says that the file ends within an entry.
	Torn bool
}

// ReadManifest reads the file MANIFEST. The error is [fs.ErrNotExist] if there is none.
func ReadManifest(dir string) (m Manifest, err error) {
	file, err := os.Open(filepath.Join(dir, ManifestName))
	if err != nil {
		return m, err
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return m, err
	}
	found, end, err := bdb.ReplayManifestFile(file, 0, bdb.DefaultOptions(dir).WithLogger(nil))
	if err != nil {
		return m, err
	}
	m.Torn = end < info.Size()
	m.Tables = make(map[uint64]TableInfo, len(found.Tables))
	for id, t := range found.Tables {
		m.Tables[id] = TableInfo{Key: t.KeyID, Compression: t.Compression, Level: int(t.Level)}
	}
	return m, nil
}

// RemovedTables returns the tables that a file MANIFEST which can be read has listed and then
// struck off; Badger does not tell them. Where it was written anew since, which happens after
// thousands of changes, it does not know them any more.
func RemovedTables(dir string) (map[uint64]struct{}, error) {
	file, err := os.Open(filepath.Join(dir, ManifestName))
	if err != nil {
		return nil, err
	}
	defer file.Close()
	const head = 8 // what the file begins with, and then each set of changes: its length and checksum
	if _, err := file.Seek(head, io.SeekStart); err != nil {
		return nil, err
	}
	removed := make(map[uint64]struct{})
	for in := bufio.NewReader(file); ; {
		var sizes [head]byte
		if _, err := io.ReadFull(in, sizes[:]); err != nil {
			return removed, nil // its end, or torn there
		}
		raw, err := io.ReadAll(io.LimitReader(in, int64(binary.BigEndian.Uint32(sizes[:]))))
		if err != nil {
			return nil, err
		}
		var changes pb.ManifestChangeSet
		if proto.Unmarshal(raw, &changes) != nil {
			return removed, nil
		}
		for _, c := range changes.Changes {
			if c.Op == pb.ManifestChange_DELETE {
				removed[c.Id] = struct{}{}
			} else {
				delete(removed, c.Id)
			}
		}
	}
}

// TableName returns the path of a table.
func TableName(dir string, id uint64) string { return table.NewFilename(id, dir) }

// Tables returns the numbers of the tables in a directory, whether MANIFEST lists them or
// not.
func Tables(dir string) ([]uint64, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var ids []uint64
	for _, e := range entries {
		if id, ok := table.ParseFileID(e.Name()); ok && !e.IsDir() {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	return ids, nil
}

// LogName returns the path of a log.
func LogName(dir string, number uint64) string {
	return filepath.Join(dir, fmt.Sprintf("%05d%s", number, LogSuffix))
}

// LogNumber returns the number of a log by its name.
func LogNumber(name string) (number uint64, ok bool) {
	text, ok := strings.CutSuffix(filepath.Base(name), LogSuffix)
	_, err := fmt.Sscanf(text, "%d", &number)
	return number, ok && err == nil
}

// Logs returns the paths of the logs in a directory, oldest first.
func Logs(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	numbers := make(map[string]uint64)
	var names []string
	for _, e := range entries {
		n, ok := LogNumber(e.Name())
		if !ok || e.IsDir() {
			continue
		}
		name := filepath.Join(dir, e.Name())
		numbers[name] = n
		names = append(names, name)
	}
	slices.SortFunc(names, func(a, b string) int {
		if numbers[a] < numbers[b] {
			return -1
		}
		return 1
	})
	return names, nil
}

// IsMissing reports whether an error means that a file is not there.
func IsMissing(err error) bool { return errors.Is(err, fs.ErrNotExist) }
