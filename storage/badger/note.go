package badger

import (
	"bytes"
	"context"
	"errors"
	"slices"

	bdb "github.com/dgraph-io/badger/v4"

	"github.com/caddyrelay/caddyrelay/relay"
)

// Note implements [relay.Notes].
func (s *Store) Note(ctx context.Context, name string) (note []byte, err error) {
	err = s.read(ctx, func(txn *bdb.Txn) (err error) {
		note, err = readNote(txn, noteKey(name))
		return err
	})
	return note, err
}

// SwapNote implements [relay.Notes].
func (s *Store) SwapNote(ctx context.Context, name string, old, value []byte) (bool, error) {
	if err := relay.CheckNote(name, value); err != nil {
		return false, err
	}
	r := &noteRequest{name: name, old: old, value: value, done: make(chan error, 1)}
	if err := s.submit(ctx, r); err != nil {
		return false, err
	}
	return r.swapped, nil
}

// noteRequest is a note on its way.
type noteRequest struct {
	name       string
	old, value []byte
	done       chan error

	swapped bool
}

// plan implements request. The committer is the only writer: what it reads stays as it is
// until it has written.
func (r *noteRequest) plan(c *committer) error {
	key := noteKey(r.name)
	kept, err := readNote(c.transaction(), key)
	if err != nil || !bytes.Equal(kept, r.old) {
		return err
	}
	need := record(noteSize(r.name, r.value))
	if err := c.s.space.admit(need.size, false); err != nil {
		return err
	}
	if err := c.room(need); err != nil {
		return err
	}
	c.put(key, encodeNote(key, r.value))
	r.swapped = true
	return nil
}

// settle implements request.
func (r *noteRequest) settle(error) {}

// answer implements request.
func (r *noteRequest) answer() chan error { return r.done }

func noteKey(name string) []byte {
	return append(slices.Clone(noteKeys), name...)
}

// noteValue is the only field of a note.
const noteValue = 1

// noteSize is at least what a note takes with its key.
func noteSize(name string, value []byte) int {
	return len(noteKeys) + len(name) + frameLen + maxStringLen + len(value)
}

func encodeNote(key, value []byte) []byte {
	return seal(key, appendBytes(newRecord(maxStringLen+len(value)), noteValue, value))
}

func decodeNote(key, rec []byte) (note []byte, err error) {
	err = decode(key, rec, func(f *field) error {
		if f.num == noteValue {
			note = bytes.Clone(f.bytes)
		}
		return nil
	})
	return note, err
}

// readNote returns nil if there is none.
func readNote(txn *bdb.Txn, key []byte) (note []byte, err error) {
	err = get(txn, key, func(rec []byte) (err error) {
		note, err = decodeNote(key, rec)
		return err
	})
	if errors.Is(err, bdb.ErrKeyNotFound) {
		return nil, nil
	}
	return note, err
}
