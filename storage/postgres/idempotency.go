package postgres

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/caddyrelay/caddyrelay/relay"
)

// known is what is kept of an idempotency key.
type known = relay.KnownKey[receipt]

const selectKeys = `select hash, sum, receipts from keys where hash = any($1)`

func (c *committer) loadKeys(ctx context.Context, hashes [][]byte) error {
	rows, err := c.conn.Query(ctx, selectKeys, hashes)
	if err != nil {
		return fmt.Errorf("looking up idempotency keys: %w", err)
	}
	return c.scanKeys(rows)
}

// scanKeys reads what selectKeys selects.
func (c *committer) scanKeys(rows pgx.Rows) error {
	var h, sum, raw []byte
	_, err := pgx.ForEachRow(rows, []any{&h, &sum, &raw}, func() error {
		k, err := decodeKnown(h, sum, raw)
		if err == nil {
			c.known[hash(h)] = k
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("looking up idempotency keys: %w", err)
	}
	return nil
}

// decodeKnown reads what is kept of a key.
func decodeKnown(h, sum, raw []byte) (*known, error) {
	k := new(known)
	if len(h) != len(hash{}) || len(sum) != len(k.Sum) {
		return nil, errors.New("a digest has a wrong length")
	}
	copy(k.Sum[:], sum)
	return k, json.Unmarshal(raw, &k.Receipts)
}

// LookUp implements [relay.KeyBook]: the keys of all requests were looked up before.
func (c *committer) LookUp(h hash) (*known, error) { return c.known[h], nil }

// Repeated implements [relay.KeyBook].
func (c *committer) Repeated(r *receipt) (relay.Receipt, error) {
	matched := make([]string, len(r.Matched))
	for i, id := range r.Matched {
		u, err := c.byID(id)
		if err != nil {
			return relay.Receipt{}, err
		}
		matched[i] = u.name
	}
	return relay.Receipt{
		ID: r.eventID(c.s.identity.tag), Type: string(r.Type), Matched: matched, Duplicate: true,
	}, nil
}

// remember adds an idempotency key to the group.
func (c *committer) remember(h hash, sum [32]byte, stored relay.Seq, receipts []receipt) error {
	c.known[h] = &known{Sum: sum, Receipts: receipts}
	return c.group.addKey(h, stored, c.known[h])
}
