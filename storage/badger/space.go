package badger

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/dustin/go-humanize"
	"go.uber.org/zap"

	"github.com/caddyrelay/caddyrelay/relay"
	"github.com/caddyrelay/caddyrelay/storage/badger/files"
)

// DefaultMinFree is Limits.MinFree if it is not set, in bytes.
const DefaultMinFree = 1 << 30

// Limits are how much room a store takes and leaves. They can be changed while it is
// open.
type Limits struct {
	// MinFree: no event is taken while fewer bytes than this are free on the volume.
	// Default: [DefaultMinFree].
	MinFree int64
	// MaxSize is how many bytes the store may take; 0: as many as there are.
	MaxSize int64
}

// space keeps Badger from writing to a full volume. Badger writes through mappings of
// sparse files: where the volume has no block left, that is no error but a signal, which
// ends the process.
//
// So nothing is begun unless there is room for all that can come of it: the record in the
// log, the table that the log becomes, and what merging tables takes meanwhile.
type space struct {
	dir string
	log *zap.Logger
	// volume is a seam for tests: the bytes that are free, -1 if unknown.
	volume func(dir string) int64
	// database is the store's own, which is nil while it is not open; nil where there is no store.
	database *atomic.Pointer[database]

	// live is what the records take, removed how many events went since tables were merged.
	live, removed atomic.Int64

	mu      sync.Mutex
	limits  Limits
	free    int64
	usage   usage
	counted time.Time // when usage was
	asked   time.Time // when free was
	written int64     // since free was asked for

	// full: no events. critical: nothing at all. over: the store is larger than it may be,
	// and nothing that is finished is left to remove.
	full, critical, over bool
}

// usage is what the files of a store take, in bytes.
type usage struct {
	files        int
	logs, tables int64
	total        int64 // with everything but the ballast
	// merging is what the next merging of new tables writes.
	merging int64
}

// What the figures are good for.
const (
	askEvery     = 250 * time.Millisecond
	askBytes     = 1 << 20
	countEvery   = time.Second
	manyFiles    = 1000
	countManyAll = 10 * time.Second

	// slack covers small files, and the first pages of new logs.
	slack = 8 << 20
	// mergeMost is what merging tables takes beside what is there, unless there are more new
	// ones: all of them go into the first level at once, and go away only when all is written,
	// while tables of that level are merged into the next.
	mergeMost = newTables*memTableSize + 2*firstLevelSize
)

func newSpace(dir string, o *Options) *space {
	s := &space{dir: dir, log: o.Logger, volume: o.volume, limits: o.Limits}
	s.limits.setDefaults()
	return s
}

func (l *Limits) setDefaults() {
	if l.MinFree <= 0 {
		l.MinFree = DefaultMinFree
	}
}

// toOpen is what opening a store takes: what is in its logs becomes tables.
func (u usage) toOpen() int64 { return u.logs*5/4 + slack }

// critical is what must stay free for Badger's own work, whatever it is asked to write.
func (u usage) critical() int64 {
	return u.toOpen() + min(u.tables, max(u.merging+firstLevelSize, mergeMost))
}

// mergingIn returns what the next merging of new tables writes, those and the first level, in
// a database that is not open, as far as can be read.
func mergingIn(dir string) (size int64) {
	m, err := files.ReadManifest(dir)
	if err != nil {
		return 0
	}
	levels := make(map[int]int64)
	for id, t := range m.Tables {
		if info, err := os.Stat(files.TableName(dir, id)); err == nil {
			levels[t.Level] += sizeOnDisk(info)
		}
	}
	first := 0 // the first level, which is the last one only as long as that is small
	for level := range levels {
		if level > 0 && (first == 0 || level < first) && (level < lastLevel || levels[level] <= firstLevelSize) {
			first = level
		}
	}
	if size = levels[0]; first > 0 {
		size += levels[first]
	}
	return size
}

// merging is mergingIn for the database.
func (d *database) merging() (size int64) {
	for _, l := range d.Levels() {
		if l.Level == 0 || l.IsBaseLevel {
			size += l.Size
		}
	}
	return size
}

// low is what must be free for events to be taken: on a small volume more than min_free,
// so that their outcomes have room too.
func (s *space) low() int64 { return max(s.limits.MinFree, s.usage.critical()*5/4+slack) }

// admit says whether size bytes may be written: events, or what else there is to note.
func (s *space) admit(size int64, events bool) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.refresh(time.Now())
	if s.free < 0 {
		return nil
	}
	if s.judge(size); s.critical {
		return s.reason()
	}
	if events && (s.full || s.over || s.tooLarge()) {
		return s.reason()
	}
	s.written += size
	return nil
}

// refresh measures again what is out of date. The caller holds the lock.
func (s *space) refresh(now time.Time) {
	stale := now.Sub(s.asked) >= askEvery || s.written >= askBytes
	if !stale {
		return
	}
	every := countEvery
	if s.usage.files > manyFiles {
		every = countManyAll
	}
	if now.Sub(s.counted) >= every {
		s.usage, s.counted = count(s.dir), now
	} else {
		s.usage.logs += s.written
		s.usage.total += s.written
	}
	if s.database != nil {
		if db := s.database.Load(); db != nil {
			s.usage.merging = db.merging()
		}
	}
	s.free, s.asked, s.written = s.volume(s.dir), now, 0
}

