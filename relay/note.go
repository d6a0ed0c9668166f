package relay

import (
	"context"
	"fmt"
)

// MaxNoteSize bounds the value of a note, in bytes.
const MaxNoteSize = 256 << 10

// Notes are the few small records that a store keeps beside events and deliveries: the
// engine's own memory over restarts, such as the egress list as it was last published.
// Where several relays share a store they share its notes.
type Notes interface {
	// Note returns what is kept under a name, or nil if nothing is.
	Note(ctx context.Context, name string) ([]byte, error)

	// SwapNote puts value in the place of old, and reports whether it did: it does not if
	// by now something else than old is kept under the name. An empty old stands for
	// nothing; value is not empty and at most [MaxNoteSize] long. It returns when value is
	// durable.
	SwapNote(ctx context.Context, name string, old, value []byte) (bool, error)
}

// CheckNote says why a store must not keep value under a name, or returns nil.
func CheckNote(name string, value []byte) error {
	if len(value) == 0 || len(value) > MaxNoteSize {
		return fmt.Errorf("keeping the note %q: it has %d bytes; possible are 1 to %d", name, len(value), MaxNoteSize)
	}
	return nil
}
