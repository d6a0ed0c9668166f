package transfer

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/caddyrelay/caddyrelay/relay"
)

// What is exported.
const (
	SelectUnfinished = "unfinished" // events with a delivery that is not finished
	SelectAll        = "all"        // every event that is kept
)

// keysPage is how many idempotency keys are read at once.
const keysPage = 500

// Exported says what was written.
type Exported struct {
	Counts
	// Unreadable events are damaged in the store, and left out.
	Unreadable int
}

// Export writes what an engine gives out: subscriptions that are steered, events oldest first,
// idempotency keys, what was announced of egress addresses. version is that of the program.
func Export(ctx context.Context, engine *relay.Relay, out io.Writer, version, selected string) (done Exported, err error) {
	if err := engine.Movable(ctx); err != nil {
		return done, err
	}
	seqs, err := engine.Exportable(ctx, selected == SelectAll)
	if err != nil {
		return done, fmt.Errorf("looking for what to export: %w", err)
	}
	w := NewWriter(out, Head{Version: version, At: time.Now().UTC(), Select: selected, Events: len(seqs)})
	for _, s := range engine.ExportSteering() {
		if err := w.Subscription(&s); err != nil {
			return done, err
		}
	}
	note, err := engine.ExportEgress(ctx)
	if err == nil && note != nil {
		err = w.Egress(note)
	}
	if err != nil {
		return done, err
	}
	for _, seq := range seqs {
		m, unfinished, err := engine.Export(ctx, seq)
		unreadable := (*relay.UnreadableError)(nil)
		switch {
		case errors.Is(err, relay.ErrNotFound): // removed meanwhile
			continue
		case errors.As(err, &unreadable):
			done.Unreadable++
			continue
		case err == nil && (unfinished || selected == SelectAll):
			err = w.Event(&m)
		}
		if err != nil {
			return done, err
		}
	}
	if err := exportKeys(ctx, engine, w); err != nil {
		return done, err
	}
	done.Counts, err = w.End()
	return done, err
}

func exportKeys(ctx context.Context, engine *relay.Relay, w *Writer) error {
	for after := (*relay.KeyHash)(nil); ; {
		keys, next, err := engine.ExportKeys(ctx, after, keysPage)
		if err != nil {
			return fmt.Errorf("reading idempotency keys: %w", err)
		}
		for i := range keys {
			if err := w.Key(&keys[i]); err != nil {
				return err
			}
		}
		if after = next; next == nil {
			return nil
		}
	}
}
