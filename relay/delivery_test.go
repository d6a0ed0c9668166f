package relay_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddyrelay/caddyrelay/relay"
	"github.com/caddyrelay/caddyrelay/relay/egress"
	"github.com/caddyrelay/caddyrelay/relay/signature"
)

func TestEventArrivesWithItsBytesAndHeaders(t *testing.T) {
	run(t, func(w *world) {
		var to receiver
		s := subscription("crm", &to, "order.*")
		s.Header = []relay.HeaderRule{{Op: '=', Field: "X-Shop", Value: "7"}, {Op: '-', Field: "User-Agent"}}
		w.plan(s)
		const data = "{ \"a\" : 1.0 }"
		receipts, err := w.engine.Publish(context.Background(), []relay.Publication{{Event: &relay.Event{
			Type: "order.paid", ContentType: "application/json", Data: []byte(data),
			TraceParent: "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", TraceState: "a=b",
		}}}, nil)
		if err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		got := to.all()
		if len(got) != 1 {
			t.Fatalf("%d requests, want 1", len(got))
		}
		if got[0].body != data {
			t.Errorf("body %q, want %q", got[0].body, data)
		}
		want := map[string]string{
			"Content-Type": "application/json", "Webhook-Id": receipts[0].ID, "Relay-Event": "order.paid",
			"Relay-Subscription": "crm", "Relay-Attempt": "1", "X-Shop": "7", "User-Agent": "",
			"Traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "Tracestate": "a=b",
			"Webhook-Timestamp": "946684800", // the bubble's midnight
		}
		for field, value := range want {
			if v := got[0].header.Get(field); v != value {
				t.Errorf("%s: %q, want %q", field, v, value)
			}
		}
		w.expect(receipts[0].ID, relay.StateDelivered, "", 1)
	})
}

func TestOnlyMatchingSubscriptionsGetAnEvent(t *testing.T) {
	run(t, func(w *world) {
		var orders, all, narrowed receiver
		w.plan(subscription("orders", &orders, "order.*"), subscription("all", &all), subscription("other", &narrowed, "user.*"))
		receipt := w.publish("order.paid", "1")
		if strings.Join(receipt.Matched, " ") != "orders all" {
			t.Errorf("matched %v", receipt.Matched)
		}
		if _, err := w.engine.Publish(context.Background(), []relay.Publication{
			{Event: &relay.Event{Type: "order.paid", Only: []string{"all"}}},
		}, nil); err != nil {
			t.Fatal(err)
		}
		_, err := w.engine.Publish(context.Background(), []relay.Publication{
			{Event: &relay.Event{Type: "order.paid", Only: []string{"nobody"}}},
		}, nil)
		if unknown, ok := errors.AsType[*relay.UnknownSubscriptionError](err); !ok || unknown.Name != "nobody" {
			t.Errorf("an unknown name gives %v", err)
		}
		synctest.Wait()
		if a, b, c := len(orders.all()), len(all.all()), len(narrowed.all()); a != 1 || b != 2 || c != 0 {
			t.Errorf("requests: orders %d, all %d, other %d; want 1, 2, 0", a, b, c)
		}
	})
}

func TestFailureIsRetriedByTheSchedule(t *testing.T) {
	run(t, func(w *world) {
		to := receiver{answer: func(n int, r *http.Request) (*http.Response, error) {
			return answer(map[int]int{1: 500, 2: 302}[n] + map[bool]int{true: 204}[n > 2]), nil
		}}
		s := subscription("crm", &to)
		s.Retry.Delays = []time.Duration{5 * time.Second, time.Minute}
		w.plan(s)
		start := time.Now()
		id := w.publish("a", "1").ID
		synctest.Wait()
		w.expect(id, relay.StateRetrying, "", 1)
		if at := w.delivery(id).NextAttempt; !at.Equal(start.Add(5 * time.Second)) {
			t.Errorf("next attempt at %v, want 5s after %v", at, start)
		}
		w.wait(5 * time.Second)
		w.expect(id, relay.StateRetrying, "", 2)
		w.wait(time.Minute)
		w.expect(id, relay.StateDelivered, "", 3)

		got := to.all()
		for i, after := range []time.Duration{0, 5 * time.Second, 65 * time.Second} {
			if d := got[i].at.Sub(start); d != after {
				t.Errorf("attempt %d after %v, want %v", i+1, d, after)
			}
			if got[i].header.Get("Webhook-Id") != id {
				t.Errorf("attempt %d has the id %s", i+1, got[i].header.Get("Webhook-Id"))
			}
			if i > 0 && got[i].header.Get("Webhook-Timestamp") == got[i-1].header.Get("Webhook-Timestamp") {
				t.Errorf("attempt %d has the timestamp of the one before", i+1)
			}
		}
		attempts := w.delivery(id).Attempts
		if len(attempts) != 3 || attempts[0].ErrorKind != relay.Kind5xx || attempts[1].ErrorKind != relay.Kind3xx ||
			attempts[2].Status != 204 || string(attempts[0].Excerpt) != "because" {
			t.Errorf("attempts %+v", attempts)
		}
	})
}

