package badger

import (
	"encoding/binary"
	"fmt"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/caddyrelay/caddyrelay/relay"
)

// bundle is a record with attempts of neighbours: of deliveries whose positions lie in one
// window of a subscription's log. Those that a group adds stand together, since what a record
// costs Badger hardly depends on its length. An attempt that is removed is taken out; the
// record goes with the last one.
type bundle struct {
	windowAt
	number   uint64
	attempts []bundled
}

// windowAt names a run of positions in a log.
type windowAt struct {
	sub    uint32
	window uint64
}

// bundled is an attempt in a bundle.
type bundled struct {
	seq    relay.Seq
	fields []byte
}

const (
	// windowShift makes a position the number of its window. Who looks for the attempts of a
	// delivery reads all bundles of a window: of each position the few attempts that nothing
	// pushes out.
	windowShift = 6
	// bundleMost and bundleBytes are where a bundle ends.
	bundleMost  = 64
	bundleBytes = 8 << 10
	// bundledMost is the most that an attempt in a bundle takes. Excerpts of answers may be
	// long: those attempts have records of their own.
	bundledMost = 640
)

// Fields of a bundle: both are repeated, in pairs.
const (
	bundleSeq     = 1 // above the one before; left out if it is the same
	bundleAttempt = 2
)

// bundledLen is what an attempt takes at most beside its fields.
const bundledLen = 1 + binary.MaxVarintLen64 + maxStringLen

func windowOf(sub uint32, pos uint64) windowAt { return windowAt{sub, pos >> windowShift} }

// canBundle reports whether an attempt may share a record: nothing removes it alone.
func canBundle(a *relay.AttemptRecord) bool {
	return a.Pos > 0 && relay.Lasting(a.Number) && attemptSize(&a.Attempt) <= bundledMost
}

// appendBundled adds an attempt to the fields of a bundle, behind that of an event.
func appendBundled(b []byte, before relay.Seq, one bundled) []byte {
	b = appendInt(b, bundleSeq, int64(one.seq-before))
	return protowire.AppendBytes(protowire.AppendTag(b, bundleAttempt, protowire.BytesType), one.fields)
}

func (b *bundle) key() []byte { return bundleKey(b.windowAt, b.number) }

func (b *bundle) encode(key []byte) []byte {
	size := 0
	for _, one := range b.attempts {
		size += bundledLen + len(one.fields)
	}
	rec, before := newRecord(size), relay.Seq(0)
	for _, one := range b.attempts {
		rec = appendBundled(rec, before, one)
		before = one.seq
	}
	return seal(key, rec)
}

// decode reads a bundle. The fields of attempts alias rec.
func (b *bundle) decode(key, rec []byte) error {
	b.attempts = b.attempts[:0]
	if len(key) != bundleKeyLen {
		return &CorruptError{keyName(key), errShort}
	}
	b.windowAt, b.number = splitBundleKey(key)
	seq := relay.Seq(0)
	err := decode(key, rec, func(f *field) error {
		switch f.num {
		case bundleSeq:
			seq += relay.Seq(f.int())
		case bundleAttempt:
			b.attempts = append(b.attempts, bundled{seq, f.bytes})
		}
		return nil
	})
	if err != nil {
		first := b.window << windowShift
		return fmt.Errorf("attempts of the positions %d to %d: %w", max(first, 1), first|(1<<windowShift-1), err)
	}
	return nil
}
