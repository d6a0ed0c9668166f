package badger

import (
	"os"
	"time"

	bdb "github.com/dgraph-io/badger/v4"
	"github.com/dgraph-io/badger/v4/options"
	"go.uber.org/zap"

	"github.com/caddyrelay/caddyrelay/storage/badger/files"
)

// Options are those of a store. The zero value is usable.
type Options struct {
	// Logger gets what Badger has to say, and what opening mends. Default: none.
	Logger *zap.Logger
	// Clock is where acceptance times come from. Default: time.Now.
	Clock func() time.Time
	// Limits are how much room the store takes and leaves.
	Limits Limits
	// EncryptionKey encrypts what is stored: 16, 24 or 32 bytes, which choose AES-128, -192
	// or -256. A store keeps the key that it was made with. Default: not encrypted.
	EncryptionKey []byte
	// AcceptLoss is the token of a [LossError] or a [DamageError]: the store opens without
	// what is gone.
	AcceptLoss string

	// volume replaces the look at the volume in tests.
	volume func(dir string) int64
	// onStep is called at each step of a salvage or an upgrade in tests.
	onStep func(step string)
	// flatten replaces Badger's merging of all tables in tests.
	flatten func(db *bdb.DB) error
	// unwatched lets merging lose tables, for the control of a test.
	unwatched bool
	// hurry shortens the pauses of the janitor in tests.
	hurry bool
	// rest opens without merging tables, where there is no room for it.
	rest bool
	// reserve is freed when opening needs it; nil: there is none.
	reserve *descriptors
	// merges watches the merging of tables; nil: nobody does.
	merges *merges
}

func (o *Options) setDefaults() {
	if o.Logger == nil {
		o.Logger = zap.NewNop()
	}
	if o.Clock == nil {
		o.Clock = time.Now
	}
	if o.volume == nil {
		o.volume = freeBytes
	}
	if o.flatten == nil {
		o.flatten = func(db *bdb.DB) error { return db.Flatten(1) }
	}
}

// step tells a test how far a salvage or an upgrade is.
func (o *Options) step(what string) {
	if o.onStep != nil {
		o.onStep(what)
	}
}

const (
	// A transaction may have 15 % of it: a batch of a thousand events of 1 KiB. The table of one
	// fits into 14 MiB, with a fence.
	memTableSize = 9 << 20
	// Versions up to format 5 had tables of this size.
	formerMemTableSize = 16 << 20

	valueThreshold = 1 << 20
	tableSize      = 1 << 20 // on the first level; a fence fills one
	tableRatio     = 2
	newTables      = 22
	firstLevelSize = 64 << 20
	levelRatio     = 30
	lastLevel      = 6 // new tables are 0, and merged into one of 1 to 6
)

// memTableSizeIn returns how large tables in memory have to be in a directory. Badger reads what
// is in its logs into such tables, and ends the process if it does not fit. A log whose table has
// memTableSize is twice as long, as long as nobody has cut it at its end.
func memTableSizeIn(dir string) int64 {
	logs, err := files.Logs(dir)
	if err != nil {
		return memTableSize // whoever opens the store says what is wrong
	}
	for _, name := range logs {
		if info, err := os.Stat(name); err != nil || info.Size() != 2*memTableSize {
			return formerMemTableSize
		}
	}
	return memTableSize
}

// badgerOptions are chosen for what was measured, not by Badger's defaults.
func badgerOptions(dir string, o *Options) bdb.Options {
	compactors := 4
	if o.rest {
		compactors = 0
	}
	tuned := bdb.DefaultOptions(dir)
	tuned.TableSizeMultiplier = tableRatio
	return tuned.
		WithLogger(logger{o.Logger.Named("badger").Sugar(), o.reserve, o.merges}).
		// A commit returns when it is on the disk, which the journal sees to where it can.
		WithSyncWrites(badgerSyncs).
		// There is one writer, so nothing can conflict.
		WithDetectConflicts(false).
		WithNumVersionsToKeep(1).
		// Small memtables and caches: the relay lives inside a web server.
		WithMemTableSize(memTableSizeIn(dir)).
		WithNumMemtables(2).
		// Badger keeps up to eight buffers in which tables are built. Each begins with twice the
		// size of a table, and is doubled until the table of a memtable fits: in the end they
		// have 14 MiB, or 62 where Badger has made one of four such tables.
		WithCompression(options.None).
		WithBaseTableSize(tableSize).
		// What is merged down goes through each level, and is written about twice there: into
		// the level, and when the next of it comes. So many new tables are merged at once, into
		// a small level, and the next one has room for the rest.
		WithNumLevelZeroTables(newTables).
		WithNumLevelZeroTablesStall(4 * newTables).
		WithBaseLevelSize(firstLevelSize).
		WithLevelSizeMultiplier(levelRatio).
		WithMaxLevels(lastLevel + 1).
		WithBlockCacheSize(16 << 20).
		WithIndexCacheSize(32 << 20).
		// Each of them merges one table of the first level at most twenty times a second, and
		// these are small.
		WithNumCompactors(compactors).
		// Values stay out of the value log: a failed sync of it is only logged, and
		// what is deleted in it hardly ever gives its room back.
		WithValueThreshold(valueThreshold).
		WithValueLogFileSize(64 << 20).
		WithMetricsEnabled(false).
		WithCompactL0OnClose(false).
		// By default a flipped bit in a table would be read back without an error. When a
		// store is opened examine has read them all.
		WithChecksumVerificationMode(options.OnBlockRead).
		WithVerifyValueChecksum(true).
		// An index cache, which encryption needs, is set above.
		WithEncryptionKey(o.EncryptionKey)
}
