package badger

import (
	"errors"
	"slices"

	bdb "github.com/dgraph-io/badger/v4"

	"github.com/caddyrelay/caddyrelay/relay"
)

// eachBundle passes the records of a window, oldest first.
func eachBundle(txn *bdb.Txn, at windowAt, fn func(key, rec []byte) error) error {
	return scan(txn, windowKeys(at), fn)
}

// windowKeys returns the prefix of the keys of a window's bundles.
func windowKeys(at windowAt) []byte { return bundleKey(at, 0)[:bundleKeyLen-8] }

// attemptsOf returns all that is kept of the attempts of one delivery. pos is 0 if it is not
// known.
func attemptsOf(txn *bdb.Txn, seq relay.Seq, sub uint32, pos uint64) ([]relay.Attempt, error) {
	var attempts []relay.Attempt
	prefix := attemptKey(seq, sub, 0)[:attemptKeyLen-4]
	err := scan(txn, prefix, func(key, rec []byte) error {
		a, err := decodeAttempt(key, rec)
		attempts = append(attempts, a)
		return err
	})
	if err != nil || pos == 0 {
		return attempts, err
	}
	var b bundle
	err = eachBundle(txn, windowOf(sub, pos), func(key, rec []byte) error {
		err := b.decode(key, rec)
		for i := 0; i < len(b.attempts) && err == nil; i++ {
			if b.attempts[i].seq == seq {
				var a relay.Attempt
				a, err = decodeAttemptFields(key, b.attempts[i].fields)
				attempts = append(attempts, a)
			}
		}
		return err
	})
	return newest(attempts), err
}

// newest orders attempts by their numbers. One that was made again, after a crash in which
// its outcome was lost, counts as it was made last.
func newest(attempts []relay.Attempt) []relay.Attempt {
	slices.SortStableFunc(attempts, func(a, b relay.Attempt) int {
		if a.Number != b.Number {
			return a.Number - b.Number
		}
		return a.At.Compare(b.At)
	})
	kept := attempts[:0]
	for i, a := range attempts {
		if i+1 == len(attempts) || attempts[i+1].Number != a.Number {
			kept = append(kept, a)
		}
	}
	return kept
}

// placesOf returns the places of an event, and when it was erased; nothing if there is no
// such event, or if it cannot be read.
func placesOf(txn *bdb.Txn, seq relay.Seq) (found storedEvent, err error) {
	key := eventKey(seq)
	err = get(txn, key, func(rec []byte) (err error) {
		found, err = decodeEvent(key, rec, placesOnly)
		return err
	})
	if corrupt := (*CorruptError)(nil); errors.Is(err, bdb.ErrKeyNotFound) || errors.As(err, &corrupt) {
		return storedEvent{}, nil
	}
	return found, err
}
