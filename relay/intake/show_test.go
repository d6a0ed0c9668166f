package intake

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/caddyrelay/caddyrelay/relay"
	"github.com/caddyrelay/caddyrelay/relay/view"
)

// The engine is what the intake asks for.
var _ Engine = (*relay.Relay)(nil)

func TestShowsAnEvent(t *testing.T) {
	s := newSetup(t)
	event := &relay.Event{ID: "evt_1", Type: "order.paid", Accepted: time.Unix(1, 0), ContentType: "application/json", Data: []byte(`{"order":42}`)}
	deliveries := []relay.Delivery{{Event: "evt_1", Subscription: "crm", State: relay.StateRetrying, AttemptCount: 1, Attempts: []relay.Attempt{{Number: 1, At: time.Unix(2, 0)}}}}
	s.engine.inspect = func(id string) (*relay.Event, []relay.Delivery, error) {
		equal(t, "id", id, "evt_1")
		return event, deliveries, nil
	}
	w := s.do(ask{method: "GET", path: "/v1/events/evt_1"})
	equal(t, "status", w.Code, http.StatusOK)
	equal(t, "Content-Type", w.Header().Get("Content-Type"), "application/json")
	want, err := json.Marshal(view.NewEvent(event, deliveries))
	if err != nil {
		t.Fatal(err)
	}
	equal(t, "body", w.Body.String(), string(want)+"\n")

	w = s.do(ask{method: "HEAD", path: "/v1/events/evt_1"})
	equal(t, "status of HEAD", w.Code, http.StatusOK)
}

func TestShowsNoEvent(t *testing.T) {
	for _, c := range []struct {
		err    error
		status int
		slug   string
	}{
		{relay.ErrNotFound, 404, "no-such-event"},
		{relay.ErrClosed, 503, "not-ready"},
		{relay.ErrBroken, 503, "store-failed"},
		{errors.New("surprise"), 500, "internal-error"},
	} {
		s := newSetup(t)
		s.engine.inspect = func(string) (*relay.Event, []relay.Delivery, error) { return nil, nil, c.err }
		p := problemOf(t, s.do(ask{method: "GET", path: "/v1/events/evt_1"}))
		equal(t, "status", p.Status, c.status)
		equal(t, "slug", p.slug(), c.slug)
		equal(t, "rejected events", s.tally.rejected, []string(nil))
	}
	// What is stored can be read while nothing is accepted.
	s := newSetup(t)
	s.engine.down = relay.ErrFull
	equal(t, "slug", problemOf(t, s.do(ask{method: "GET", path: "/v1/events/evt_1"})).slug(), "no-such-event")
	s = newSetup(t, func(o *Options) {
		o.Engine = func(context.Context) (Engine, error) { return nil, relay.ErrClosed }
	})
	equal(t, "slug", problemOf(t, s.do(ask{method: "GET", path: "/v1/events/evt_1"})).slug(), "not-ready")
}

func TestHealth(t *testing.T) {
	s := newSetup(t)
	probe := func(s *setup, method, path string) *httptest.ResponseRecorder {
		return s.do(ask{method: method, path: path, local: lan, host: "10.0.0.1", header: "X-Forwarded-For: 192.0.2.1"})
	}
	for _, method := range []string{"GET", "HEAD"} {
		equal(t, "livez", probe(s, method, "/livez").Code, 200)
		equal(t, "readyz", probe(s, method, "/readyz").Code, 200)
	}
	equal(t, "POST", probe(s, "POST", "/readyz").Code, http.StatusMethodNotAllowed)
	s.engine.down = errors.New("/var/lib/relay: no room")
	w := probe(s, "GET", "/readyz")
	equal(t, "readyz", w.Code, 503)
	equal(t, "details", w.Body.String(), "not ready\n")
	equal(t, "livez", probe(s, "GET", "/livez").Code, 200)

	s = newSetup(t, func(o *Options) {
		o.Engine = func(ctx context.Context) (Engine, error) {
			<-ctx.Done()
			return nil, ctx.Err()
		}
	})
	equal(t, "readyz", probe(s, "GET", "/readyz").Code, 503)
	equal(t, "livez", probe(s, "GET", "/livez").Code, 200)
}
