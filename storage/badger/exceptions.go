package badger

import (
	"context"
	"errors"
	"slices"

	bdb "github.com/dgraph-io/badger/v4"

	"github.com/caddyrelay/caddyrelay/relay"
)

// Open implements [relay.Store].
func (s *Store) Open(ctx context.Context, subscription string, after uint64, limit int) ([]relay.Exception, error) {
	u, st := s.subs.state(subscription)
	if u == nil || limit <= 0 {
		return nil, s.check(ctx)
	}
	// Before the snapshot, so that what it does not have is seen in puts.
	floor, puts := s.subs.floor(u)
	var open []relay.Exception
	err := s.read(ctx, func(txn *bdb.Txn) error {
		// One more than the limit, so that the cut is seen.
		return eachOpen(txn, u, max(after+1, floor), limit+1, func(e relay.Exception) { open = append(open, e) })
	})
	if err != nil {
		return nil, err
	}
	if after < max(floor, 1) {
		lowest := st.progress.Head + 1
		if len(open) > 0 {
			lowest = open[0].From
		}
		s.subs.raiseFloor(u, lowest, puts)
	}
	for _, e := range st.spans {
		if e.From > after && !e.Kind.Closed() {
			open = append(open, e)
		}
	}
	slices.SortFunc(open, relay.Exception.Compare)
	return relay.CutOpen(open, limit), nil
}

// eachOpen passes the open exceptions of single deliveries from a position on.
func eachOpen(txn *bdb.Txn, u *sub, from uint64, limit int, fn func(relay.Exception)) error {
	prefix := exceptKeys(classOpen, u.id, exceptKeyLen)
	it := txn.NewIterator(bdb.IteratorOptions{Prefix: prefix})
	defer it.Close()
	for it.Seek(exceptKey(classOpen, u.id, from)); it.ValidForPrefix(prefix) && limit > 0; it.Next() {
		item := it.Item()
		err := item.Value(func(rec []byte) error {
			e, err := decodeException(item.Key(), rec)
			if err == nil {
				fn(e)
			}
			return err
		})
		if err != nil {
			return err
		}
		limit--
	}
	return nil
}

// Exception implements [relay.Store]. A position's own exception stands before a span
// over it, and that before a replay.
func (s *Store) Exception(ctx context.Context, subscription string, pos uint64) (relay.Exception, bool, error) {
	u, st := s.subs.state(subscription)
	if u == nil {
		return relay.Exception{}, false, s.check(ctx)
	}
	var found relay.Exception
	ok := false
	err := s.read(ctx, func(txn *bdb.Txn) error {
		for _, c := range []class{classOpen, classClosed} {
			key := exceptKey(c, u.id, pos)
			err := get(txn, key, func(rec []byte) (err error) {
				found, err = decodeException(key, rec)
				return err
			})
			if errors.Is(err, bdb.ErrKeyNotFound) {
				continue
			}
			ok = err == nil
			return err
		}
		return nil
	})
	if err != nil || ok {
		return found, ok, err
	}
	if e, ok := st.span(pos, false); ok {
		return e, true, nil
	}
	found, ok = st.span(pos, true)
	return found, ok, nil
}