func TestLastFailureIsFinalAndKept(t *testing.T) {
	failing := func(int, *http.Request) (*http.Response, error) { return answer(404), nil }
	for name, c := range map[string]struct {
		policy   relay.RetryPolicy
		reason   relay.Reason
		attempts int
	}{
		"schedule": {relay.RetryPolicy{Delays: []time.Duration{time.Second, time.Second}}, relay.ReasonSchedule, 3},
		"off":      {relay.RetryPolicy{Off: true}, relay.ReasonSchedule, 1},
		"status":   {relay.RetryPolicy{OnStatus: []int{429, 5}}, relay.ReasonStatus, 1},
		"time":     {relay.RetryPolicy{GiveUpAfter: 6 * time.Minute}, relay.ReasonGiveUpAfter, 3},
	} {
		t.Run(name, func(t *testing.T) {
			run(t, func(w *world) {
				s := subscription("crm", &receiver{answer: failing})
				s.Retry = c.policy
				w.plan(s)
				id := w.publish("a", "1").ID
				w.wait(time.Hour)
				w.expect(id, relay.StateFailed, c.reason, c.attempts)
				if status := w.status("crm"); status.Pending != 0 || status.Failed != 1 {
					t.Errorf("status %+v", status)
				}
				w.restart()
				w.plan(s)
				w.wait(time.Hour)
				w.expect(id, relay.StateFailed, c.reason, c.attempts)
			})
		})
	}
}

func TestRetryAfterHoldsTheWholeSubscription(t *testing.T) {
	run(t, func(w *world) {
		to := receiver{answer: func(n int, r *http.Request) (*http.Response, error) {
			if n == 1 {
				return answer(429, "Retry-After: 90"), nil
			}
			return answer(200), nil
		}}
		s := subscription("crm", &to)
		s.Retry.OnStatus = []int{5} // a wish to wait is honoured all the same
		w.plan(s)
		first := w.publish("a", "1").ID
		synctest.Wait()
		second := w.publish("a", "2").ID
		w.wait(89 * time.Second)
		w.expect(first, relay.StateRetrying, relay.ReasonRetryAfter, 1)
		w.expect(second, relay.StateHeld, relay.ReasonRetryAfter, 0)
		if status := w.status("crm"); status.State != relay.SubscriptionActive || status.Reason != relay.ReasonRetryAfter {
			t.Errorf("status %+v", status)
		}
		w.restart() // the wish survives
		w.plan(s)
		synctest.Wait()
		w.expect(second, relay.StateHeld, relay.ReasonRetryAfter, 0)
		w.wait(time.Second)
		w.expect(first, relay.StateDelivered, "", 2)
		w.expect(second, relay.StateDelivered, "", 1)
	})
}

func TestGoneDisablesTheSubscription(t *testing.T) {
	run(t, func(w *world) {
		to := receiver{answer: func(n int, r *http.Request) (*http.Response, error) {
			return answer(410), nil
		}}
		s := subscription("crm", &to)
		w.plan(s)
		first := w.publish("a", "1").ID
		synctest.Wait()
		second := w.publish("a", "2").ID
		w.wait(48 * time.Hour)
		w.expect(first, relay.StateRetrying, relay.ReasonDisabled, 1)
		w.expect(second, relay.StateHeld, relay.ReasonDisabled, 0)
		if status := w.status("crm"); status.State != relay.SubscriptionDisabled || status.Pending != 2 || status.Detail == "" {
			t.Errorf("status %+v", status)
		}
		w.restart()
		w.plan(s)
		w.wait(time.Hour)
		w.expect(first, relay.StateRetrying, relay.ReasonDisabled, 1)
		if n := len(to.all()); n != 1 {
			t.Errorf("%d requests, want 1", n)
		}
	})
}

func TestPausedSubscriptionHoldsAndDropsNothing(t *testing.T) {
	run(t, func(w *world) {
		var to receiver
		paused := subscription("crm", &to)
		paused.Paused, paused.PausedReason = true, "moving house"
		old := w.plan(paused)
		id := w.publish("a", "1").ID
		w.wait(time.Hour)
		w.expect(id, relay.StateHeld, relay.ReasonPaused, 0)
		if status := w.status("crm"); status.State != relay.SubscriptionPaused || status.Detail != "moving house" ||
			status.OldestDue.IsZero() {
			t.Errorf("status %+v", status)
		}
		w.plan(subscription("crm", &to))
		w.engine.Detach(old)
		synctest.Wait()
		w.expect(id, relay.StateDelivered, "", 1)
	})
}

