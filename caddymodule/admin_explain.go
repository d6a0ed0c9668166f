package caddymodule

import (
	"net/http"

	"github.com/caddyrelay/caddyrelay/relay"
	"github.com/caddyrelay/caddyrelay/relay/view"
)

// adminExplain answers GET /relay/explain?event&subscription.
func adminExplain(w http.ResponseWriter, r *http.Request, _ *App, engine *relay.Relay) error {
	q := newQuery(r, "event", "subscription")
	event, subscription := q.text("event"), q.text("subscription")
	if event == "" || subscription == "" {
		q.fail("event and subscription are needed, e.g. /relay/explain?event=evt_1q3asyqyg0000ka5&subscription=crm")
	}
	if q.err != nil {
		return q.err
	}
	x, err := engine.Explain(r.Context(), event, subscription)
	if err != nil {
		return engineError(err)
	}
	return writeJSON(w, http.StatusOK, view.NewExplanation(x))
}
