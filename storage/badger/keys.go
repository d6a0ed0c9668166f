package badger

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/caddyrelay/caddyrelay/relay"
)

// First bytes of keys. They are part of the storage format.
//
// What is written all the time stands behind the events: then new tables reach from the
// newest event on, and to merge them touches no older one. With progress and attempts before
// the events, a table with some of both reached over all events, and each merge wrote them
// anew.
const (
	movedPrefix    = 'A' // the ID of a moved event follows
	eventPrefix    = 'E'
	idemPrefix     = 'I'
	idemAgePrefix  = 'J'
	logPrefix      = 'L'
	metaPrefix     = 'M'
	namePrefix     = 'N'
	progressPrefix = 'P'
	redoPrefix     = 'R' // a part of a group that is larger than a transaction
	attemptPrefix  = 'T'
	bundlePrefix   = 'W' // of the attempts of a window
	exceptPrefix   = 'X'

	// They stood before the events, up to format 4.
	formerBundlePrefix   = 'B'
	formerProgressPrefix = 'C'
)

// allPrefixes are the first bytes of all keys, of all formats.
var allPrefixes = string([]byte{
	movedPrefix, eventPrefix, idemPrefix, idemAgePrefix, logPrefix, metaPrefix, namePrefix, progressPrefix, attemptPrefix,
	bundlePrefix, exceptPrefix, redoPrefix, formerBundlePrefix, formerProgressPrefix,
})

// Lengths of keys.
const (
	eventKeyLen    = 1 + 8
	logKeyLen      = 1 + 4 + 8
	progressKeyLen = 1 + 4
	exceptKeyLen   = 1 + 1 + 4 + 8
	attemptKeyLen  = 1 + 8 + 4 + 4
	bundleKeyLen   = 1 + 4 + 8 + 8
	idemKeyLen     = 1 + 16
	idemAgeKeyLen  = 1 + 8 + 16
)

// Keys of meta records.
var (
	storeKey = []byte{metaPrefix, 's', 't', 'o', 'r', 'e'}
	tailKey  = []byte{metaPrefix, 't', 'a', 'i', 'l'}
	noteKeys = []byte{metaPrefix, 'n', 'o', 't', 'e', '/'} // the name follows
)

// class separates exceptions, so that those which are looked for are not met among
// others: open ones are listed without stepping over a million failed ones, and the
// few spans are read whole when the store opens. The numbers are part of the format.
type class byte

const (
	classOpen   class = 1 // one delivery with something to do
	classClosed class = 2 // one delivery that is over
	classReplay class = 3 // replay spans
	classSpan   class = 4 // other spans, open or closed
)

// classOf returns where e is kept.
func classOf(e *relay.Exception) class {
	switch {
	case e.Kind == relay.Replay:
		return classReplay
	case e.From != e.To:
		return classSpan
	case e.Kind.Closed():
		return classClosed
	}
	return classOpen
}

func eventKey(s relay.Seq) []byte {
	return binary.BigEndian.AppendUint64([]byte{eventPrefix}, uint64(s))
}

func nameKey(name string) []byte { return append([]byte{namePrefix}, name...) }

func logKey(sub uint32, pos uint64) []byte {
	return binary.BigEndian.AppendUint64(logKeys(sub, logKeyLen), pos)
}

// splitLogKey is the reverse of logKey. The length of the key must be right.
func splitLogKey(key []byte) (sub uint32, pos uint64) {
	return binary.BigEndian.Uint32(key[1:]), binary.BigEndian.Uint64(key[5:])
}

// logKeys returns the prefix of the keys of a subscription's log.
func logKeys(sub uint32, room int) []byte {
	return binary.BigEndian.AppendUint32(append(make([]byte, 0, room), logPrefix), sub)
}

func progressKey(sub uint32) []byte {
	return binary.BigEndian.AppendUint32([]byte{progressPrefix}, sub)
}

func exceptKey(c class, sub uint32, from uint64) []byte {
	return binary.BigEndian.AppendUint64(exceptKeys(c, sub, exceptKeyLen), from)
}

// exceptKeys returns the prefix of the keys of a subscription's exceptions.
func exceptKeys(c class, sub uint32, room int) []byte {
	return binary.BigEndian.AppendUint32(append(make([]byte, 0, room), exceptPrefix, byte(c)), sub)
}

func attemptKey(s relay.Seq, sub uint32, number int) []byte {
	key := make([]byte, 0, attemptKeyLen)
	key = binary.BigEndian.AppendUint64(append(key, attemptPrefix), uint64(s))
	key = binary.BigEndian.AppendUint32(key, sub)
	return binary.BigEndian.AppendUint32(key, uint32(number))
}

func bundleKey(at windowAt, number uint64) []byte {
	key := make([]byte, 0, bundleKeyLen)
	key = binary.BigEndian.AppendUint32(append(key, bundlePrefix), at.sub)
	return binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(key, at.window), number)
}

// splitBundleKey is the reverse of bundleKey. The length of the key must be right.
func splitBundleKey(key []byte) (at windowAt, number uint64) {
	return windowAt{binary.BigEndian.Uint32(key[1:]), binary.BigEndian.Uint64(key[5:])}, binary.BigEndian.Uint64(key[13:])
}

// movedKey is where the Seq is kept of an event that has the ID of another store.
func movedKey(id string) []byte { return append([]byte{movedPrefix}, id...) }

// idemHash is what stands for an idempotency key.
type idemHash = relay.KeyHash

func idemKey(h idemHash) []byte {
	return append(append(make([]byte, 0, idemKeyLen), idemPrefix), h[:]...)
}

func idemAgeKey(stored relay.Seq, h idemHash) []byte {
	key := append(make([]byte, 0, idemAgeKeyLen), idemAgePrefix)
	return append(binary.BigEndian.AppendUint64(key, uint64(stored)), h[:]...)
}

// seqOf returns the number behind the first byte of an E, T or J key.
func seqOf(key []byte) (relay.Seq, error) {
	if len(key) < eventKeyLen {
		return 0, fmt.Errorf("the key %s is too short", keyName(key))
	}
	return relay.Seq(binary.BigEndian.Uint64(key[1:])), nil
}

// keyName writes a key for an error message: its letter, then hexadecimal.
func keyName(key []byte) string {
	if len(key) == 0 {
		return "(empty)"
	}
	if key[0] == namePrefix || key[0] == metaPrefix {
		return fmt.Sprintf("%c:%q", key[0], key[1:])
	}
	return fmt.Sprintf("%c:%x", key[0], key[1:])
}

// splitExceptKey is the reverse of exceptKey.
func splitExceptKey(key []byte) (c class, sub uint32, from uint64, err error) {
	if len(key) != exceptKeyLen {
		return 0, 0, 0, errors.New("its key has a wrong length")
	}
	return class(key[1]), binary.BigEndian.Uint32(key[2:]), binary.BigEndian.Uint64(key[6:]), nil
}
