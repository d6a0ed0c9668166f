package badger

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"

	bdb "github.com/dgraph-io/badger/v4"

	"github.com/caddyrelay/caddyrelay/relay"
)

// Report is what Verify has found.
type Report struct {
	// Events is the number of events that are there, Removed of those that retention took,
	// Lost of those whose loss was accepted before.
	Events, Removed, Lost uint64
	// Subscriptions is the number of logs, Entries that of their entries.
	Subscriptions int
	Entries       uint64
	// Loss is what is gone without having been accepted, or nil.
	Loss *LossError
	// Damage is what of the files cannot be read, or nil; then nothing was opened, and
	// Salvage is what going on with the rest would leave, nil if that is not known.
	Damage  *DamageError
	Salvage *Salvage
	// Findings are other things that are wrong, at most a hundred; Found is how many.
	Findings []string
	Found    int
}

// Sound reports whether nothing is wrong.
func (r *Report) Sound() bool { return r.Loss == nil && r.Damage == nil && r.Found == 0 }

func (r *Report) find(format string, args ...any) {
	if r.Found++; r.Found <= 100 {
		r.Findings = append(r.Findings, fmt.Sprintf(format, args...))
	}
}

// Verify reads everything in a store that is not open: checksums of blocks and records,
// ordinals, the places of events against the entries of logs, exceptions. It takes the
// directory's lock, and opens the database as a start does, which ends logs at the first
// byte that cannot be read.
func Verify(dir string, o Options) (*Report, error) {
	o.setDefaults()
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	if _, _, err := readSentinel(dir); errors.Is(err, errSentinelMissing) {
		if _, err := os.Stat(filepath.Join(dir, manifestName)); err != nil && !swapping(dir) {
			return nil, fmt.Errorf("checking the store in %s: there is no store; is the directory right?", dir)
		}
	}
	if o.rest, err = newSpace(dir, &o).openOn(); err != nil {
		return nil, fmt.Errorf("checking the store in %s: %w", dir, err)
	}
	im, err := openImage(dir, &o, true)
	if damage, ok := errors.AsType[*DamageError](err); ok {
		return rehearse(dir, &o, damage)
	}
	if err != nil {
		return nil, fmt.Errorf("checking the store in %s: %w", dir, err)
	}
	report, err := im.verify()
	if err = errors.Join(err, im.close()); err != nil {
		return nil, fmt.Errorf("checking the store in %s: %w", dir, err)
	}
	return report, nil
}

// rehearse salvages a damaged store, to find out what that leaves, and clears it away.
func rehearse(dir string, o *Options, damage *DamageError) (*Report, error) {
	report := &Report{Damage: damage}
	unlock, err := lock(dir)
	if err != nil {
		return nil, err
	}
	defer unlock()
	mark, _, err := readSentinel(dir)
	if err != nil && !errors.Is(err, errSentinelMissing) && !errors.Is(err, errSentinelDamaged) {
		return nil, err
	}
	x, again, err := examine(dir, o, mark)
	if err != nil || again == nil {
		return report, err
	}
	if report.Salvage, err = salvage(x, again, mark, o); err != nil {
		report.Salvage = nil
		report.find("what can still be read was not found out: %v", err)
	}
	return report, finishSwap(dir, o) // removes the copy
}

