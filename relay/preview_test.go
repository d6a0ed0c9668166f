package relay_test

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"testing"
	"time"

	"github.com/caddyrelay/caddyrelay/relay"
	"github.com/caddyrelay/caddyrelay/relay/signature"
)

// refuser fails the test if a preview asks for a credential or a signature.
type refuser struct{ t *testing.T }

func (r refuser) Authorize(context.Context, http.Header) error {
	r.t.Error("a preview asks for credentials")
	return nil
}
func (refuser) Refused(http.Header) {}

func (r refuser) Sign(http.Header, signature.Message) error {
	r.t.Error("a preview is signed")
	return nil
}

func TestPreviewHasNothingSecret(t *testing.T) {
	run(t, func(w *world) {
		s := subscription("crm", &receiver{answer: func(int, *http.Request) (*http.Response, error) { return nil, errors.New("down") }})
		s.Header = []relay.HeaderRule{{Op: '=', Field: "X-Key", Value: "secret", Secret: true}}
		s.Paused = true
		s.Auth, s.Signers = refuser{t}, []signature.Signer{refuser{t}}
		w.plan(s)
		id := w.publish("order.paid", `{"n":1}`).ID
		e, err := w.engine.Event(context.Background(), id)
		if err != nil {
			t.Fatal(err)
		}
		p, err := w.engine.Preview(context.Background(), e, "crm", 3)
		if err != nil {
			t.Fatal(err)
		}
		if p.Method != http.MethodPost || string(p.Body) != `{"n":1}` || p.Header.Get("Webhook-Id") != id || p.Header.Get("Relay-Attempt") != "3" || p.Header.Get("X-Key") != "" {
			t.Errorf("%+v", p)
		}
		if s.Auth == nil || len(s.Header) != 1 {
			t.Error("the plan was changed")
		}
		if _, err := w.engine.Preview(context.Background(), e, "none", 1); !errors.As(err, new(*relay.UnknownNameError)) {
			t.Errorf("got %v", err)
		}
	})
}

func TestDeliveriesOfOneEvent(t *testing.T) {
	run(t, func(w *world) {
		sick := subscription("sick", &receiver{answer: func(int, *http.Request) (*http.Response, error) { return answer(500), nil }})
		sick.Retry.Delays = []time.Duration{time.Second}
		w.plan(subscription("well", &receiver{}), sick)
		id := w.publish("order.paid", `{}`).ID
		w.publish("order.sent", `{}`)
		w.wait(time.Minute)
		ctx := context.Background()
		e, err := w.engine.Event(ctx, id)
		if err != nil {
			t.Fatal(err)
		}
		all, err := w.engine.DeliveriesOf(ctx, e, e.Deliveries)
		if err != nil || len(all) != 2 || all[0].State != relay.StateDelivered || all[1].State != relay.StateFailed {
			t.Fatalf("%+v %v", all, err)
		}
		if d := all[1]; d.AttemptCount != 2 || len(d.Attempts) != 1 || d.Attempts[0].Number != 2 || d.EventType != "order.paid" || !d.Accepted.Equal(e.Accepted) {
			t.Errorf("%+v", d)
		}
		one, err := w.engine.Delivery(ctx, e, "sick")
		if err != nil || len(one.Attempts) != 2 || one.AttemptCount != 2 {
			t.Errorf("%+v %v", one, err)
		}
		if _, err := w.engine.Delivery(ctx, e, "none"); !errors.Is(err, relay.ErrNoDelivery) {
			t.Errorf("got %v", err)
		}
		for _, q := range []relay.DeliveryQuery{{Type: "ORDER.paid", Limit: 9}, {Subscription: "sick", Type: "order.paid", Limit: 9, LastAttempt: true}} {
			page, err := w.engine.Deliveries(ctx, q)
			if err != nil || page.Next != "" || len(page.Deliveries) == 0 {
				t.Fatalf("%+v %v", page, err)
			}
			for _, d := range page.Deliveries {
				if d.Event != id || (len(d.Attempts) == 1) != q.LastAttempt {
					t.Errorf("%+v", d)
				}
			}
		}
	})
}

// scanner is a store that looks at few records for a page of a list, as a large one does.
type scanner struct {
	relay.Store
	pages int
}

func (s *scanner) Events(ctx context.Context, q relay.EventQuery) (relay.EventPage, error) {
	s.pages++
	typ := q.Type
	q.Type, q.Limit = "", 10
	page, err := s.Store.Events(ctx, q)
	page.Events = slices.DeleteFunc(page.Events, func(e *relay.Event) bool { return typ != "" && e.Type != typ })
	return page, err
}

// A type that is rare does not make a page scan everything.
func TestAPageOfARareTypeIsBounded(t *testing.T) {
	run(t, func(w *world) {
		w.stop()
		s := &scanner{Store: w.memory}
		w.store = s
		w.open()
		w.plan(subscription("well", &receiver{}))
		w.publish("rare", `{}`)
		for range 95 {
			w.publish("often", `{}`)
		}
		found, pages := 0, 0
		for q := (relay.DeliveryQuery{Type: "rare", Limit: 50}); ; {
			s.pages = 0
			page, err := w.engine.Deliveries(context.Background(), q)
			if err != nil {
				t.Fatal(err)
			}
			if s.pages > 1 {
				t.Fatalf("a page without a result has asked the store %d times", s.pages)
			}
			pages++
			found += len(page.Deliveries)
			if q.Cursor = page.Next; q.Cursor == "" {
				break
			}
		}
		if found != 1 || pages < 9 {
			t.Errorf("%d found, on %d pages", found, pages)
		}
	})
}
