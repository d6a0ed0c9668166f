package caddymodule

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/caddyrelay/caddyrelay/relay"
	"github.com/caddyrelay/caddyrelay/relay/view"
)

// Times of a stream.
const (
	// streamHeartbeat is how often something is sent where nothing happens, so that both
	// sides notice when the other is gone.
	streamHeartbeat = 15 * time.Second
	// streamPatience is how long a reader may take for what it is sent.
	streamPatience = 30 * time.Second
	// streamFarewell is how long it may take at the end.
	streamFarewell = time.Second
)

// missedSettlements is what a stream says of those that a reader was too slow for.
type missedSettlements struct {
	// Missed is null where nobody has counted.
	Missed *int64 `json:"missed"`
}

// adminStream answers GET /relay/stream?subscription&state: what becomes of deliveries, as
// server-sent events, until the client leaves or the configuration does.
func adminStream(w http.ResponseWriter, r *http.Request, a *App, engine *relay.Relay) error {
	q := newQuery(r, "subscription", "state")
	selected := relay.Following{
		Subscription: q.text("subscription"), State: oneOf(q, "state", relay.States), After: r.Header.Get("Last-Event-ID"),
	}
	if q.err != nil {
		return q.err
	}
	if err := known(r.Context(), engine, selected.Subscription); err != nil {
		return err
	}
	ctx, cancel := a.WhileActive(r.Context())
	defer cancel()
	follower := engine.Follow(selected)
	defer follower.Close()

	out := newEventStream(ctx, w)
	defer out.end()
	out.mark(follower.Here())
	out.flush()
	for out.err == nil {
		wait, stop := context.WithTimeout(ctx, streamHeartbeat)
		all, missed, err := follower.Next(wait)
		stop()
		switch {
		case err != nil && errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil:
			out.mark(follower.Here())
		case err != nil:
			return nil // the configuration is replaced, the client gone, or the engine closed
		case missed == relay.UnknownlyMany:
			out.event("missed", "", missedSettlements{})
		case missed > 0:
			out.event("missed", "", missedSettlements{&missed})
		}
		for i := range all {
			out.event("", follower.Mark(&all[i]), view.NewSettlement(&all[i]))
		}
		out.flush()
	}
	return nil // the client has left: nobody is there to be told of it
}

// known returns an error for a name that no subscription has or had; empty is none.
func known(ctx context.Context, engine *relay.Relay, name string) error {
	if name == "" {
		return nil
	}
	all, err := engine.Status(ctx)
	if err != nil {
		return engineError(err)
	}
	if !slices.ContainsFunc(all, func(s relay.SubscriptionStatus) bool { return s.Name == name }) {
		return unknownSubscription(name, all)
	}
	return nil
}

// eventStream writes server-sent events (WHATWG HTML, section 9.2). The first error stays in
// err.
type eventStream struct {
	ctx     context.Context
	w       http.ResponseWriter
	control *http.ResponseController
	release func() bool
	err     error
}

// newEventStream begins one that does not outlast ctx by much, whatever the reader does.
func newEventStream(ctx context.Context, w http.ResponseWriter) *eventStream {
	s := &eventStream{ctx: ctx, w: w, control: http.NewResponseController(w)}
	h := w.Header()
	h.Set("Content-Type", "text/event-stream")
	h.Set("Cache-Control", "no-store")
	h.Set("X-Accel-Buffering", "no")
	h.Set("Connection", "close") // its deadlines are not those of other requests
	w.WriteHeader(http.StatusOK)
	s.release = context.AfterFunc(ctx, func() { _ = s.control.SetWriteDeadline(time.Now().Add(streamFarewell)) })
	s.comment("deliveries as they settle")
	return s
}

// mark tells where the reader is, who may come back, without telling it anything else.
func (s *eventStream) mark(id string) { s.write(fmt.Appendf(nil, "id: %s\n\n", id)) }

func (s *eventStream) comment(text string) { s.write(fmt.Appendf(nil, ": %s\n\n", text)) }

// event writes one, under a name or as a mere message, with an ID where there is one.
func (s *eventStream) event(name, id string, v any) {
	data, err := json.Marshal(v)
	if err != nil {
		s.err = err
		return
	}
	var text []byte
	if name != "" {
		text = fmt.Appendf(text, "event: %s\n", name)
	}
	if id != "" {
		text = fmt.Appendf(text, "id: %s\n", id)
	}
	s.write(fmt.Appendf(text, "data: %s\n\n", data))
}

func (s *eventStream) write(text []byte) {
	if s.err != nil {
		return
	}
	if s.ctx.Err() == nil {
		_ = s.control.SetWriteDeadline(time.Now().Add(streamPatience))
	}
	_, s.err = s.w.Write(text)
}

func (s *eventStream) flush() {
	if s.err == nil {
		s.err = s.control.Flush()
	}
}

func (s *eventStream) end() {
	s.comment("the stream ends here; come back with Last-Event-ID")
	s.flush()
	s.release()
}
