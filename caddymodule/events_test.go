package caddymodule

import (
	"context"
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyevents"

	"github.com/caddyrelay/caddyrelay/relay"
)

func init() { caddy.RegisterModule(new(eventHandler)) }

// handledEvents are what event handlers of this test binary were given.
var handledEvents = make(chan caddy.Event, 100)

// eventHandler is one as a configuration may name: an operator's own, or one that runs a
// command.
type eventHandler struct{}

func (*eventHandler) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "events.handlers.relay_test", New: func() caddy.Module { return new(eventHandler) }}
}

func (*eventHandler) Handle(_ context.Context, e caddy.Event) error {
	handledEvents <- e
	return nil
}

var _ caddyevents.Handler = (*eventHandler)(nil)

// nextEvent waits for what a handler is given.
func nextEvent(t *testing.T) caddy.Event {
	t.Helper()
	select {
	case e := <-handledEvents:
		return e
	case <-time.After(patience):
		t.Fatal("no event")
		panic("unreachable")
	}
}

// TestOperationalEventsReachHandlersSubscriptionsAndLog: one notice, told in three ways.
func TestOperationalEventsReachHandlersSubscriptionsAndLog(t *testing.T) {
	r, ops := newReceiver(t), newReceiver(t)
	r.status.Store(http.StatusInternalServerError)
	c := startCaddy(t)
	o := config{
		subscriptions: "[" +
			r.subscription("crm", `"topics": ["order.*"], "breaker": {"failure_ratio": 1, "least_attempts": 1, "window": "1m", "pause": "100ms"}, "retry": {"delays": ["10ms", "10ms"]}`) + ", " +
			ops.subscription("ops", `"topics": ["relay.*"]`) + "]",
		apps: `, "events": {"subscriptions": [{
			"events": ["relay.subscription.failing", "relay.subscription.recovered"],
			"handlers": [{"handler": "relay_test"}]
		}]}`,
	}
	c.load(o)
	c.publish("order.paid")
	failing := nextEvent(t)
	if failing.Name() != "relay.subscription.failing" || failing.Origin().CaddyModule().ID != "relay" {
		t.Errorf("the event %s of %v", failing.Name(), failing.Origin())
	}
	if failing.Data["subscription"] != "crm" || failing.Data["detail"] != "answered 500 Internal Server Error" {
		t.Errorf("the event says %v", failing.Data)
	}
	if at, ok := failing.Data["at"].(time.Time); !ok || time.Since(at) > time.Minute {
		t.Errorf("the event is of %v", failing.Data["at"])
	}
	got := ops.want(t, 1)
	if got[0].Get("Relay-Event") != "relay.subscription.failing" {
		t.Errorf("the subscription got %v", got[0])
	}
	c.wantLog(`"msg":"operational event","topic":"relay.subscription.failing","subscription":"crm"`)

	r.status.Store(http.StatusOK)
	if e := nextEvent(t); e.Name() != "relay.subscription.recovered" || e.Data["subscription"] != "crm" {
		t.Errorf("after the failure came %s %v", e.Name(), e.Data)
	}
}

// TestMissingAddressesReachHandlersAndLog: an address that the machine does not have, from
// the first look on. 203.0.113.77 is for documentation (RFC 5737).
func TestMissingAddressesReachHandlersAndLog(t *testing.T) {
	c := startCaddy(t)
	c.load(config{
		regions: `[{"name": "eu", "egress": [{"address": "127.0.0.1"}, {"address": "203.0.113.77", "as": "198.51.100.7"}]}]`,
		apps:    `, "events": {"subscriptions": [{"events": ["relay.egress.down"], "handlers": [{"handler": "relay_test"}]}]}`,
	})
	e := nextEvent(t)
	if e.Name() != "relay.egress.down" || e.Origin().CaddyModule().ID != "relay" {
		t.Errorf("the event %s of %v", e.Name(), e.Origin())
	}
	for key, want := range map[string]any{"region": "eu", "address": "203.0.113.77", "public": "198.51.100.7", "active": true} {
		if e.Data[key] != want {
			t.Errorf("%s is %v, want %v", key, e.Data[key], want)
		}
	}
	if detail, ok := e.Data["detail"].(string); !ok || !strings.Contains(detail, "binding to 203.0.113.77") {
		t.Errorf("the detail is %v", e.Data["detail"])
	}
	if at, ok := e.Data["at"].(time.Time); !ok || time.Since(at) > time.Minute {
		t.Errorf("the event is of %v", e.Data["at"])
	}
	c.wantLog(`"msg":"an address is not on this machine; what would leave from it leaves from another one of the region, or is held","region":"eu","address":"203.0.113.77"`)
}

// TestOperationalEventsHoldWhatTheySay: their data, as receivers get it.
func TestOperationalEventsHoldWhatTheySay(t *testing.T) {
	r := newReceiver(t)
	r.status.Store(http.StatusBadRequest)
	c := startSteered(t)
	c.load(r.subscription("crm", once, `"topics": ["order.*"]`))
	failed := c.post("order.paid")
	c.state(failed, "failed (schedule)")
	var list page[struct{ ID, Type, Source, Subject string }]
	eventually(t, func() bool {
		c.want(http.StatusOK, "GET /relay/events?type=relay.delivery.failed", "", &list)
		return len(list.Items) == 1
	}, func() string { return "no event relay.delivery.failed is stored" })
	if e := list.Items[0]; e.Source != "relay" || e.Subject != "crm" {
		t.Errorf("%+v", e)
	}
	_, _, data := c.ask("GET /relay/events/"+list.Items[0].ID+"/data", "")
	var n relay.Notice
	if err := json.Unmarshal(data, &n); err != nil {
		t.Fatal(err)
	}
	if n.Subscription != "crm" || n.Event != failed || n.EventType != "order.paid" || n.Detail != "answered 400 Bad Request" || n.At.IsZero() {
		t.Errorf("%s", data)
	}
}