func (im *image) verify() (*Report, error) {
	r := &Report{Removed: im.tail.removed, Lost: im.tail.lost, Subscriptions: len(im.subs.byID), Loss: im.loss}
	if err := im.db.VerifyChecksum(); err != nil {
		r.find("a table is damaged: %v", err)
	}
	gaps, err := im.findGaps(math.MaxInt, math.MaxInt64)
	if err != nil {
		return nil, err
	}
	err = im.db.view(func(txn *bdb.Txn) error {
		for _, look := range []func(*bdb.Txn, *Report) error{im.verifyEvents, im.verifyLogs, im.verifyOthers} {
			if err := look(txn, r); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	// Every number that was ever given is there, removed, or was lost before.
	missing := int64(im.tail.ordinal) - int64(r.Events+r.Removed+r.Lost)
	for _, g := range gaps {
		missing -= int64(g.Last - g.First + 1)
		if im.loss == nil || !slices.Contains(im.loss.Gaps, g) {
			r.find("the events %d to %d are gone, accepted between %v and %v", g.First, g.Last, g.After.UTC(), g.Before.UTC())
		}
	}
	if missing != 0 {
		r.find("%d events more are missing than are accounted for, among older ones", missing)
	}
	return r, nil
}

// verifyEvents reads every event, and looks for the entries that it should have.
func (im *image) verifyEvents(txn *bdb.Txn, r *Report) error {
	entries := newFinder(txn)
	defer entries.close()
	var removing relay.Seq // what retention has begun to remove: one event, until it goes on
	return each(txn, eventPrefix, func(key, rec []byte) error {
		r.Events++
		found, err := decodeEvent(key, rec, wholeEvent)
		if err != nil {
			r.find("%v", err)
			return nil
		}
		for _, p := range found.places {
			u, err := named(im.subs.byID, p.sub)
			if err != nil {
				r.find("the event at %d: %v", found.event.Seq, err)
				continue
			}
			c, err := entries.of(p.sub, p.pos)
			switch {
			case err != nil:
				r.find("subscription %q: %v", u.name, err)
			case (c == nil || c.at(p.pos) == 0) && u.current.finished(p.pos) && (removing == 0 || removing == found.event.Seq):
				removing = found.event.Seq
			case c == nil || c.at(p.pos) == 0:
				r.find("subscription %q: the entry at %d is gone, of the event at %d", u.name, p.pos, found.event.Seq)
			case c.at(p.pos) != found.event.Seq:
				r.find("subscription %q: the entry at %d names the event at %d in place of %d", u.name, p.pos, c.at(p.pos), found.event.Seq)
			}
		}
		return nil
	})
}

// verifyLogs reads every entry, looks for its event, and for positions without entries
// that are not finished.
func (im *image) verifyLogs(txn *bdb.Txn, r *Report) error {
	at := make(map[uint32]uint64)
	for c, err := range chunks(txn, []byte{logPrefix}, []byte{logPrefix}) {
		damaged, corrupt := (*chunkError)(nil), (*CorruptError)(nil)
		switch {
		case errors.As(err, &damaged):
			im.findDamaged(r, damaged, at)
			continue
		case errors.As(err, &corrupt):
			r.find("%v", err)
			continue
		case err != nil:
			return err
		}
		u, err := named(im.subs.byID, c.sub)
		if err != nil {
			r.find("the entries from %d on: %v", c.first, err)
			continue
		}
		for pos, ok := c.next(c.first); ok; pos, ok = c.next(pos + 1) {
			r.Entries++
			u.findMissing(r, at[u.id]+1, pos-1)
			at[u.id] = pos
			there, err := exists(txn, eventKey(c.at(pos)))
			if err != nil {
				return err
			}
			if !there {
				r.find("subscription %q: the event at %d is gone, of the entry at %d", u.name, c.at(pos), pos)
			}
		}
	}
	for _, u := range im.subs.byID {
		u.findMissing(r, at[u.id]+1, u.current.progress.Head)
	}
	return nil
}

// findDamaged notes the positions that a damaged chunk has taken with it.
func (im *image) findDamaged(r *Report, damaged *chunkError, at map[uint32]uint64) {
	u, err := named(im.subs.byID, damaged.sub)
	if err != nil {
		r.find("%v, of a subscription that is not known: %v", damaged, err)
		return
	}
	u.findMissing(r, at[u.id]+1, damaged.From-1)
	damaged.To = max(damaged.From, min(damaged.To, u.current.progress.Head))
	r.find("subscription %q: %v", u.name, damaged)
	at[u.id] = damaged.To
}

// findMissing notes positions that have no entry and are not finished.
func (u *sub) findMissing(r *Report, from, to uint64) {
	for pos := max(from, u.current.progress.Low+1); pos <= to; pos++ {
		if !u.current.finished(pos) {
			r.find("subscription %q: there is no entry at %d, and it is not finished", u.name, pos)
		}
	}
}

// verifyOthers reads exceptions, attempts, idempotency keys and notes.
func (im *image) verifyOthers(txn *bdb.Txn, r *Report) error {
	for prefix, decode := range map[byte]func(key, rec []byte) error{
		exceptPrefix: func(key, rec []byte) error {
			e, err := decodeException(key, rec)
			if err != nil {
				return err
			}
			_, id, _, err := splitExceptKey(key)
			if err != nil {
				return err
			}
			u, err := named(im.subs.byID, id)
			if err != nil {
				return err
			}
			if e.To > u.current.progress.Head {
				return fmt.Errorf("subscription %q: an exception of %d to %d is beyond the head of the log, %d", u.name, e.From, e.To, u.current.progress.Head)
			}
			return nil
		},
		attemptPrefix: func(key, rec []byte) error {
			_, err := decodeAttempt(key, rec)
			return err
		},
		bundlePrefix: func(key, rec []byte) error {
			var b bundle
			err := b.decode(key, rec)
			for i := 0; i < len(b.attempts) && err == nil; i++ {
				_, err = decodeAttemptFields(key, b.attempts[i].fields)
			}
			return err
		},
		idemPrefix: func(key, rec []byte) error {
			_, err := decodeKnown(key, rec)
			return err
		},
		metaPrefix: func(key, rec []byte) error {
			if !bytes.HasPrefix(key, noteKeys) {
				return nil // identity and tail were read when the database was opened
			}
			_, err := decodeNote(key, rec)
			return err
		},
	} {
		err := each(txn, prefix, func(key, rec []byte) error {
			if err := decode(key, rec); err != nil {
				r.find("%v", err)
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// each is scan over all keys of a letter.
func each(txn *bdb.Txn, prefix byte, fn func(key, rec []byte) error) error {
	return scan(txn, []byte{prefix}, fn)
}