func TestNoUsableAddressHoldsWithoutCharge(t *testing.T) {
	run(t, func(w *world) {
		var back atomic.Bool
		to := receiver{answer: func(n int, r *http.Request) (*http.Response, error) {
			if !back.Load() {
				return nil, &net.OpError{Op: "dial", Err: &egress.UnavailableError{Region: "eu", Reason: "192.0.2.10 is not here"}}
			}
			return answer(200), nil
		}}
		w.plan(subscription("crm", &to))
		id := w.publish("a", "1").ID
		w.wait(time.Hour)
		w.expect(id, relay.StateHeld, relay.ReasonEgress, 0)
		if status := w.status("crm"); status.State != relay.SubscriptionActive || status.Reason != relay.ReasonEgress ||
			!strings.Contains(status.Detail, "192.0.2.10") {
			t.Errorf("status %+v", status)
		}
		back.Store(true)
		w.wait(5 * time.Second)
		w.expect(id, relay.StateDelivered, "", 1)
		if status := w.status("crm"); status.Reason != "" {
			t.Errorf("status %+v", status)
		}
	})
}

func TestErrorsAreNamed(t *testing.T) {
	for want, err := range map[relay.ErrorKind]error{
		relay.KindDNS:      &net.OpError{Op: "dial", Err: &net.DNSError{Err: "no such host", IsNotFound: true}},
		relay.KindConnect:  &net.OpError{Op: "dial", Err: errors.New("connection refused")},
		relay.KindTimeout:  context.DeadlineExceeded,
		relay.KindProtocol: errors.New("malformed HTTP response"),
		relay.KindReset:    &net.OpError{Op: "read", Err: errors.Join(net.ErrClosed, errReset)},
		relay.KindTLS:      errors.New("tls: handshake failure"),
	} {
		run(t, func(w *world) {
			w.plan(subscription("crm", &receiver{answer: func(int, *http.Request) (*http.Response, error) { return nil, err }}))
			id := w.publish("a", "1").ID
			synctest.Wait()
			if a := w.delivery(id).Attempts; len(a) != 1 || a[0].ErrorKind != want || a[0].Error == "" {
				t.Errorf("%v gives %+v, want the kind %s", err, a, want)
			}
		})
	}
}

func TestTimeoutBoundsTheWholeAttempt(t *testing.T) {
	run(t, func(w *world) {
		s := subscription("crm", &receiver{answer: func(n int, r *http.Request) (*http.Response, error) {
			<-r.Context().Done()
			return nil, r.Context().Err()
		}})
		s.Timeout = 3 * time.Second
		w.plan(s)
		id := w.publish("a", "1").ID
		w.wait(2999 * time.Millisecond)
		w.expect(id, relay.StatePending, "", 0)
		w.wait(2 * time.Millisecond)
		w.expect(id, relay.StateRetrying, "", 1)
		if a := w.delivery(id).Attempts[0]; a.ErrorKind != relay.KindTimeout || a.Duration != 3*time.Second {
			t.Errorf("attempt %+v", a)
		}
	})
}

type panickingSigner struct{}

func (panickingSigner) Sign(http.Header, signature.Message) error { panic("out of ink") }

type failingSigner struct{}

func (failingSigner) Sign(http.Header, signature.Message) error {
	return errors.New("no secret is valid now")
}

func TestSignerFaultFailsOneAttemptOnly(t *testing.T) {
	for kind, signer := range map[relay.ErrorKind]signature.Signer{
		relay.KindPanic: panickingSigner{}, relay.KindSign: failingSigner{},
	} {
		run(t, func(w *world) {
			var to, healthy receiver
			s := subscription("crm", &to)
			s.Signers = []signature.Signer{signer}
			w.plan(s, subscription("healthy", &healthy))
			receipt := w.publish("a", "1")
			synctest.Wait()
			_, deliveries, err := w.engine.Inspect(context.Background(), receipt.ID)
			if err != nil {
				t.Fatal(err)
			}
			if a := deliveries[0].Attempts; len(a) != 1 || a[0].ErrorKind != kind {
				t.Errorf("attempts %+v, want the kind %s", a, kind)
			}
			if len(to.all()) != 0 || len(healthy.all()) != 1 {
				t.Errorf("unsigned requests: %d, healthy: %d", len(to.all()), len(healthy.all()))
			}
		})
	}
}

// The cursor of a page names an event. Where that is gone when the next page is asked for, nothing
// of the one behind it is left out.
func TestPageGoesOnBehindAnEventThatIsGone(t *testing.T) {
	run(t, func(w *world) {
		a, b := subscription("a", &receiver{}), subscription("b", &receiver{})
		a.Paused, b.Paused = true, true
		w.plan(a, b)
		seq, _, err := relay.ParseID(w.publish("x", "1").ID)
		if err != nil {
			t.Fatal(err)
		}
		for cursor, want := range map[string]int{fmt.Sprintf("s%d.1", seq): 1, fmt.Sprintf("s%d.1", seq+1): 2} {
			page, err := w.engine.Deliveries(context.Background(), relay.DeliveryQuery{Limit: 10, Cursor: cursor})
			if err != nil || len(page.Deliveries) != want {
				t.Errorf("%d deliveries are listed, want %d; %v", len(page.Deliveries), want, err)
			}
		}
	})
}