// judge sets full and critical. The caller holds the lock.
func (s *space) judge(size int64) {
	// Once in the log, once in a table, and the rest of a page.
	left := s.free - (s.written+size)*9/4
	low, critical := s.low(), s.usage.critical()
	wasFull, wasCritical := s.full, s.critical
	if s.critical = left < critical; s.critical && !wasCritical && s.dropBallast() {
		s.free, s.asked = s.volume(s.dir), time.Now()
		s.critical = s.free-(s.written+size)*9/4 < critical
	}
	if s.full {
		s.full = left < low+low/16 // not on and off at the edge
	} else {
		s.full = left < low
	}
	switch {
	case s.full && !wasFull:
		s.log.Error("the volume is nearly full: no more events are accepted until there is room; deliveries go on",
			zap.String("directory", s.dir), zap.String("free", humanize.IBytes(uint64(max(left, 0)))), zap.String("needed", humanize.IBytes(uint64(low))))
	case wasFull && !s.full:
		s.log.Info("there is room again: events are accepted", zap.String("directory", s.dir))
	}
	if s.critical && !wasCritical {
		s.log.Error("the volume is so full that not even outcomes are written: deliveries rest until there is room",
			zap.String("directory", s.dir), zap.String("needed", humanize.IBytes(uint64(critical))))
	}
}

// tooLarge reports whether the store has outgrown max_size faster than finished records
// could be removed. The caller holds the lock.
func (s *space) tooLarge() bool {
	limit := s.limits.MaxSize
	return limit > 0 && s.sizeNow() > limit+limit/8+4*slack
}

// size is what the store takes: its files, without what lies in them and was removed.
func (s *space) size() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.refresh(time.Now())
	return s.sizeNow()
}

func (s *space) sizeNow() int64 { return min(s.usage.total+s.written, s.live.Load()) }

// short returns the limit of the store's size, what it takes, and
// whether events are refused for want of room, with enough left to merge tables.
func (s *space) short() (limit, total int64, full bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.limits.MaxSize, s.usage.total, s.full && !s.critical
}

// tables returns what tables take.
func (s *space) tables() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.usage.tables
}

func (s *space) setOver(over bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if over && !s.over {
		s.log.Error("the store is larger than max_size and nothing in it is finished: no more events are accepted until deliveries end",
			zap.String("directory", s.dir), zap.String("size", humanize.IBytes(uint64(s.usage.total))), zap.String("max_size", humanize.IBytes(uint64(s.limits.MaxSize))))
	}
	s.over = over
}

// reason explains why there is no room. The caller holds the lock.
func (s *space) reason() error {
	switch {
	case s.critical:
		return fmt.Errorf("%w: only %s are free on the volume of %s, and the database needs %s to write safely; make room on it",
			relay.ErrFull, humanize.IBytes(uint64(max(s.free, 0))), s.dir, humanize.IBytes(uint64(s.usage.critical())))
	case s.full:
		return fmt.Errorf("%w: %s are free on the volume of %s, and events are taken from %s on (min_free); make room on it, or shorten retention",
			relay.ErrFull, humanize.IBytes(uint64(max(s.free, 0))), s.dir, humanize.IBytes(uint64(s.low())))
	case s.over || s.tooLarge():
		return fmt.Errorf("%w: the store takes %s, more than its max_size of %s, and what is finished is removed already; deliver or drop what waits, or raise max_size",
			relay.ErrFull, humanize.IBytes(uint64(s.sizeNow())), humanize.IBytes(uint64(s.limits.MaxSize)))
	}
	return nil
}

// err returns why no events are taken at present.
func (s *space) err() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.refresh(time.Now())
	if s.free < 0 {
		return nil
	}
	s.judge(0)
	return s.reason()
}

// roomFor refuses where the volume does not have room for size bytes of records, which are
// written for a purpose before the store is open.
func (im *image) roomFor(o *Options, purpose string, size int64) error {
	s := newSpace(im.dir, o)
	free := s.volume(im.dir)
	if free < 0 {
		return nil
	}
	u := count(im.dir)
	u.merging = im.db.merging()
	need := u.critical()
	if o.rest { // nothing is merged
		need = u.toOpen()
	}
	need += size * 9 / 4
	if free < need && s.dropBallast() {
		free = s.volume(im.dir)
	}
	if free < need {
		return fmt.Errorf("%w: %s are free on the volume of %s, and %s takes %s; nothing is lost: make room on the volume and start again",
			relay.ErrFull, humanize.IBytes(uint64(free)), im.dir, purpose, humanize.IBytes(uint64(need)))
	}
	return nil
}

// configure sets other limits.
func (s *space) configure(l Limits) {
	l.setDefaults()
	s.mu.Lock()
	defer s.mu.Unlock()
	if l != s.limits {
		s.limits, s.over, s.asked = l, false, time.Time{}
	}
}

// remeasure forgets what was measured.
func (s *space) remeasure() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.counted, s.asked = time.Time{}, time.Time{}
	s.refresh(time.Now())
}

// count adds up the files of a store. One that is gone meanwhile takes nothing.
func count(dir string) (u usage) {
	files, err := os.ReadDir(dir)
	if err != nil {
		return u
	}
	for _, f := range files {
		info, err := f.Info()
		if err != nil || f.Name() == ballastName {
			continue
		}
		u.add(info)
	}
	return u
}

func (u *usage) add(info fs.FileInfo) {
	u.files++
	size := sizeOnDisk(info)
	u.total += size
	switch filepath.Ext(info.Name()) {
	case memSuffix:
		u.logs += size
	case tableSuffix:
		u.tables += size
	}
}
