package badger

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"time"

	bdb "github.com/dgraph-io/badger/v4"
	"go.uber.org/zap"

	"github.com/caddyrelay/caddyrelay/relay"
)

// Gap is a run of events that were acknowledged and are gone.
type Gap struct {
	// First and Last are their ordinals: the store numbers its events from 1.
	First, Last uint64
	// After and Before are when the events around them were accepted: they themselves
	// were accepted between. After is zero if nothing is left before the gap.
	After, Before time.Time
}

// LossError means that events are gone whose senders were told that they are stored.
type LossError struct {
	Dir  string
	Gaps []Gap
	// Token makes [Open] go on without them, as Options.AcceptLoss. It fits this loss and
	// no other.
	Token string
	// Kept is the directory with a copy of the log that Badger has cut, or empty.
	Kept string

	wrongToken bool
}

// Count is how many events are gone.
func (e *LossError) Count() uint64 {
	var n uint64
	for _, g := range e.Gaps {
		n += g.Last - g.First + 1
	}
	return n
}

func (e *LossError) Error() string {
	first, last := e.Gaps[0], e.Gaps[len(e.Gaps)-1]
	since := "the store was made"
	if !first.After.IsZero() {
		since = first.After.UTC().Format(time.RFC3339)
	}
	text := fmt.Sprintf("%d acknowledged events are gone from %s: of the numbers %d to %d, accepted between %s and %s; a file of the store is damaged, or was replaced by an older one. "+
		"Restore the directory from a backup. To start without them, write into the block of storage: accept_loss %s",
		e.Count(), e.Dir, first.First, last.Last, since, last.Before.UTC().Format(time.RFC3339), e.Token)
	if e.Kept != "" {
		text += "; the log as it was before it was cut is kept in " + e.Kept
	}
	if e.wrongToken {
		text += " (the accept_loss that is configured belongs to another loss)"
	}
	return text
}

// Bounds of the look for gaps when a store is opened: what Badger may have held in its
// logs, and so may have dropped.
const (
	recentEvents = 100_000
	recentBytes  = 96 << 20
)

// findLoss compares the database with the sentinel, and looks for gaps among the newest
// events.
func (im *image) findLoss() (*LossError, error) {
	gaps, err := im.findGaps(recentEvents, recentBytes)
	if err != nil {
		return nil, err
	}
	if mark := im.sentinel.last; mark.ordinal > im.tail.ordinal {
		gap := Gap{First: im.tail.ordinal + 1, Last: mark.ordinal, Before: mark.seq.Time()}
		if im.tail.last > 0 {
			gap.After = im.tail.last.Time()
		}
		gaps = append(gaps, gap)
	}
	if len(gaps) == 0 {
		return nil, nil
	}
	loss := &LossError{Dir: im.dir, Gaps: gaps, Kept: kept(im.dir)}
	hash := sha256.New()
	fmt.Fprintf(hash, "%x %d %d", im.sentinel.last.id, im.tail.lost, im.sentinel.last.ordinal)
	for _, g := range gaps {
		fmt.Fprintf(hash, " %d-%d", g.First, g.Last)
	}
	loss.Token = hex.EncodeToString(hash.Sum(nil)[:6])
	return loss, nil
}

// findGaps looks for ordinals that are missing, from the newest event backwards, down to
// where trimming explains them.
func (im *image) findGaps(events int, bytes int64) (gaps []Gap, err error) {
	err = im.db.view(func(txn *bdb.Txn) error {
		// With all versions it does not search below what trimming removed.
		it := txn.NewIterator(bdb.IteratorOptions{Reverse: true, AllVersions: true, Prefix: []byte{eventPrefix}})
		defer it.Close()
		above, seqAbove := im.tail.ordinal+1, im.tail.last
		note := func(ordinal uint64, at relay.Seq) {
			if ordinal+1 < above {
				gap := Gap{First: ordinal + 1, Last: above - 1, Before: seqAbove.Time()}
				if at > 0 {
					gap.After = at.Time()
				}
				gaps = append([]Gap{gap}, gaps...)
			}
			above, seqAbove = ordinal, at
		}
		// Versions of one key come one after the other, the newest last.
		var pending struct {
			seq     relay.Seq
			ordinal uint64 // 0: unreadable
			there   bool
		}
		settle := func() {
			if !pending.there {
				return
			}
			if pending.ordinal == 0 { // it is there; who reads it is told
				pending.ordinal = above - 1
			}
			note(pending.ordinal, pending.seq)
		}
		for it.Seek(eventKey(^relay.Seq(0))); it.Valid() && events > 0 && bytes > 0; it.Next() {
			item := it.Item()
			seq, err := seqOf(item.Key())
			if err != nil {
				return &CorruptError{keyName(item.Key()), err}
			}
			if seq != pending.seq {
				settle()
			}
			pending.seq, pending.ordinal, pending.there = seq, 0, false
			if seq <= im.tail.known {
				return nil
			}
			if item.IsDeletedOrExpired() {
				continue
			}
			events--
			bytes -= item.EstimatedSize()
			pending.there = true
			err = item.Value(func(rec []byte) error {
				found, err := decodeEvent(item.Key(), rec, placesOnly)
				pending.ordinal = found.ordinal
				return err
			})
			if corrupt := (*CorruptError)(nil); errors.As(err, &corrupt) {
				pending.ordinal = 0
			} else if err != nil {
				return err
			}
		}
		settle()
		if !it.Valid() && im.tail.known == 0 {
			note(0, 0) // there is nothing before the first event
		}
		return nil
	})
	return gaps, err
}

// acceptLoss goes on without what is gone: its numbers are not given again.
func (im *image) acceptLoss() error {
	for i, g := range im.loss.Gaps {
		if i == 100 {
			im.log.Error("and more", zap.Int("gaps", len(im.loss.Gaps)-i))
			break
		}
		im.log.Error("acknowledged events are gone, and their loss is accepted by accept_loss",
			zap.Uint64("first", g.First), zap.Uint64("last", g.Last), zap.Uint64("events", g.Last-g.First+1),
			zap.Time("accepted_after", g.After), zap.Time("accepted_before", g.Before))
	}
	mark := im.sentinel.last
	if err := im.writeIdentity(); err != nil {
		return err
	}
	im.tail.last, im.tail.ordinal = max(im.tail.last, mark.seq), max(im.tail.ordinal, mark.ordinal)
	im.tail.lost += im.loss.Count()
	im.tail.known = im.tail.last
	// A head that was found among entries with gaps is not the true one.
	for _, u := range im.subs.byID {
		if err := im.mendHead(u); err != nil {
			return err
		}
	}
	return im.db.Update(func(txn *bdb.Txn) error { return txn.Set(tailKey, encodeTail(im.tail)) })
}

// mendHead moves the head of a log above every position that anything speaks of.
func (im *image) mendHead(u *sub) error {
	p := &u.current.progress
	head := max(p.Head, p.Low)
	for _, s := range p.Done {
		head = max(head, s.To)
	}
	for _, e := range u.current.spans {
		head = max(head, e.To)
	}
	err := im.db.view(func(txn *bdb.Txn) error {
		heads := newHeadFinder(txn)
		defer heads.close()
		last, err := heads.last(u.id)
		head = max(head, last)
		return err
	})
	if err != nil || head == p.Head {
		return err
	}
	p.Head = head
	u.next = u.current
	key := progressKey(u.id)
	return im.db.Update(func(txn *bdb.Txn) error { return txn.Set(key, encodeProgress(key, &u.current)) })
}
