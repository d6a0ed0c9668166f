package relay_test

import (
	"context"
	"errors"
	"net/http"
	"testing"
	"time"

	"github.com/caddyrelay/caddyrelay/relay"
	"github.com/caddyrelay/caddyrelay/relay/egress"
)

// credentials is an authorizer of a test.
type credentials struct {
	err     error
	hangs   bool
	refused []string
}

func (c *credentials) Authorize(ctx context.Context, h http.Header) error {
	if c.hangs {
		<-ctx.Done()
		return context.Cause(ctx)
	}
	h.Set("Authorization", "Bearer t")
	return c.err
}

func (c *credentials) Refused(h http.Header) {
	c.refused = append(c.refused, h.Get("Authorization"))
}

func TestCredentialsStandInEachRequest(t *testing.T) {
	run(t, func(w *world) {
		to := receiver{answer: func(n int, _ *http.Request) (*http.Response, error) {
			return answer([]int{401, 403, 200}[n-1]), nil
		}}
		c := new(credentials)
		s := subscription("crm", &to)
		s.Auth = c
		w.plan(s)
		id := w.publish("a", `{}`).ID
		w.wait(time.Hour)
		w.expect(id, relay.StateDelivered, "", 3)
		for _, r := range to.all() {
			if r.header.Get("Authorization") != "Bearer t" {
				t.Errorf("%v", r.header)
			}
		}
		if len(c.refused) != 1 || c.refused[0] != "Bearer t" {
			t.Errorf("refused %q; want the 401, and nothing else", c.refused)
		}
	})
}

// Without credentials nothing is sent. It is a failed attempt, of a kind of its own, but
// where the relay's own address is missing, or a stop has cut it.
func TestWithoutCredentialsNothingIsSent(t *testing.T) {
	for _, tt := range []struct {
		name  string
		c     credentials
		state relay.State
		kind  relay.ErrorKind
		tries int
	}{
		{"refused", credentials{err: errors.New("no")}, relay.StateFailed, relay.KindAuth, 1},
		{"slow", credentials{hangs: true}, relay.StateFailed, relay.KindAuth, 1},
		{"no address", credentials{err: &egress.UnavailableError{Region: "eu", Reason: "it is away"}}, relay.StateHeld, "", 0},
	} {
		run(t, func(w *world) {
			var to receiver
			s := subscription("crm", &to)
			s.Auth, s.Retry = &tt.c, relay.RetryPolicy{Off: true}
			w.plan(s)
			id := w.publish("a", `{}`).ID
			w.wait(20 * time.Second)
			d := w.delivery(id)
			if d.State != tt.state || d.AttemptCount != tt.tries || len(to.all()) != 0 {
				t.Errorf("%s: %+v, %d requests", tt.name, d, len(to.all()))
			}
			if tt.tries > 0 && d.Attempts[0].ErrorKind != tt.kind {
				t.Errorf("%s: %+v; want %s", tt.name, d.Attempts[0], tt.kind)
			}
		})
	}
	run(t, func(w *world) {
		var to receiver
		s := subscription("crm", &to)
		s.Auth = &credentials{hangs: true}
		w.plan(s)
		id := w.publish("a", `{}`).ID
		w.wait(time.Second)
		w.restart()
		w.plan(subscription("crm", &to))
		w.wait(time.Second)
		w.expect(id, relay.StateDelivered, "", 1)
	})
}
