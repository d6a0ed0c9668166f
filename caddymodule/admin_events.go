package caddymodule

import (
	"context"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"go.uber.org/zap"

	"github.com/caddyrelay/caddyrelay/relay"
	"github.com/caddyrelay/caddyrelay/relay/intake"
	"github.com/caddyrelay/caddyrelay/relay/view"
)

// page is one page of a list. Next is the cursor of the following one; empty at the end.
type page[T any] struct {
	Items []T    `json:"items"`
	Next  string `json:"next"`
}

// adminEvents answers GET /relay/events?type&matched&since&until&limit&cursor.
func adminEvents(w http.ResponseWriter, r *http.Request, _ *App, engine *relay.Relay) error {
	q := newQuery(r, "type", "matched", "since", "until", "limit", "cursor")
	selected := relay.EventQuery{
		Type: q.text("type"), Since: q.time("since"), Until: q.time("until"), Limit: q.limit(),
		Unmatched: oneOf(q, "matched", []string{"false"}) != "",
	}
	if cursor := q.text("cursor"); cursor != "" {
		n, err := strconv.ParseUint(cursor, 10, 64)
		if err != nil || n == 0 {
			q.fail("%v", &relay.CursorError{Cursor: cursor})
		}
		selected.Before = relay.Seq(n)
	}
	if q.err != nil {
		return q.err
	}
	events, next, err := engine.Events(r.Context(), selected)
	if err != nil {
		return engineError(err)
	}
	list := page[view.Event]{Items: make([]view.Event, len(events))}
	for i := range events {
		list.Items[i] = view.NewListedEvent(events[i].Event, events[i].Deliveries)
	}
	if next != 0 {
		list.Next = strconv.FormatUint(uint64(next), 10)
	}
	return writeJSON(w, http.StatusOK, list)
}

// adminEvent answers GET /relay/events/{id}.
func adminEvent(w http.ResponseWriter, r *http.Request, _ *App, engine *relay.Relay) error {
	e, deliveries, err := inspect(r, engine)
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, view.NewEvent(e, deliveries))
}

// adminErase answers DELETE /relay/events/{id} with what is left of the event. Erasing again
// changes nothing.
func adminErase(w http.ResponseWriter, r *http.Request, a *App, engine *relay.Relay) error {
	if err := engine.Erase(r.Context(), r.PathValue("id")); err != nil {
		return engineError(fmt.Errorf("erasing %s: %w", r.PathValue("id"), err))
	}
	a.logger.Info("an event's data was erased", zap.String("event", r.PathValue("id")))
	return adminEvent(w, r, a, engine)
}

// adminEventData answers GET /relay/events/{id}/data: the bytes as received, or 410 where
// they were erased.
func adminEventData(w http.ResponseWriter, r *http.Request, _ *App, engine *relay.Relay) error {
	e, _, err := inspect(r, engine)
	if err != nil {
		return err
	}
	if !e.Erased.IsZero() {
		return adminError(http.StatusGone, fmt.Errorf("the data of %s was erased at %s", e.ID, e.Erased.Format(time.RFC3339)))
	}
	h := w.Header()
	h.Set("Content-Type", e.ContentType)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Content-Security-Policy", "default-src 'none'; sandbox") // whatever it is, no browser runs it
	_, _ = w.Write(e.Data)
	return nil
}

func inspect(r *http.Request, engine *relay.Relay) (*relay.Event, []relay.Delivery, error) {
	e, deliveries, err := engine.Inspect(r.Context(), r.PathValue("id"))
	if err != nil {
		return nil, nil, engineError(err)
	}
	return e, deliveries, nil
}

// adminPublish answers POST /relay/events as intake answers: Caddy's admin endpoint has
// its own guard.
func adminPublish(w http.ResponseWriter, r *http.Request, a *App, engine *relay.Relay) error {
	h, err := intake.New(intake.Options{
		Engine:       func(context.Context) (intake.Engine, error) { return engine, nil },
		MaxEventSize: relay.MaxDataSize,
		Catalogue:    a.catalogue,
		Logger:       a.logger.Named("intake"),
		Observer:     a.intakeObserver(),
	})
	if err != nil {
		return adminError(http.StatusInternalServerError, err)
	}
	accept := func(w http.ResponseWriter, r *http.Request) { h.Accept(w, r, "") }
	a.tracing.wrap(http.HandlerFunc(accept)).ServeHTTP(w, r)
	return nil
}

// adminDeliveries answers GET /relay/deliveries?subscription&state&since&until&limit&cursor.
func adminDeliveries(w http.ResponseWriter, r *http.Request, _ *App, engine *relay.Relay) error {
	q := newQuery(r, "subscription", "state", "since", "until", "limit", "cursor")
	selected := relay.DeliveryQuery{
		Subscription: q.text("subscription"), State: oneOf(q, "state", relay.States),
		Since: q.time("since"), Until: q.time("until"), Limit: q.limit(), Cursor: q.text("cursor"),
	}
	if q.err != nil {
		return q.err
	}
	deliveries, err := engine.Deliveries(r.Context(), selected)
	if err != nil {
		return engineError(err)
	}
	list := page[view.Delivery]{Items: make([]view.Delivery, len(deliveries.Deliveries)), Next: deliveries.Next}
	for i := range deliveries.Deliveries {
		list.Items[i] = view.NewListedDelivery(&deliveries.Deliveries[i])
	}
	return writeJSON(w, http.StatusOK, list)
}
