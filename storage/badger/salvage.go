package badger

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	bdb "github.com/dgraph-io/badger/v4"
	"github.com/dgraph-io/badger/v4/pb"
	"github.com/dgraph-io/ristretto/v2/z"
	"github.com/dustin/go-humanize"
	"go.uber.org/zap"

	"github.com/caddyrelay/caddyrelay/relay"
	"github.com/caddyrelay/caddyrelay/storage/badger/files"
)

// salvage copies what can be read of a damaged database into a new one beside it, and
// makes its records agree with each other again. It changes none of the damaged files, and
// returns the directory of the new one. The caller removes that, or swaps it in.
func salvage(x *examination, damage *DamageError, mark acked, o *Options) (report *Salvage, err error) {
	in := filepath.Join(x.dir, salvagePrefix+damage.Token+stageNew)
	if err := os.RemoveAll(in); err != nil {
		return nil, err
	}
	if err := roomForSalvage(x.dir, o); err != nil {
		return nil, err
	}
	if err := os.Mkdir(in, 0o700); err != nil {
		return nil, err
	}
	o.step("begun")
	db, err := bdb.Open(salvageOptions(in, o.watching(in)))
	if err != nil {
		return nil, fmt.Errorf("making a new database in %s: %w", in, err)
	}
	m := &mender{db: db, dir: x.dir, mark: mark, clock: o.Clock, report: &Salvage{Damage: damage}}
	err = m.copy(x)
	o.step("copied")
	if err == nil {
		err = m.mend()
	}
	o.step("mended")
	if err = errors.Join(err, db.Close()); err != nil {
		return nil, err
	}
	made, err := makeSentinel(in, acked{m.identity.id, m.tail.ordinal, m.tail.last})
	if err == nil {
		err = made.close()
	}
	if err == nil {
		err = m.check(in, o)
	}
	return m.report, err
}

// salvageOptions are those of the new database. It is written to the disk as a whole, in
// tables that take little memory to build.
func salvageOptions(dir string, o *Options) bdb.Options {
	opened := badgerOptions(dir, o).WithSyncWrites(false).WithBaseTableSize(8 << 20)
	opened.TableSizeMultiplier = 1
	return opened
}

// roomForSalvage refuses where the volume does not have room for a second copy.
func roomForSalvage(dir string, o *Options) error {
	u := count(dir)
	need := (u.tables+u.logs)*5/4 + u.toOpen()
	if free := o.volume(dir); free >= 0 && free < need {
		if err := os.Remove(filepath.Join(dir, ballastName)); err == nil {
			free = o.volume(dir)
		}
		if free < need {
			return fmt.Errorf("%w: %s are free on the volume of %s, and a copy of what can be read takes up to %s; make room on it, and start again",
				relay.ErrFull, humanize.IBytes(uint64(free)), dir, humanize.IBytes(uint64(need)))
		}
	}
	return nil
}

// accept salvages a damaged store and puts the result in its place.
func accept(x *examination, damage *DamageError, mark acked, o *Options) error {
	o.Logger.Error("the store is damaged, and what can be read of it is salvaged, by accept_loss", zap.String("directory", x.dir))
	report, err := salvage(x, damage, mark, o)
	if err != nil {
		return fmt.Errorf("salvaging what can be read: %w", err)
	}
	out := filepath.Join(x.dir, damagedPrefix+damage.Token)
	if err := report.write(out); err != nil {
		return fmt.Errorf("writing the list of what is gone: %w", err)
	}
	in := filepath.Join(x.dir, salvagePrefix+damage.Token)
	if err := errors.Join(syncDirectory(in+stageNew), os.Rename(in+stageNew, in+stageDone)); err != nil {
		return err
	}
	o.step("done")
	if err := syncDirectory(x.dir); err != nil {
		return err
	}
	if err := swap(x.dir, damage.Token, stageDone, o); err != nil {
		return fmt.Errorf("putting what was salvaged in its place: %w", err)
	}
	report.log(o.Logger, out)
	return nil
}

// copy writes the newest version of every record that can be read.
func (m *mender) copy(x *examination) error {
	merged, err := newMerger(x)
	if err != nil {
		return err
	}
	w := m.db.NewStreamWriter()
	if err := w.Prepare(); err != nil {
		return err
	}
	const flushAt = 1 << 20
	buf := z.NewBuffer(2*flushAt, "salvage")
	defer func() { _ = buf.Release() }()
	err = merged.each(func(e files.Entry) error {
		bdb.KVToBuffer(&pb.KV{Key: e.Key, Value: e.Value, Version: e.Version, StreamId: 1}, buf)
		if buf.LenNoPadding() < flushAt {
			return nil
		}
		err := w.Write(buf)
		buf.Reset()
		return err
	})
	if err == nil {
		err = w.Write(buf)
	}
	m.report.Unread = merged.unread
	if err != nil {
		w.Cancel()
		return err
	}
	return w.Flush()
}

// check opens the new store as a start does, and reads all of it.
func (m *mender) check(dir string, o *Options) error {
	plain := *o
	plain.AcceptLoss = ""
	im, err := openImage(dir, &plain, false)
	if err != nil {
		return fmt.Errorf("opening what was salvaged: %w", err)
	}
	verified, err := im.verify()
	if err = errors.Join(err, im.close()); err != nil {
		return fmt.Errorf("reading what was salvaged: %w", err)
	}
	m.report.Events = verified.Events
	for _, f := range verified.Findings {
		if !slices.Contains(m.report.Findings, f) {
			m.report.find("%s", f)
		}
	}
	return nil
}
