package postgres

import (
	"bytes"
	"context"
	"errors"

	"github.com/jackc/pgx/v5"

	"github.com/caddyrelay/caddyrelay/relay"
)

const (
	selectNote = `select value from notes where name = $1`
	putNote    = `insert into notes (name, value) values ($1, $2) on conflict (name) do update set value = excluded.value`
)

// Note implements [relay.Notes].
func (s *Store) Note(ctx context.Context, name string) (note []byte, err error) {
	err = s.read(ctx, func(ctx context.Context, conn *pgx.Conn) (err error) {
		note, err = readNote(ctx, conn, name)
		return err
	})
	return note, err
}

// readNote returns nil if there is none.
func readNote(ctx context.Context, conn *pgx.Conn, name string) (note []byte, err error) {
	err = conn.QueryRow(ctx, selectNote, column(name)).Scan(&note)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil, nil
	}
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

func (r *noteRequest) keys(func(*relay.Key)) {}
func (r *noteRequest) alone() bool           { return true }
func (r *noteRequest) settle(error)          {}
func (r *noteRequest) answer() chan error    { return r.done }

// plan implements request. The committer is the only writer: what it reads stays as it is
// until it has written.
func (r *noteRequest) plan(ctx context.Context, c *committer) error {
	r.swapped = false
	kept, err := readNote(ctx, c.conn, r.name)
	if err != nil {
		return c.spoil(err)
	}
	if !bytes.Equal(kept, r.old) {
		return nil
	}
	c.group.add(putNote, column(r.name), r.value)
	r.swapped = true
	return nil
}
