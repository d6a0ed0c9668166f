package badger

import (
	"errors"
	"slices"

	bdb "github.com/dgraph-io/badger/v4"

	"github.com/caddyrelay/caddyrelay/relay"
)

// outcome is what the attempts of a delivery say.
type outcome struct {
	delivered bool
	number    int // of the last one
}

func outcomeOf(a *relay.Attempt) outcome {
	return outcome{delivered: a.ErrorKind == relay.KindNone && a.Status/100 == 2, number: a.Number}
}

// or returns the later one of two. What was made twice under one number was delivered if
// one of both says so.
func (o outcome) or(other outcome) outcome {
	switch {
	case o.number > other.number:
		return o
	case o.number < other.number:
		return other
	}
	return outcome{delivered: o.delivered || other.delivered, number: o.number}
}

// bundleReader reads bundles along with the events, which go through the windows of each log
// in order.
type bundleReader struct {
	txn     *bdb.Txn
	windows map[uint32]*readWindow
}

// readWindow is what the bundles of a window say.
type readWindow struct {
	window   uint64
	outcomes map[relay.Seq]outcome
}

// of returns what the bundled attempts of a delivery say, as far as they can be read.
func (r *bundleReader) of(seq relay.Seq, p place) (outcome, error) {
	at := windowOf(p.sub, p.pos)
	w := r.windows[p.sub]
	if w != nil && w.window == at.window {
		return w.outcomes[seq], nil
	}
	w = &readWindow{window: at.window, outcomes: make(map[relay.Seq]outcome)}
	r.windows[p.sub] = w
	var b bundle
	err := eachBundle(r.txn, at, func(key, rec []byte) error {
		if b.decode(key, rec) != nil {
			return nil // mendBundles tells
		}
		for _, one := range b.attempts {
			if a, err := decodeAttemptFields(key, one.fields); err == nil {
				w.outcomes[one.seq] = w.outcomes[one.seq].or(outcomeOf(&a))
			}
		}
		return nil
	})
	return w.outcomes[seq], err
}

// mendBundles takes out attempts of events that are gone, and what cannot be read.
func (m *mender) mendBundles(txn *bdb.Txn) error {
	var b bundle
	return each(txn, bundlePrefix, func(key, rec []byte) error {
		if err := b.decode(key, rec); err != nil {
			m.report.find("%v", err)
			return m.writes.Delete(slices.Clone(key))
		}
		m.tail.bundles = max(m.tail.bundles, b.number)
		var failed error
		before := len(b.attempts)
		b.attempts = slices.DeleteFunc(b.attempts, func(one bundled) bool {
			there, err := exists(txn, eventKey(one.seq))
			failed = errors.Join(failed, err)
			return !there
		})
		if failed != nil || len(b.attempts) == 0 {
			return errors.Join(failed, m.writes.Delete(slices.Clone(key)))
		}
		if len(b.attempts) < before {
			key = slices.Clone(key)
			rec = b.encode(key)
			if err := m.writes.Set(key, rec); err != nil {
				return err
			}
		}
		m.live += uint64(len(key) + len(rec))
		return nil
	})
}
