package badger

import (
	"bytes"
	"math"

	bdb "github.com/dgraph-io/badger/v4"
)

// singles are the classes of exceptions of single deliveries.
var singles = [...]class{classOpen, classClosed}

// exceptionOf returns the class of a delivery's own exception, 0 if it has none.
func exceptionOf(txn *bdb.Txn, sub uint32, pos uint64) (class, error) {
	for _, c := range singles {
		there, err := exists(txn, exceptKey(c, sub, pos))
		if err != nil || there {
			return c, err
		}
	}
	return 0, nil
}

// exceptionFinder says in one snapshot what exceptions deliveries have. It is cheap where
// they ascend in each log: hardly any has one, and a look into the store finds the next that has.
type exceptionFinder struct {
	it   *bdb.Iterator
	gaps map[gapKey]gap
}

type gapKey struct {
	class class
	sub   uint32
}

// gap is a run of positions without an exception.
type gap struct {
	from, to uint64 // to is behind the last
	ends     bool   // there is one at to
}

// finderSteps bounds how many records of removed exceptions a look steps over.
const finderSteps = 64

func newExceptionFinder(txn *bdb.Txn) *exceptionFinder {
	// With all versions, deleted records count as steps too.
	it := txn.NewIterator(bdb.IteratorOptions{Prefix: []byte{exceptPrefix}, AllVersions: true})
	return &exceptionFinder{it, make(map[gapKey]gap)}
}

func (f *exceptionFinder) close() { f.it.Close() }

// of returns the class of a delivery's own exception, 0 if it has none.
func (f *exceptionFinder) of(sub uint32, pos uint64) (class, error) {
	for _, c := range singles {
		there, err := f.has(gapKey{c, sub}, pos)
		if err != nil || there {
			return c, err
		}
	}
	return 0, nil
}

func (f *exceptionFinder) has(k gapKey, pos uint64) (bool, error) {
	g, ok := f.gaps[k]
	if !ok || pos < g.from || pos > g.to || pos == g.to && !g.ends {
		var err error
		if g, err = f.gapAt(k, pos); err != nil {
			return false, err
		}
		f.gaps[k] = g
	}
	return pos == g.to && g.ends, nil
}

// gapAt looks for the next exception from a position on. What it returns covers that, even
// if it gives up.
func (f *exceptionFinder) gapAt(k gapKey, pos uint64) (gap, error) {
	prefix := exceptKeys(k.class, k.sub, exceptKeyLen)
	g := gap{from: pos, to: pos}
	f.it.Seek(exceptKey(k.class, k.sub, pos))
	for range finderSteps {
		if !f.it.ValidForPrefix(prefix) {
			g.to = math.MaxUint64
			return g, nil
		}
		_, _, at, err := splitExceptKey(f.it.Item().Key())
		if err != nil {
			return g, &CorruptError{keyName(f.it.Item().Key()), err}
		}
		if at >= g.to { // and no older version of the one before
			if !f.it.Item().IsDeletedOrExpired() {
				g.to, g.ends = at, true
				return g, nil
			}
			g.to = at + 1
		}
		f.it.Next()
	}
	return g, nil
}

// ascender finds records whose keys ascend.
type ascender struct {
	*bdb.Iterator
	sought bool // it stands somewhere, or is at its end, behind which nothing is looked for
}

// ascendSteps is how far to goes record by record. To seek costs as much.
const ascendSteps = 8

// to brings the iterator to the first key at or above one that is not below the one before.
// It reports false if there is none.
func (a *ascender) to(key []byte) bool {
	for step := 0; a.sought; step++ {
		if !a.Valid() {
			return false
		}
		if bytes.Compare(a.Item().Key(), key) >= 0 {
			return true
		}
		if step == ascendSteps {
			break
		}
		a.Next()
	}
	a.Seek(key)
	a.sought = true
	return a.Valid()
}
