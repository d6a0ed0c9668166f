package console

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/caddyrelay/caddyrelay/relay"
)

// Times of a stream.
const (
	// heartbeat is how often something is sent where nothing happens, so that both sides
	// notice when the other one is gone.
	heartbeat = 15 * time.Second
	// readerPatience is how long a reader may take for what it is sent.
	readerPatience = 30 * time.Second
	// farewell is how long it may take at the end.
	farewell = time.Second
)

// stream sends the row of each delivery of which something has become, as server-sent
// events (WHATWG HTML, section 9.2), until the reader leaves or the configuration does.
func (v *visit) stream() error {
	q, _, err := v.deliveryQuery()
	if err != nil {
		return err
	}
	ctx, cancel := v.context(), func() {}
	if v.options.WhileActive != nil {
		ctx, cancel = v.options.WhileActive(ctx)
	}
	defer cancel()
	follower := v.engine.Follow(relay.Following{Subscription: q.Subscription, State: q.State, After: v.r.Header.Get("Last-Event-ID")})
	defer follower.Close()

	out := rowStream{v: v, ctx: ctx, control: http.NewResponseController(v.w)}
	// Whatever the reader does, the stream does not outlast ctx by much.
	release := context.AfterFunc(ctx, func() { _ = out.control.SetWriteDeadline(time.Now().Add(farewell)) })
	defer release()
	h := v.w.Header()
	h.Set("Content-Type", "text/event-stream")
	h.Set("X-Accel-Buffering", "no")
	h.Set("Connection", "close") // its deadlines are not those of other requests
	fmt.Fprintf(&out.text, ": deliveries as they settle\n\n")
	for out.flush() == nil {
		wait, stop := context.WithTimeout(ctx, heartbeat)
		all, missed, err := follower.Next(wait)
		stop()
		switch {
		case err != nil && errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil:
			fmt.Fprintf(&out.text, "id: %s\n\n", follower.Here())
		case err != nil:
			return nil // the configuration is replaced, the reader gone, or the engine closed
		case missed > 0:
			fmt.Fprintf(&out.text, "event: missed\ndata: %d were left out.\n\n", missed)
		case missed != 0:
			fmt.Fprintf(&out.text, "event: missed\ndata: Load the page again to see what is there.\n\n")
		}
		for i := range all {
			if q.Type == "" || strings.EqualFold(all[i].Type, q.Type) {
				out.row(follower.Mark(&all[i]), &all[i])
			}
		}
	}
	return nil // the reader has left: nobody is there to be told of it
}

// rowStream writes rows of the list of deliveries.
type rowStream struct {
	v       *visit
	ctx     context.Context
	control *http.ResponseController
	text    bytes.Buffer
}

func (s *rowStream) row(mark string, settled *relay.Settlement) {
	d := settled.Delivery
	d.EventType = settled.Type
	if settled.Attempt != nil {
		d.Attempts = []relay.Attempt{*settled.Attempt}
	}
	if seq, _, err := relay.ParseID(d.Event); err == nil && d.Accepted.IsZero() {
		d.Accepted = seq.Time()
	}
	var row strings.Builder
	if err := templates["deliveries"].ExecuteTemplate(&row, "delivery", tableOf{s.v.Root, d}); err != nil {
		return // what cannot be shown in the list is not shown here either
	}
	fmt.Fprintf(&s.text, "id: %s\n", mark)
	for line := range strings.Lines(strings.TrimSpace(row.String())) {
		fmt.Fprintf(&s.text, "data: %s\n", strings.TrimSpace(line))
	}
	s.text.WriteString("\n")
}

// flush sends what is written.
func (s *rowStream) flush() error {
	if s.ctx.Err() == nil {
		_ = s.control.SetWriteDeadline(time.Now().Add(readerPatience)) // a server without deadlines has none
	}
	if _, err := s.v.w.Write(s.text.Bytes()); err != nil {
		return err
	}
	s.text.Reset()
	return s.control.Flush()
}
