package relay_test

import (
	"context"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/caddyrelay/caddyrelay/relay"
)

// What a delivery waits for is known to the relay that carries it, and told by all.
func TestEveryRelaySaysWhatADeliveryWaitsFor(t *testing.T) {
	runFleet(t, 3, func(f *fleet) {
		f.sent.answer = func(v *sentBy) (*http.Response, error) {
			if strings.Contains(v.body, `"b"`) {
				return answer(200), nil
			}
			return answer(500), nil
		}
		f.everywhere(func(n *node) []*relay.Subscription {
			crm, mail := ordered("crm", &route{n}), ordered("mail", &route{n})
			for _, s := range []*relay.Subscription{crm, mail} {
				s.Retry.Delays = []time.Duration{time.Hour}
			}
			return []*relay.Subscription{crm, mail}
		})
		f.give("crm", f.nodes[0])
		f.give("mail", f.nodes[1])
		// A key need not be text.
		odd := "\xff\xfe"
		head := f.nodes[2].publish("x", keyed("a", 1)).ID
		second := f.nodes[1].publish("x", keyed("a", 2)).ID
		other := f.nodes[0].publish("x", `{"key":"`+odd+`","n":1}`).ID
		behindOther := f.nodes[0].publish("x", `{"key":"`+odd+`","n":2}`).ID
		free := f.nodes[0].publish("x", keyed("b", 1)).ID
		f.wait(5 * time.Second)
		want := map[string]string{head: "", second: head, other: "", behindOther: other, free: ""}

		ctx := context.Background()
		for i, n := range f.nodes {
			check := func(how string, all []relay.Delivery) {
				t.Helper()
				if len(all) == 0 {
					t.Errorf("the node %d, %s: nothing", i, how)
				}
				for _, d := range all {
					if d.WaitingFor != want[d.Event] {
						t.Errorf("the node %d, %s: %s of %s waits for %q, want %q", i, how, d.Event, d.Subscription, d.WaitingFor, want[d.Event])
					}
				}
			}
			for _, q := range []relay.DeliveryQuery{{Limit: 100}, {Limit: 100, Subscription: "crm"}, {Limit: 100, Subscription: "mail"}} {
				page, err := n.engine.Deliveries(ctx, q)
				if err != nil {
					t.Fatal(err)
				}
				check("list "+q.Subscription, page.Deliveries)
			}
			events, _, err := n.engine.Events(ctx, relay.EventQuery{Limit: 100})
			if err != nil || len(events) != len(want) {
				t.Fatalf("%d events, %v", len(events), err)
			}
			for _, e := range events {
				check("events", e.Deliveries)
			}
			for id := range want {
				e, all, err := n.engine.Inspect(ctx, id)
				if err != nil {
					t.Fatal(err)
				}
				check("inspect", all)
				if all, err = n.engine.DeliveriesOf(ctx, e, e.Deliveries); err != nil {
					t.Fatal(err)
				}
				check("of an event", all)
				for _, name := range []string{"crm", "mail"} {
					d, err := n.engine.Delivery(ctx, e, name)
					if err != nil {
						t.Fatal(err)
					}
					check("one", []relay.Delivery{d})
				}
			}
		}
		// Nobody is there to answer: all else is told.
		f.nodes[0].store.Freeze()
		d, err := f.nodes[2].engine.Delivery(ctx, event(t, f.nodes[2], second), "crm")
		if err != nil || d.State != relay.StateHeld || d.Reason != relay.ReasonOrder || d.WaitingFor != "" {
			t.Errorf("%+v, %v", d, err)
		}
		f.nodes[0].store.Thaw()
	})
}
