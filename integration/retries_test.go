package integration

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

func TestReceiverThatFailsTwiceIsTriedAThirdTime(t *testing.T) {
	t.Parallel()
	r := newReceiver(t)
	secret := newSecret()
	// Each request is held until the test has looked at what the relay says meanwhile.
	gates := []*gate{newGate(t), newGate(t), newGate(t)}
	replies := []reply{
		func(w http.ResponseWriter, _ *arrival) {
			http.Error(w, "the database is down", http.StatusInternalServerError)
		},
		with(http.StatusServiceUnavailable),
		with(http.StatusNoContent),
	}
	r.answer(func(w http.ResponseWriter, a *arrival) {
		i := min(a.number, len(gates)) - 1
		gates[i].then(replies[i])(w, a)
	})
	// A second between attempts, so that fresh timestamps differ.
	c := run(t, fmt.Sprintf(`
		subscription crm %s order.* {
			allow_ips 127.0.0.1
			sign standard {env.SECRET}
			retry 1s 1s 1s {
				jitter 0
			}
		}`, r.url()), withEnv("SECRET="+secret))

	body := `{"order":42}`
	id := c.accept("order.paid", body).ID
	for i, g := range gates {
		r.want(i + 1)
		want := statePending
		if i > 0 {
			want = stateRetrying
		}
		d := c.delivery(id, "crm")
		if d.State != want || d.Reason != "" || d.AttemptCount != i || len(d.Attempts) != i {
			t.Errorf("during attempt %d: %+v; want %s after %d attempts", i+1, d, want, i)
		}
		if s := c.subscription("crm"); s.Pending != 1 || s.InFlight != 1 || s.State != "active" {
			t.Errorf("during attempt %d: %+v", i+1, s)
		}
		g.open()
	}
	d := c.wantDelivery(id, "crm", stateDelivered, "")
	if d.AttemptCount != 3 || len(d.Attempts) != 3 || d.NextAttempt != nil {
		t.Fatalf("%+v; want three attempts", d)
	}
	for i, want := range []struct {
		status        int
		kind, excerpt string
	}{
		{http.StatusInternalServerError, "5xx", "the database is down\n"},
		{http.StatusServiceUnavailable, "5xx", ""},
		{http.StatusNoContent, "", ""},
	} {
		a := d.Attempts[i]
		if a.Number != i+1 || a.Status != want.status || a.ErrorKind != want.kind || a.ResponseExcerpt != want.excerpt || (a.Error == "") != (want.kind == "") {
			t.Errorf("attempt %d: %+v; want %+v", i+1, a, want)
		}
		if i > 0 && !parseTime(t, a.At).After(parseTime(t, d.Attempts[i-1].At)) {
			t.Errorf("attempt %d is not after the one before: %s, %s", i+1, d.Attempts[i-1].At, a.At)
		}
	}

	arrivals := r.wantExactly(3)
	for i, a := range arrivals {
		if a.id() != id || a.header.Get("Relay-Attempt") != strconv.Itoa(i+1) || string(a.body) != body {
			t.Errorf("request %d: %v %q", i+1, a.header, a.body)
		}
		if err := verify(secret, &a); err != nil {
			t.Errorf("request %d: %v", i+1, err)
		}
		if i > 0 && number(&a, "webhook-timestamp") <= number(&arrivals[i-1], "webhook-timestamp") {
			t.Errorf("the webhook-timestamp of request %d is not fresh", i+1)
		}
	}
}

func TestDeliveryIsGivenUpWhenItsRetriesAreUsedUp(t *testing.T) {
	t.Parallel()
	down, picky, once, well := newReceiver(t), newReceiver(t), newReceiver(t), newReceiver(t)
	down.answer(with(http.StatusBadGateway))
	picky.answer(with(http.StatusNotFound))
	once.answer(with(http.StatusBadGateway))
	c := run(t, fmt.Sprintf(`
		defaults {
			allow_ips 127.0.0.1
		}
		subscription down %s {
			retry 50ms 50ms
		}
		subscription picky %s {
			retry 50ms 50ms {
				on_status 429 5xx
			}
		}
		subscription once %s {
			retry off
		}
		subscription well %s`, down.url(), picky.url(), once.url(), well.url()))

	id := c.accept("order.paid", `{"order":1}`).ID
	for name, want := range map[string]int{"down": 3, "picky": 1, "once": 1} {
		d := c.wantDelivery(id, name, stateFailed, anyReason)
		if d.AttemptCount != want || d.NextAttempt != nil {
			t.Errorf("%s: %+v; want %d attempts", name, d, want)
		}
		if s := c.subscription(name); s.Failed != 1 || s.Pending != 0 || s.State != "active" || s.LastSuccess != nil {
			t.Errorf("%s: %+v", name, s)
		}
	}
	c.wantDelivery(id, "well", stateDelivered, "")
	if s := c.subscription("well"); s.Failed != 0 || s.LastSuccess == nil || s.OldestDue != nil {
		t.Errorf("%+v", s)
	}
	down.wantExactly(3)
	picky.wantExactly(1)
	once.wantExactly(1)
	well.wantExactly(1)

	failed := decode[list[delivery]](t, c.get("/relay/deliveries?state=failed"))
	var names []string
	for _, d := range failed.Items {
		names = append(names, d.Subscription)
	}
	slices.Sort(names)
	if !slices.Equal(names, []string{"down", "once", "picky"}) {
		t.Errorf("failed are %v", names)
	}
}

// Whoever looks at the very moment sees either no attempt yet, or the attempt with what
// came of it.
func TestFinishedDeliveryIsNeverShownWithoutItsAttempt(t *testing.T) {
	t.Parallel()
	r := newReceiver(t)
	c := run(t, subscribed("crm", r))
	const n = 300
	var done sync.WaitGroup
	var lacking atomic.Pointer[delivery]
	for i := range n {
		id := c.accept("order.paid", strconv.Itoa(i)).ID
		for range 2 {
			done.Go(func() {
				for deadline := time.Now().Add(patience); time.Now().Before(deadline); {
					var e event
					if a := c.request(http.MethodGet, "/v1/events/"+id, ""); json.Unmarshal(a.body, &e) != nil || len(e.Deliveries) != 1 {
						t.Errorf("GET /v1/events/%s: %s", id, a)
						return
					}
					if d := e.Deliveries[0]; lacksAttempt(d) {
						lacking.Store(&d)
					} else if d.State == stateDelivered {
						return
					}
				}
				t.Errorf("%s is not delivered", id)
			})
		}
	}
	done.Wait()
	if d := lacking.Load(); d != nil {
		t.Errorf("%+v; want its attempt", *d)
	}
}
