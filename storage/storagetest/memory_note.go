package storagetest

import (
	"bytes"
	"context"
	"slices"

	"github.com/caddyrelay/caddyrelay/relay"
)

// Note implements [relay.Notes].
func (m *Memory) Note(ctx context.Context, name string) (note []byte, err error) {
	err = m.read(ctx, func(c *content) error {
		note = slices.Clone(c.notes[name])
		return nil
	})
	return note, err
}

// SwapNote implements [relay.Notes].
func (m *Memory) SwapNote(ctx context.Context, name string, old, value []byte) (swapped bool, err error) {
	if err := relay.CheckNote(name, value); err != nil {
		return false, err
	}
	m.writing.Lock()
	defer m.writing.Unlock()
	err = m.write(ctx, func(c *content) error {
		if swapped = bytes.Equal(c.notes[name], old); swapped {
			c.notes[name] = slices.Clone(value)
		}
		return nil
	})
	return swapped && err == nil, err
}
