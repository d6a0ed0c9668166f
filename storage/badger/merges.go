package badger

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	bdb "github.com/dgraph-io/badger/v4"
	"go.uber.org/zap"

	"github.com/caddyrelay/caddyrelay/storage/badger/files"
)

// merges sees to it that no merging of tables leaves out one that could not be written.
//
// Badger 4.9.6 forgets the error (levels.go, subcompact: the deferred Done gets err before it
// is set), takes the tables that it has for all of them, and removes those that were merged.
// The records of the one that is missing are gone then, without a word: it takes one moment
// without a file descriptor, an inode or a mapping. But it logs how many records a table has
// before it creates it, and something at the end of each part of a merging, which goes on only
// when that returns. So the end is held until all tables can be read that were announced. If
// one does not come it is held for as long as the process lives: nothing has been removed yet.
type merges struct {
	dir      string
	key      []byte
	log      *zap.Logger
	patience time.Duration
	pace     *mergePace

	mu sync.Mutex
	// last is the number of announcements so far. Those of tables that were not seen yet are
	// kept by how many records they have, the oldest first.
	last      int
	announced map[int][]int
	// next is behind the highest number of a table that was read; holes are those below it
	// that were not.
	next  uint64
	holes map[uint64]struct{}
	// missing says what is wrong while a merging is held for long, and tell is told, also when
	// it is over.
	missing error
	tell    func(error)
}

// What Badger logs in the goroutine of a part of a merging, before it creates a table, with the
// number of its records, and at the end.
const (
	announcement = "[%d] LOG Compact. Added %d keys."
	endOfPart    = "Discard stats: %v"
)

const (
	// mergePatience is how long a table may take from its announcement until it can be read.
	mergePatience = 10 * time.Second
	// gapMost is how many numbers in a row may have no table below one that has, as a rule: more
	// than are written at a time. After listAfter it may be any number: each try to write a new
	// table of a log takes one.
	gapMost   = 64
	listAfter = time.Second
	// holesMost bounds the numbers that are looked for again and again.
	holesMost = 1024
)

// newMerges is for a database that is not open yet.
func newMerges(dir string, o *Options) *merges {
	m := &merges{dir: dir, key: o.EncryptionKey, log: o.Logger, patience: mergePatience, pace: newMergePace(), announced: make(map[int][]int), holes: make(map[uint64]struct{})}
	if o.hurry {
		m.patience /= 50
	}
	if manifest, err := files.ReadManifest(dir); err == nil {
		for id := range manifest.Tables {
			m.next = max(m.next, id)
		}
	}
	m.next++
	return m
}

// watching returns o with the merging of tables watched, of a database that is not open yet.
func (o *Options) watching(dir string) *Options {
	watched := *o
	if !o.unwatched {
		watched.merges = newMerges(dir, o)
	}
	return &watched
}

// spread begins to spread merging over time: the database is open.
func (m *merges) spread(db *bdb.DB) {
	if m != nil {
		m.pace.spread(func() int { return db.Levels()[0].NumTables })
	}
}

// heed is told what Badger logs, before that returns.
func (m *merges) heed(format string, args []any) {
	switch {
	case m == nil:
	case strings.HasPrefix(format, announcement) && len(args) > 1:
		if n, ok := args[1].(uint64); ok && n > 0 {
			m.pace.wait() // first: nobody shall wait for what is not announced yet
			m.announce(int(n))
		}
	case strings.HasPrefix(format, endOfPart):
		m.hold()
	}
}

func (m *merges) announce(records int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.last++
	m.announced[records] = append(m.announced[records], m.last)
}

// hold returns when all tables were seen that were announced up to now.
func (m *merges) hold() {
	m.mu.Lock()
	last := m.last
	m.mu.Unlock()
	began := time.Now()
	for pause := time.Millisecond; !m.complete(last, time.Since(began) >= listAfter); pause = min(2*pause, time.Second) {
		if time.Since(began) >= m.patience {
			m.complain()
		}
		time.Sleep(pause)
	}
}

// complete reports whether all were seen, up to the last one.
func (m *merges) complete(last int, list bool) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.look(list)
	for _, numbers := range m.announced {
		if numbers[0] <= last {
			return false
		}
	}
	if m.missing != nil && len(m.announced) == 0 {
		m.missing = nil
		m.log.Info("all tables were written, and are merged again", zap.String("directory", m.dir))
		if m.tell != nil {
			go m.tell(nil)
		}
	}
	return true
}

// look reads the tables that are new: those with the next numbers, or all in the directory.
func (m *merges) look(list bool) {
	if len(m.announced) == 0 {
		return
	}
	var keys files.Keys
	if len(m.key) > 0 {
		var err error
		if keys, err = files.OpenKeys(m.dir, m.key); err != nil {
			return // tried again
		}
	}
	for id := range m.holes {
		if m.read(id, keys) {
			delete(m.holes, id)
		}
	}
	if list {
		ids, _ := files.Tables(m.dir) // what cannot be read is tried again
		for _, id := range ids {
			if id >= m.next && m.read(id, keys) {
				m.pass(id)
			}
		}
		return
	}
	for id, gap := m.next, 0; gap < gapMost; id++ {
		if gap++; m.read(id, keys) {
			m.pass(id)
			gap = 0
		}
	}
}

// read reports whether there is a table of that number, and a whole one.
func (m *merges) read(id uint64, keys files.Keys) bool {
	t, err := files.OpenTable(files.TableName(m.dir, id), files.TableInfo{Unknown: true}, keys)
	if err != nil {
		return false
	}
	m.found(t.Records())
	_ = t.Close() // it was only read
	return true
}

// pass goes on behind a number.
func (m *merges) pass(id uint64) {
	for ; m.next < id; m.next++ {
		m.holes[m.next] = struct{}{}
	}
	m.next++
	if len(m.holes) > holesMost {
		lowest := slices.Sorted(maps.Keys(m.holes))
		for _, id := range lowest[:len(lowest)-holesMost/2] {
			delete(m.holes, id)
		}
	}
}

// found takes a table for the oldest announcement that it fits. One that was never announced is
// a log that became a table.
func (m *merges) found(records int) {
	switch numbers := m.announced[records]; len(numbers) {
	case 0:
	case 1:
		delete(m.announced, records)
	default:
		m.announced[records] = numbers[1:]
	}
}

// complain says that a table does not come, once.
func (m *merges) complain() {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.missing != nil {
		return
	}
	m.missing = fmt.Errorf("a table could not be written while tables were merged in %s%s; nothing is lost, since what was merged is still there: mend what is wrong with the volume or the limits of the process, and start Caddy anew",
		m.dir, m.cause())
	m.log.Error("merging of tables is held", zap.Error(m.missing))
	if m.tell != nil {
		go m.tell(m.missing)
	}
}

// cause tries what Badger tried.
func (m *merges) cause() string {
	f, err := os.CreateTemp(m.dir, "trial-*")
	if err != nil {
		return fmt.Sprintf(" (%v)", err)
	}
	_ = errors.Join(f.Close(), os.Remove(f.Name()))
	return ""
}

// onMissing sets who is told when a table does not come, and, with nil, when it came at last.
func (m *merges) onMissing(tell func(error)) {
	if m == nil {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.tell = tell; m.missing != nil {
		go tell(m.missing)
	}
}
