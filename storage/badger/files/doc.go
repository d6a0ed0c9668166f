// Package files reads the files of a Badger database that is not open, as far as they can
// be read, and changes none of them.
//
// Badger itself cannot be asked: it leaves out a table whose index is damaged, panics over
// most other damages in goroutines of its own, and cuts a log at the first byte that is
// wrong.
//
// The formats are those of Badger 4.9.6 (table/builder.go, memtable.go, manifest.go,
// key_registry.go); the tests hold this package against what Badger writes.
package files

import "fmt"

// Entry is a version of a record.
type Entry struct {
	Key []byte
	// Version grows with each transaction.
	Version uint64
	// Value is nil for a deletion.
	Value []byte
	// Deleted says that this version is a deletion.
	Deleted bool
}

// Meta bits of entries.
const (
	bitDelete       = 1 << 0
	bitValuePointer = 1 << 1 // the value is in the value log
	bitTxn          = 1 << 6 // of a transaction whose end is still to come
	bitFinTxn       = 1 << 7 // the end of a transaction
)

// Gone is when the time of an entry ends that is removed but has a value, as seconds since
// 1970; 0 is never. No other times are met here.
const Gone = 1

// judge sets Deleted, by what Badger keeps beside an entry.
func (e *Entry) judge(meta byte, expires uint64) {
	if e.Deleted = meta&bitDelete != 0 || expires == Gone; e.Deleted {
		e.Value = nil
	}
}

// versionLen is what follows a key: the version, as the complement, so that the newest
// comes first.
const versionLen = 8

// Error is a place in a file that cannot be read.
type Error struct {
	// At is in bytes from the beginning of the file.
	At   int64
	What string
	Err  error // or nil
}

func (e *Error) Error() string {
	if e.Err == nil {
		return fmt.Sprintf("%s, at byte %d", e.What, e.At)
	}
	return fmt.Sprintf("%s, at byte %d: %v", e.What, e.At, e.Err)
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }
