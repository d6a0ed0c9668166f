package badger

import (
	"encoding/binary"
	"errors"
	"fmt"

	bdb "github.com/dgraph-io/badger/v4"
	"google.golang.org/protobuf/encoding/protowire"
)

// A group that is larger than a transaction of Badger's is written twice: first all of it into
// records of its own, of which the last says that it is whole, then, in as many transactions as
// that takes, to where it belongs. After a crash it is carried out if it is whole, and forgotten
// if it is not: nobody was told of it. So it is there as a whole or not at all, as in redo
// logging (Gray and Reuter, Transaction Processing, 1993, chapter 10).
type redo struct{ changes []change }

// change is a record that is put, or removed.
type change struct {
	key, rec []byte
	gone     bool
	// expires is Badger's ExpiresAt.
	expires uint64
}

// Fields of a change among others.
const (
	changeKey     = 1
	changeRecord  = 2
	changeGone    = 3
	changeExpires = 4
)

// Fields of a part of a group.
const (
	redoChanges = 1 // of all of it, as they come: a change may go on in the next part
	redoParts   = 2 // in the last part: how many there are
)

// redoPart is how much of a group stands in one record, which must stay out of the value log.
const redoPart = valueThreshold - 64<<10

func redoKey(n int) []byte { return binary.BigEndian.AppendUint32([]byte{redoPrefix}, uint32(n)) }

// write puts a change into a transaction.
func (one *change) write(txn *bdb.Txn) error {
	if one.gone {
		return txn.Delete(one.key)
	}
	e := bdb.NewEntry(one.key, one.rec)
	e.ExpiresAt = one.expires
	return txn.SetEntry(e)
}

// parts returns the group as it is written ahead.
func (r *redo) parts() [][]byte {
	var all []byte
	for _, one := range r.changes {
		b := appendBytes(nil, changeKey, one.key)
		b = appendBytes(b, changeRecord, one.rec)
		b = appendBool(b, changeGone, one.gone)
		all = protowire.AppendBytes(all, appendUint(b, changeExpires, one.expires))
	}
	var parts [][]byte
	for len(all) > 0 {
		n := min(len(all), redoPart)
		b := appendBytes(newRecord(n+32), redoChanges, all[:n])
		if all = all[n:]; len(all) == 0 {
			b = appendUint(b, redoParts, uint64(len(parts)+1))
		}
		parts = append(parts, seal(redoKey(len(parts)), b))
	}
	return parts
}

// commit writes the group, each transaction by a commit of its own.
func (r *redo) commit(w *inTurn) error {
	parts := r.parts()
	if err := writeAhead(w, parts); err != nil {
		return err
	}
	return r.carryOut(w, len(parts))
}

// writeAhead writes the parts, the last one when the others are on the disk.
func writeAhead(w *inTurn, parts [][]byte) error {
	for n, part := range parts {
		if err := w.write(func(txn *bdb.Txn) error { return txn.Set(redoKey(n), part) }); err != nil {
			return err
		}
		if err := w.flush(); err != nil {
			return err
		}
	}
	return nil
}

// carryOut writes the changes to where they belong, and removes the parts.
func (r *redo) carryOut(w *inTurn, parts int) error {
	for i := range r.changes {
		if err := w.write(r.changes[i].write); err != nil {
			return err
		}
	}
	return forgetParts(w, parts)
}

// forgetParts removes the parts, the last one first: the others count for nothing without it.
func forgetParts(w *inTurn, parts int) error {
	for n := parts - 1; n >= 0; n-- {
		if err := w.write(func(txn *bdb.Txn) error { return txn.Delete(redoKey(n)) }); err != nil {
			return err
		}
	}
	return w.flush()
}

// leftover is a group that was being written when the database was last open.
type leftover struct {
	redo
	// parts is one more than the number of the last part that is there, size what all of them take.
	parts int
	size  int64
	// whole says that it is to be carried out.
	whole bool
}

// findLeftover returns the group that was not carried out to the end, or nil. One that cannot be
// read comes with an error.
func findLeftover(db *database) (*leftover, error) {
	var left leftover
	var all []byte
	var failed error
	err := db.view(func(txn *bdb.Txn) error {
		return each(txn, redoPrefix, func(key, rec []byte) error {
			left.size += int64(len(rec))
			number, there := int(binary.BigEndian.Uint32(key[1:])), left.parts
			left.parts = number + 1
			err := decode(key, rec, func(f *field) error {
				switch f.num {
				case redoChanges:
					all = append(all, f.bytes...)
				case redoParts:
					left.whole = true
					if f.value != uint64(left.parts) {
						return fmt.Errorf("it is the last of %d parts", f.value)
					}
				}
				return nil
			})
			if err == nil && number != there {
				err = &CorruptError{keyName(key), errors.New("the part before it is gone")}
			}
			failed = errors.Join(failed, err)
			return nil
		})
	})
	if err != nil || left.parts == 0 {
		return nil, err
	}
	if left.whole && failed == nil {
		left.changes, failed = decodeChanges(all)
	}
	return &left, failed
}

func decodeChanges(all []byte) (changes []change, err error) {
	for len(all) > 0 {
		b, n := protowire.ConsumeBytes(all)
		if n < 0 {
			return nil, protowire.ParseError(n)
		}
		all = all[n:]
		var one change
		err := eachField(b, func(f *field) error {
			switch f.num {
			case changeKey:
				one.key = f.bytes
			case changeRecord:
				one.rec = f.bytes
			case changeGone:
				one.gone = f.value != 0
			case changeExpires:
				one.expires = f.value
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
		changes = append(changes, one)
	}
	return changes, nil
}

// finishLeftover carries out the group that was being written when the database was last open, or
// forgets it.
func (im *image) finishLeftover(o *Options) error {
	left, err := findLeftover(im.db)
	if err != nil {
		return fmt.Errorf("finishing what was being written when the store was last open: %w; restore the directory from a backup", err)
	}
	if left == nil {
		return nil
	}
	if err := im.roomFor(o, "to finish what was being written", left.size); err != nil {
		return err
	}
	return left.finish(im.db)
}

// finish carries it out, or forgets it.
func (l *leftover) finish(db *database) error {
	w := newInTurn(db, (*database).commit)
	defer w.end()
	if l.whole {
		return l.carryOut(w, l.parts)
	}
	return forgetParts(w, l.parts)
}
