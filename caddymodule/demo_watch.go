package caddymodule

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/caddyrelay/caddyrelay/relay"
	"github.com/caddyrelay/caddyrelay/relay/sink"
)

// watcher prints what becomes of events, as it happens.
type watcher struct {
	engine *relay.Relay
	sink   string // the receiver's page
	out    io.Writer

	newest relay.Seq
	open   map[string]int // attempts printed, by the ID of events that are not finished
}

// watchEvery is how often the watcher looks, watchMany how many new events it takes in at
// once.
const (
	watchEvery = 25 * time.Millisecond
	watchMany  = 1000
)

func newWatcher(engine *relay.Relay, sink string, out io.Writer) *watcher {
	return &watcher{engine: engine, sink: sink, out: out, open: make(map[string]int)}
}

// follow prints until ctx ends.
func (w *watcher) follow(ctx context.Context) error {
	_, err := w.until(ctx, "")
	if ctx.Err() != nil {
		return nil // that is how a user ends it
	}
	return err
}

// until prints until the event's delivery is finished, and returns in which state.
func (w *watcher) until(ctx context.Context, id string) (relay.State, error) {
	for {
		if err := w.discover(ctx); err != nil {
			return "", err
		}
		for event := range w.open {
			state, err := w.progress(ctx, event)
			if err != nil {
				return "", err
			}
			if event == id && state.Finished() {
				return state, nil
			}
		}
		select {
		case <-ctx.Done():
			return "", context.Cause(ctx)
		case <-time.After(watchEvery):
		}
	}
}

// discover prints events that are new.
func (w *watcher) discover(ctx context.Context) error {
	events, _, err := w.engine.Events(ctx, relay.EventQuery{Limit: watchMany})
	if err != nil {
		return err
	}
	for i := len(events) - 1; i >= 0; i-- {
		e := events[i].Event
		if e.Seq <= w.newest {
			continue
		}
		w.newest = e.Seq
		w.line(e.Accepted, e.Type, e.ID, "accepted", plural(len(e.Deliveries), "subscription"))
		if len(e.Deliveries) > 0 {
			w.open[e.ID] = 0
		}
	}
	return nil
}

// progress prints the attempts of an event that were made since the last look.
func (w *watcher) progress(ctx context.Context, id string) (relay.State, error) {
	e, deliveries, err := w.engine.Inspect(ctx, id)
	if err != nil {
		return "", err
	}
	d := deliveries[0] // the demo has one subscription
	for _, a := range d.Attempts {
		if a.Number <= w.open[id] {
			continue
		}
		w.open[id] = a.Number
		result := a.Error
		if a.Status != 0 {
			result = fmt.Sprintf("%d in %d ms", a.Status, a.Duration.Milliseconds())
		}
		w.line(a.At, e.Type, d.Subscription, result, w.next(ctx, &d, &a))
	}
	if d.State.Finished() {
		delete(w.open, id)
	}
	return d.State, nil
}

// next says what follows from an attempt, and where it left from.
func (w *watcher) next(ctx context.Context, d *relay.Delivery, a *relay.Attempt) string {
	text := "retry in " + d.NextAttempt.Sub(a.At).Round(100*time.Millisecond).String()
	switch {
	case a.ErrorKind == relay.KindNone:
		text = "delivered"
	case d.State.Finished():
		text = string(d.State)
	case d.AttemptCount > a.Number:
		text = "retried"
	}
	text += "  from " + a.Local
	if a.ErrorKind == relay.KindNone && w.verified(ctx, d.Event, a.Number) {
		text += "  signature verified by the receiver"
	}
	return text
}

// verified asks the receiver whether it found the signature right.
func (w *watcher) verified(ctx context.Context, id string, attempt int) bool {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, w.sink, nil)
	if err != nil {
		return false
	}
	req.Header.Set("Accept", "application/json")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return false
	}
	defer resp.Body.Close()
	var page struct {
		Items []sink.Record `json:"items"`
	}
	if json.NewDecoder(resp.Body).Decode(&page) != nil {
		return false
	}
	for _, r := range page.Items {
		if r.ID == id && r.Attempt == attempt {
			return r.Verified
		}
	}
	return false
}

func (w *watcher) line(at time.Time, typ, who, what, next string) {
	fmt.Fprintln(w.out, eventLine(at, typ, who, what, next))
}
