package transfer

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"hash"
	"io"

	"github.com/caddyrelay/caddyrelay/relay"
)

// Writer writes lines. The first error stays, and ends it.
type Writer struct {
	out    io.Writer
	digest hash.Hash
	counts Counts
	err    error
}

// NewWriter writes the first line.
func NewWriter(out io.Writer, h Head) *Writer {
	w := &Writer{out: out, digest: sha256.New()}
	h.Format = format
	w.write(&line{Head: &h})
	return w
}

func (w *Writer) write(l *line) {
	if w.err != nil {
		return
	}
	text, err := json.Marshal(l)
	if err != nil {
		w.err = err
		return
	}
	text = append(text, '\n')
	w.digest.Write(text)
	if _, err := w.out.Write(text); err != nil {
		w.err = fmt.Errorf("writing the export: %w", err)
	}
}

// Event writes an event.
func (w *Writer) Event(m *relay.Moved) error {
	v, err := newEvent(m)
	if err != nil {
		return err
	}
	w.write(&line{Event: v})
	w.counts.Events++
	return w.err
}

// Key writes an idempotency key.
func (w *Writer) Key(k *relay.MovedKey) error {
	w.write(&line{Key: newKey(k)})
	w.counts.Keys++
	return w.err
}

// Subscription writes that one is paused or disabled.
func (w *Writer) Subscription(s *relay.Steering) error {
	w.write(&line{Subscription: newSteering(s)})
	w.counts.Subscriptions++
	return w.err
}

// Egress writes the list as it was published, which is JSON.
func (w *Writer) Egress(note []byte) error {
	w.write(&line{Egress: note})
	return w.err
}

// End writes the last line, without which nobody takes the rest for whole.
func (w *Writer) End() (Counts, error) {
	sum := hex.EncodeToString(w.digest.Sum(nil))
	w.write(&line{End: &end{w.counts, sum}})
	return w.counts, w.err
}
