package caddymodule

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/caddyrelay/caddyrelay/relay"
	"github.com/caddyrelay/caddyrelay/relay/view"
)

// maxBody bounds the bodies of requests that steer, in bytes.
const maxBody = 64 << 10

// adminPause answers POST /relay/subscriptions/{name}/pause, with an optional body
// {"reason"}.
func adminPause(w http.ResponseWriter, r *http.Request, a *App, engine *relay.Relay) error {
	var body struct {
		Reason string `json:"reason"`
	}
	if err := readBody(r, &body); err != nil {
		return err
	}
	return steered(w, r, a, func(ctx context.Context, name string) (relay.SubscriptionStatus, error) {
		return engine.Pause(ctx, name, body.Reason)
	})
}

// adminResume answers POST /relay/subscriptions/{name}/resume.
func adminResume(w http.ResponseWriter, r *http.Request, a *App, engine *relay.Relay) error {
	return steered(w, r, a, engine.Resume)
}

// adminDrop answers POST /relay/subscriptions/{name}/drop.
func adminDrop(w http.ResponseWriter, r *http.Request, a *App, engine *relay.Relay) error {
	return steered(w, r, a, engine.Drop)
}

// adminTest answers POST /relay/subscriptions/{name}/test.
func adminTest(w http.ResponseWriter, r *http.Request, a *App, engine *relay.Relay) error {
	return steered(w, r, a, func(ctx context.Context, name string) (relay.SubscriptionStatus, error) {
		receipt, err := engine.Test(ctx, name)
		if err != nil {
			return relay.SubscriptionStatus{}, err
		}
		w.Header().Set("Location", "/relay/events/"+receipt.ID)
		return engine.SubscriptionStatus(ctx, name)
	})
}

// steered answers with the subscription's status after what was done.
func steered(w http.ResponseWriter, r *http.Request, a *App, do func(context.Context, string) (relay.SubscriptionStatus, error)) error {
	s, err := do(r.Context(), r.PathValue("id"))
	if err != nil {
		return engineError(err)
	}
	return writeJSON(w, http.StatusOK, a.showSubscription(&s))
}

// readBody decodes a JSON body, which may be missing. It refuses fields that it does not
// know, since a window of time that is not understood would replay too much.
func readBody(r *http.Request, into any) error {
	text, err := io.ReadAll(io.LimitReader(r.Body, maxBody+1))
	switch {
	case err != nil:
		return adminError(http.StatusBadRequest, fmt.Errorf("reading the body: %w", err))
	case len(text) > maxBody:
		return adminError(http.StatusRequestEntityTooLarge, fmt.Errorf("the body has more than %d bytes", maxBody))
	case len(text) == 0:
		return nil
	}
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	err = d.Decode(into)
	if err == nil && d.More() {
		err = errors.New("something follows it")
	}
	if err != nil {
		return adminError(http.StatusBadRequest, fmt.Errorf("the body is not the JSON that this route takes: %w", err))
	}
	return nil
}

// adminReplayOne answers POST /relay/events/{id}/deliveries/{subscription}/replay.
func adminReplayOne(w http.ResponseWriter, r *http.Request, _ *App, engine *relay.Relay) error {
	id, subscription := r.PathValue("id"), r.PathValue("subscription")
	if err := engine.Replay(r.Context(), id, subscription); err != nil {
		return engineError(fmt.Errorf("replaying %s for %q: %w", id, subscription, err))
	}
	_, deliveries, err := engine.Inspect(r.Context(), id)
	if err != nil {
		return engineError(err)
	}
	for i := range deliveries {
		if deliveries[i].Subscription == subscription {
			return writeJSON(w, http.StatusOK, view.NewDelivery(&deliveries[i]))
		}
	}
	return engineError(relay.ErrNoDelivery)
}

// replayOrder is the body of POST /relay/replay.
type replayOrder struct {
	Subscription string          `json:"subscription"`
	Select       relay.Selection `json:"select"`
	Since        string          `json:"since"`
	Until        string          `json:"until"`
	// Rate is in deliveries a second.
	Rate int `json:"rate"`
}

// adminReplay answers POST /relay/replay: 202 with a job.
func adminReplay(w http.ResponseWriter, r *http.Request, _ *App, engine *relay.Relay) error {
	var order replayOrder
	if err := readBody(r, &order); err != nil {
		return err
	}
	q := query{now: time.Now()}
	request := relay.ReplayRequest{
		Subscription: order.Subscription, Select: order.Select, Rate: order.Rate,
		Since: q.parseTime("since", order.Since), Until: q.parseTime("until", order.Until),
	}
	if order.Rate < 0 {
		q.fail("rate %d is not possible; give deliveries a second, at least 1", order.Rate)
	}
	if q.err != nil {
		return q.err
	}
	j, err := engine.StartReplay(r.Context(), request)
	if err != nil {
		return engineError(err)
	}
	w.Header().Set("Location", "/relay/jobs/"+j.ID)
	return writeJSON(w, http.StatusAccepted, struct {
		Job string `json:"job"`
	}{j.ID})
}

// job is what the job routes answer.
type job struct {
	ID           string          `json:"id"`
	Subscription string          `json:"subscription"`
	Select       relay.Selection `json:"select"`
	State        relay.JobState  `json:"state"`
	Total        int             `json:"total"`
	Done         int             `json:"done"`
	Replayed     int             `json:"replayed"`
	Started      view.Time       `json:"started"`
	Ended        view.Time       `json:"ended"`
	Error        string          `json:"error"`
}

// adminJob answers GET /relay/jobs/{id}.
func adminJob(w http.ResponseWriter, r *http.Request, _ *App, engine *relay.Relay) error {
	return showJob(w, r, engine.Job)
}

// adminCancelJob answers DELETE /relay/jobs/{id}.
func adminCancelJob(w http.ResponseWriter, r *http.Request, _ *App, engine *relay.Relay) error {
	return showJob(w, r, engine.CancelJob)
}

func showJob(w http.ResponseWriter, r *http.Request, get func(context.Context, string) (relay.Job, error)) error {
	j, err := get(r.Context(), r.PathValue("id"))
	if errors.Is(err, relay.ErrNoJob) {
		return adminError(http.StatusNotFound, err)
	}
	if err != nil {
		return engineError(err)
	}
	return writeJSON(w, http.StatusOK, job{
		ID: j.ID, Subscription: j.Subscription, Select: j.Select, State: j.State,
		Total: j.Total, Done: j.Done, Replayed: j.Replayed,
		Started: view.Time{Time: j.Started}, Ended: view.Time{Time: j.Ended}, Error: j.Error,
	})
}
