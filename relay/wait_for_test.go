package relay_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddyrelay/caddyrelay/relay"
	"github.com/caddyrelay/caddyrelay/relay/expression"
)

// cdn is what deliveries wait for: it shows a revision, after a while.
type cdn struct {
	receiver
	revision atomic.Int64
	// first decides about a request, if it is not nil and does not return nil.
	first func(n int, r *http.Request) (*http.Response, error)
}

func newCDN() *cdn {
	c := new(cdn)
	c.answer = func(n int, r *http.Request) (*http.Response, error) {
		if c.first != nil {
			if resp, err := c.first(n, r); resp != nil || err != nil {
				return resp, err
			}
		}
		return shows(fmt.Sprintf(`{"n":%d}`, c.revision.Load())), nil
	}
	return c
}

// shows is an answer with a body.
func shows(body string) *http.Response {
	resp := answer(200, "Content-Type: application/json")
	resp.Body = io.NopCloser(strings.NewReader(body))
	return resp
}

// polls returns when requests came, in seconds since the start.
func polls(requests []received, start time.Time) string {
	all := make([]string, len(requests))
	for i, r := range requests {
		all[i] = fmt.Sprint(r.at.Sub(start).Round(10 * time.Millisecond).Seconds())
	}
	return strings.Join(all, " ")
}

func until(text string) *expression.Expression {
	x, err := expression.CompileUntil(text)
	if err != nil {
		panic(err)
	}
	return x
}

// waiting waits until the CDN shows the revision of an event, at most for a minute.
func waiting(name string, to http.RoundTripper, c http.RoundTripper) *relay.Subscription {
	s := subscription(name, to)
	s.WaitFor = &relay.WaitFor{
		URL:       &url.URL{Scheme: "https", Host: "cdn.example.com", Path: "/entry"},
		Until:     until(`response.json.n >= event.data.n`),
		Timeout:   time.Minute,
		Transport: c,
	}
	return s
}

func (w *world) crash() {
	again := w.memory.Reopen()
	_ = w.engine.Close()
	w.memory, w.store = again, again
	w.open()
}

// nth returns one of the requests that came, from 0.
func (e *receiver) nth(t *testing.T, n int) received {
	t.Helper()
	all := e.all()
	if len(all) <= n {
		t.Fatalf("%d requests came; want more than %d", len(all), n)
	}
	return all[n]
}

func wantWaited(t *testing.T, r received, want string) {
	t.Helper()
	if got := r.header["Relay-Waited"]; strings.Join(got, ",") != want {
		t.Errorf("Relay-Waited: %q; want %q", got, want)
	}
}

func TestDeliveryWaitsUntilTheAnswerShowsIt(t *testing.T) {
	run(t, func(w *world) {
		var to receiver
		c, o := newCDN(), newWaits()
		w.observed(o, waiting("crm", &to, c))
		start := time.Now()
		id := w.publish("x", keyed("a", 1)).ID
		w.after(start, 5*time.Second)
		w.expect(id, relay.StateHeld, relay.ReasonWaiting, 0)
		if d := w.delivery(id); !d.NextAttempt.Equal(start.Add(8 * time.Second)) {
			t.Errorf("the next look is at %v", d.NextAttempt)
		}
		if s := w.status("crm"); s.Pending != 1 || s.InFlight != 0 || s.State != relay.SubscriptionActive || s.Reason != "" {
			t.Errorf("%+v", s)
		}
		if n := len(to.all()); n != 0 {
			t.Errorf("%d requests while it waits", n)
		}
		w.after(start, 9*time.Second)
		c.revision.Store(1)
		w.after(start, time.Minute)
		if got := polls(c.all(), start); got != "0 1 2 4 8 16" {
			t.Errorf("polls at %s", got)
		}
		if got := bodies(&to, start); got != "a1@16" {
			t.Errorf("got %s", got)
		}
		wantWaited(t, to.nth(t, 0), "ready")
		w.expect(id, relay.StateDelivered, "", 1)
		if s := w.status("crm"); s.Pending != 0 || s.Failed != 0 {
			t.Errorf("%+v", s)
		}
		o.want(t, "crm ready:1", "crm not_ready:5 ready:1")

		ready := w.publish("x", keyed("a", 1)).ID // no need to wait
		synctest.Wait()
		w.expect(ready, relay.StateDelivered, "", 1)
	})
}

// waits counts what an observer is told of waiting.
type waits struct {
	tally
	ends, polled map[string]int
}

func newWaits() *waits {
	return &waits{tally: *newTally(), ends: make(map[string]int), polled: make(map[string]int)}
}

func (o *waits) Waited(subscription string, how relay.Waited) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.ends[subscription+" "+string(how)]++
}

func (o *waits) Polled(s *relay.Subscription, p relay.Polled) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.polled[s.Name+" "+string(p)]++
}

func (o *waits) want(t *testing.T, ends, polled string) {
	t.Helper()
	o.mu.Lock()
	defer o.mu.Unlock()
	if got := strings.Trim(fmt.Sprint(o.ends), "map[]"); got != ends {
		t.Errorf("counted %q, want %q", got, ends)
	}
	got := strings.ReplaceAll(strings.Trim(fmt.Sprint(o.polled), "map[]"), " crm ", " ")
	if got != polled {
		t.Errorf("counted polls %q, want %q", got, polled)
	}
	clear(o.ends)
	clear(o.polled)
}

func TestWaitingInVain(t *testing.T) {
	for how, want := range map[relay.OnTimeout]struct {
		state                relay.State
		reason               relay.Reason
		attempts, deliveries int
		polls                string
		got, waited, ends    string
	}{
		relay.TimeoutDeliver: {relay.StateDelivered, "", 1, 1, "0 1 2 4 8 16 31 46 60", "a1@60", "timeout", "crm timeout:1"},
		// Ten seconds after the first wait the second one begins, and ends well.
		relay.TimeoutRetry: {relay.StateDelivered, "", 2, 1, "0 1 2 4 8 16 31 46 60 70 71 72 74 78 86", "a1@86", "ready", "crm ready:1 crm timeout:1"},
		relay.TimeoutFail:  {relay.StateFailed, relay.ReasonWaiting, 1, 0, "0 1 2 4 8 16 31 46 60", "", "", "crm timeout:1"},
	} {
		t.Run(string(how), func(t *testing.T) {
			run(t, func(w *world) {
				var to receiver
				c, o := newCDN(), newWaits()
				s := waiting("crm", &to, c)
				s.WaitFor.OnTimeout = how
				s.Retry.Delays = []time.Duration{10 * time.Second}
				w.observed(o, s)
				start := time.Now()
				id := w.publish("x", keyed("a", 1)).ID
				w.after(start, 65*time.Second)
				if how == relay.TimeoutRetry {
					w.expect(id, relay.StateRetrying, "", 1)
					w.after(start, 75*time.Second)
					w.expect(id, relay.StateRetrying, relay.ReasonWaiting, 1)
					w.after(start, 80*time.Second)
					c.revision.Store(1)
				}
				w.after(start, time.Hour)
				w.expect(id, want.state, want.reason, want.attempts)
				if got := polls(c.all(), start); got != want.polls {
					t.Errorf("polls at %s, want %s", got, want.polls)
				}
				if got := bodies(&to, start); got != want.got {
					t.Errorf("got %s, want %s", got, want.got)
				}
				if want.waited != "" {
					wantWaited(t, to.nth(t, 0), want.waited)
				}
				if how != relay.TimeoutDeliver {
					attempts := w.delivery(id).Attempts
					if len(attempts) == 0 {
						t.Fatal("no attempt is kept")
					}
					a := attempts[0]
					if a.ErrorKind != relay.KindTimeout || a.Error != "waited for 1m0s in vain: the answer was 200 OK, and until is not met" ||
						!a.At.Equal(start) || a.Duration != time.Minute || a.Status != 0 {
						t.Errorf("%+v", a)
					}
				}
				// The endpoint has nothing to do with it.
				if s := w.status("crm"); !s.FailingSince.IsZero() || s.Pending != 0 || s.Failed != uint64(1-want.deliveries) {
					t.Errorf("%+v", s)
				}
				o.mu.Lock()
				clear(o.polled)
				o.mu.Unlock()
				o.want(t, want.ends, "")
			})
		})
	}
}

// An attempt that fails is made again without another wait: what was waited for is there.
func TestRetriesDoNotWaitAgain(t *testing.T) {
	run(t, func(w *world) {
		to := &receiver{answer: func(n int, _ *http.Request) (*http.Response, error) {
			if n <= 2 {
				return answer(500), nil
			}
			return answer(200), nil
		}}
		c := newCDN()
		plan := func() {
			s := waiting("crm", to, c)
			s.Retry.Delays = []time.Duration{20 * time.Second, 20 * time.Second}
			w.plan(s)
		}
		plan()
		start := time.Now()
		w.publish("x", keyed("a", 1))
		w.after(start, 1500*time.Millisecond)
		c.revision.Store(1)
		w.after(start, 10*time.Second)
		c.revision.Store(0)
		w.restart()
		plan()
		w.after(start, time.Hour)
		if got := bodies(to, start); got != "a1@2 a1@22 a1@42" {
			t.Errorf("got %s", got)
		}
		for _, r := range to.all() {
			wantWaited(t, r, "ready")
		}
		if got := polls(c.all(), start); got != "0 1 2" {
			t.Errorf("polls at %s", got)
		}
	})
}

// A wait goes on after a stop, and ends when it would have.
func TestWaitOutlivesRestartAndCrash(t *testing.T) {
	for name, stop := range map[string]func(*world){"restart": (*world).restart, "crash": (*world).crash} {
		t.Run(name, func(t *testing.T) {
			run(t, func(w *world) {
				var to receiver
				c := newCDN()
				w.plan(waiting("crm", &to, c))
				start := time.Now()
				timed, ready := w.publish("x", keyed("a", 2)).ID, w.publish("x", keyed("b", 1)).ID
				w.after(start, 10*time.Second)
				stop(w)
				w.plan(waiting("crm", &to, c))
				synctest.Wait()
				w.expect(timed, relay.StateHeld, relay.ReasonWaiting, 0)
				w.after(start, 20*time.Second)
				c.revision.Store(1)
				w.after(start, 5*time.Minute)
				if got := bodies(&to, start); got != "b1@31 a2@60" {
					t.Errorf("got %s", got)
				}
				wantWaited(t, to.nth(t, 0), "ready")
				wantWaited(t, to.nth(t, 1), "timeout")
				w.expect(ready, relay.StateDelivered, "", 1)
			})
		})
	}
	t.Run("at once", func(t *testing.T) { // the event is stored, what became of it is not
		run(t, func(w *world) {
			var to receiver
			c := newCDN()
			w.plan(waiting("crm", &to, c))
			w.publish("x", keyed("a", 1))
			w.crash()
			w.plan(waiting("crm", &to, c))
			c.revision.Store(1)
			w.wait(time.Minute)
			if n := len(to.all()); n != 1 {
				t.Errorf("%d requests, want 1", n)
			}
		})
	})
}

// However long one delivery waits, and however slow the answers are, others go on; and there
// are never more polls under way than attempts may be.
func TestWaitingBlocksNothing(t *testing.T) {
	run(t, func(w *world) {
		var to receiver
		c := newCDN()
		c.revision.Store(1)
		var now, most atomic.Int64
		c.first = func(int, *http.Request) (*http.Response, error) {
			most.Store(max(most.Load(), now.Add(1)))
			time.Sleep(10 * time.Second)
			now.Add(-1)
			return nil, nil
		}
		s := waiting("crm", &to, c)
		s.MaxInFlight = 3
		w.plan(s)
		start := time.Now()
		var late []string
		for range 30 {
			late = append(late, w.publish("x", keyed("late", 2)).ID)
		}
		w.publish("x", keyed("ready", 1))
		w.after(start, 10*time.Minute)
		if got := most.Load(); got != 3 {
			t.Errorf("%d polls under way at once; want 3", got)
		}
		var ready time.Duration
		for _, r := range to.all() {
			if strings.Contains(r.body, "ready") {
				ready = r.at.Sub(start)
				wantWaited(t, r, "ready")
			}
		}
		if ready == 0 || ready > 2*time.Minute {
			t.Errorf("what was ready came after %v", ready)
		}
		for _, id := range late {
			w.expect(id, relay.StateDelivered, "", 1)
		}
		if n := w.engine.Places(); n != 0 {
			t.Errorf("%d places are still taken", n)
		}
	})
}

func TestPollsDoNotTakeThePlacesOfAttempts(t *testing.T) {
	run(t, func(w *world) {
		var to receiver
		to.answer = func(int, *http.Request) (*http.Response, error) {
			time.Sleep(10 * time.Second)
			return answer(200), nil
		}
		c := newCDN()
		c.first = func(_ int, r *http.Request) (*http.Response, error) {
			if r.Header.Get("N") == "2" {
				<-r.Context().Done()
				return nil, r.Context().Err()
			}
			return nil, nil
		}
		c.revision.Store(1)
		s := waiting("crm", &to, c)
		s.MaxInFlight = 2
		s.WaitFor.Header = []relay.HeaderRule{{Op: '=', Field: "N", Text: text("{event.data.n}")}}
		w.plan(s)
		start := time.Now()
		for range 2 {
			w.publish("x", keyed("ready", 1))
		}
		synctest.Wait()
		for range 5 {
			w.publish("x", keyed("hangs", 2))
		}
		w.after(start, time.Second)
		if s := w.status("crm"); s.InFlight != 2 || s.Pending != 7 {
			t.Errorf("%+v; want two attempts, and five that wait", s)
		}
	})
}

func text(t string) *relay.Text {
	parsed, err := relay.ParseText(t)
	if err != nil {
		panic(err)
	}
	return parsed
}

// What the CDN asks for is honoured, for whatever delivery it was said, and no delivery waits
// longer for it.
func TestThrottledPollsRest(t *testing.T) {
	for _, throttled := range []*http.Response{
		answer(429, "Retry-After: 25"), answer(503, "Retry-After: 25"), answer(429, "Retry-After: 3600"),
	} {
		run(t, func(w *world) {
			var to receiver
			c, o := newCDN(), newWaits()
			c.first = func(n int, _ *http.Request) (*http.Response, error) {
				if n == 1 {
					again := *throttled
					again.Body = http.NoBody
					return &again, nil
				}
				return nil, nil
			}
			w.observed(o, waiting("crm", &to, c))
			start := time.Now()
			w.publish("x", keyed("a", 1))
			w.after(start, 5*time.Second)
			b := w.publish("x", keyed("b", 1)).ID
			w.after(start, 6*time.Second)
			w.expect(b, relay.StateHeld, relay.ReasonWaiting, 0)
			c.revision.Store(1)
			w.after(start, 10*time.Minute)
			if throttled.Header.Get("Retry-After") == "3600" {
				if got := polls(c.all(), start) + ": " + bodies(&to, start); got != "0: a1@60 b1@65" {
					t.Errorf("got %s", got)
				}
				wantWaited(t, to.nth(t, 1), "timeout")
				o.want(t, "crm timeout:2", "crm throttled:1")
				return
			}
			if got := polls(c.all(), start) + ": " + bodies(&to, start); got != "0 25 25: a1@25 b1@25" && got != "0 25 25: b1@25 a1@25" {
				t.Errorf("got %s", got)
			}
			o.want(t, "crm ready:2", "crm ready:2 throttled:1")
		})
	}
}

// A CDN that cannot be reached, or throttles without saying for how long, is asked by one
// poll at a time, and ever more seldom.
func TestFailingPollsRest(t *testing.T) {
	for _, first := range []func() (*http.Response, error){
		func() (*http.Response, error) { return nil, errReset },
		func() (*http.Response, error) { return answer(429), nil },
		func() (*http.Response, error) { panic("the transport") },
	} {
		run(t, func(w *world) {
			var to receiver
			c := newCDN()
			c.revision.Store(1)
			c.first = func(n int, _ *http.Request) (*http.Response, error) {
				if n <= 7 {
					return first()
				}
				return nil, nil
			}
			s := waiting("crm", &to, c)
			s.WaitFor.Timeout = 10 * time.Minute
			w.plan(s)
			start := time.Now()
			w.publish("x", keyed("a", 1))
			synctest.Wait()
			for range 20 {
				w.publish("x", keyed("b", 1))
			}
			w.after(start, time.Hour)
			if got := polls(c.all(), start); !strings.HasPrefix(got, "0 1 3 7 15 30 45 60 60 60") {
				t.Errorf("polls at %s", got)
			}
			if n := len(to.all()); n != 21 {
				t.Errorf("%d deliveries, want 21", n)
			}
		})
	}
}

// What an answer can be, and what is told of one that is not what is waited for.
func TestAnswersOfPolls(t *testing.T) {
	long := `{"n":1,"pad":"` + strings.Repeat("x", 64<<10) + `"}`
	for name, test := range map[string]struct {
		until  string
		answer func() (*http.Response, error)
		want   string // in the error; empty: ready
	}{
		"json":      {`response.json.n == 1`, func() (*http.Response, error) { return shows(`{"n":1}`), nil }, ""},
		"status":    {`response.status == 404`, func() (*http.Response, error) { return answer(404), nil }, ""},
		"redirect":  {`response.status == 301`, func() (*http.Response, error) { return answer(301), nil }, ""},
		"header":    {`response.header["x-rev"] == "a, b"`, func() (*http.Response, error) { return twice(), nil }, ""},
		"other":     {`response.status == 404`, func() (*http.Response, error) { return answer(200), nil }, "the answer was 200 OK, and until is not met"},
		"absent":    {`response.json.sys.n == 1`, func() (*http.Response, error) { return shows(`{}`), nil }, `the answer was 200 OK; until has no answer: there is no "sys"`},
		"no json":   {`response.json.n == 1`, func() (*http.Response, error) { return answer(200), nil }, `the answer was 200 OK; until has no answer: the body of the response is no JSON`},
		"long":      {`response.json.n == 1`, func() (*http.Response, error) { return shows(long), nil }, `the answer was 200 OK; its body has more than 64 KiB, and was not read`},
		"long 404":  {`response.status == 404`, func() (*http.Response, error) { r := shows(long); r.StatusCode = 404; return r, nil }, ""},
		"broken":    {`response.json.n == 1`, func() (*http.Response, error) { return brokenOff(), nil }, `the answer was 200 OK; its body broke off`},
		"none":      {`response.json.n == 1`, func() (*http.Response, error) { return nil, errReset }, `no answer: `},
		"throttled": {`response.status == 429`, func() (*http.Response, error) { return answer(429, "Retry-After: 100"), nil }, `the answer was 429 Too Many Requests`},
	} {
		t.Run(name, func(t *testing.T) {
			run(t, func(w *world) {
				var to receiver
				c := newCDN()
				c.first = func(int, *http.Request) (*http.Response, error) { return test.answer() }
				s := waiting("crm", &to, c)
				s.WaitFor.Until, s.WaitFor.OnTimeout = until(test.until), relay.TimeoutFail
				w.plan(s)
				id := w.publish("x", keyed("a", 1)).ID
				w.wait(10 * time.Minute)
				if test.want == "" {
					w.expect(id, relay.StateDelivered, "", 1)
					return
				}
				w.expect(id, relay.StateFailed, relay.ReasonWaiting, 1)
				if got := w.delivery(id).Attempts[0].Error; !strings.HasPrefix(got, "waited for 1m0s in vain: "+test.want) {
					t.Errorf("the error is %q", got)
				}
			})
		})
	}
}

func twice() *http.Response {
	r := answer(200)
	r.Header["X-Rev"] = []string{"a", "b"}
	return r
}

func brokenOff() *http.Response {
	r := shows("")
	r.Body = io.NopCloser(io.MultiReader(strings.NewReader(`{"n":`), brokenReader{}))
	return r
}

type brokenReader struct{}

func (brokenReader) Read([]byte) (int, error) { return 0, errors.New("reset") }

// A poll is a GET for the URL of the event, with the fields that are said and no others.
func TestPollIsARequestForTheEvent(t *testing.T) {
	run(t, func(w *world) {
		var to receiver
		c := newCDN()
		c.revision.Store(1)
		s := waiting("crm", &to, c)
		raw := "https://cdn.example.com/entries/{event.data.key}?v={event.data.n}"
		marked, err := relay.MarkURL(raw)
		if err != nil {
			t.Fatal(err)
		}
		judged, err := url.Parse(marked)
		if err != nil {
			t.Fatal(err)
		}
		s.WaitFor.URL = judged
		if s.WaitFor.URLTemplate, err = relay.NewURLTemplate(raw, judged, url.Parse); err != nil {
			t.Fatal(err)
		}
		s.WaitFor.Header = []relay.HeaderRule{{Op: '=', Field: "Authorization", Value: "Bearer t", Secret: true}}
		w.plan(s)
		w.publish("x", keyed("a/b c", 1))
		w.wait(time.Minute)
		got := c.nth(t, 0)
		if got.url != "https://cdn.example.com/entries/a%2Fb%20c?v=1" || got.body != "" {
			t.Errorf("%+v", got)
		}
		if want := `map[Authorization:[Bearer t] User-Agent:[caddy-relay/test]]`; strings.ReplaceAll(fmt.Sprint(got.header), " Idempotency-Key:[]", "") != want {
			t.Errorf("header %v", got.header)
		}

		// An event that does not have what the URL needs cannot be waited for.
		start := time.Now()
		lacks := w.publish("x", `{"n":1}`).ID
		synctest.Wait()
		w.expect(lacks, relay.StateDelivered, "", 1)
		last := to.nth(t, 1)
		wantWaited(t, last, "timeout")
		if len(c.all()) != 1 || !last.at.Equal(start) {
			t.Errorf("%d polls, delivered %v later", len(c.all()), last.at.Sub(start))
		}
	})
}

// With order_by what waits holds its key, and no other.
func TestWaitingHoldsItsKeyAlone(t *testing.T) {
	run(t, func(w *world) {
		var to receiver
		c := newCDN()
		c.revision.Store(1)
		plan := func() {
			s := waiting("crm", &to, c)
			p := placeholder("{event.data.key}")
			s.OrderBy = &p
			w.plan(s)
		}
		plan()
		start := time.Now()
		w.publish("x", keyed("a", 2)) // ready at 16
		behind := w.publish("x", keyed("a", 1)).ID
		w.publish("x", keyed("b", 1))
		w.after(start, 5*time.Second)
		w.expect(behind, relay.StateHeld, relay.ReasonOrder, 0)
		w.restart()
		plan()
		w.after(start, 10*time.Second)
		c.revision.Store(2)
		w.after(start, time.Hour)
		if got := bodies(&to, start); got != "b1@0 a2@16 a1@16" {
			t.Errorf("got %s", got)
		}
	})
	run(t, func(w *world) { // given up, it lets the next one go
		var to receiver
		c := newCDN()
		c.revision.Store(1)
		s := waiting("crm", &to, c)
		p := placeholder("{event.data.key}")
		s.OrderBy, s.WaitFor.OnTimeout = &p, relay.TimeoutFail
		w.plan(s)
		start := time.Now()
		w.publish("x", keyed("a", 2))
		w.publish("x", keyed("a", 1))
		w.after(start, time.Hour)
		if got := bodies(&to, start); got != "a1@60" {
			t.Errorf("got %s", got)
		}
	})
}

// What is debounced waits when its window has ended.
func TestDebouncedWaitsAfterItsWindow(t *testing.T) {
	run(t, func(w *world) {
		var to receiver
		c := newCDN()
		s := waiting("crm", &to, c)
		s.Debounce = &relay.Debounce{Window: 5 * time.Second, By: placeholder("{event.data.key}")}
		w.plan(s)
		start := time.Now()
		w.publish("x", keyed("a", 1))
		w.publish("x", keyed("a", 2))
		w.after(start, 8*time.Second)
		c.revision.Store(2)
		w.after(start, time.Hour)
		if got := polls(c.all(), start) + ": " + bodies(&to, start); got != "5 6 7 9: a2@9" {
			t.Errorf("got %s", got)
		}
	})
}

// While a subscription is held nobody is polled, and nothing is given up unseen.
func TestHeldSubscriptionsDoNotPoll(t *testing.T) {
	run(t, func(w *world) {
		var to receiver
		c := newCDN()
		w.plan(waiting("crm", &to, c))
		start := time.Now()
		id := w.publish("x", keyed("a", 1)).ID
		w.after(start, 5*time.Second)
		if _, err := w.engine.Pause(context.Background(), "crm", ""); err != nil {
			t.Fatal(err)
		}
		w.after(start, 10*time.Minute)
		w.expect(id, relay.StateHeld, relay.ReasonPaused, 0)
		c.revision.Store(1)
		if _, err := w.engine.Resume(context.Background(), "crm"); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if got := polls(c.all(), start) + ": " + bodies(&to, start); got != "0 1 2 4 600: a1@600" {
			t.Errorf("got %s", got)
		}
		wantWaited(t, to.nth(t, 0), "ready")
	})
}

// Somebody who resumes has everything polled at once. It does not send what is not there.
func TestResumePollsAtOnce(t *testing.T) {
	run(t, func(w *world) {
		var to receiver
		c := newCDN()
		c.first = func(n int, _ *http.Request) (*http.Response, error) {
			if n == 1 {
				return answer(429, "Retry-After: 50"), nil
			}
			return nil, nil
		}
		w.plan(waiting("crm", &to, c))
		start := time.Now()
		w.publish("x", keyed("a", 1))
		w.after(start, 9*time.Second)
		if _, err := w.engine.Resume(context.Background(), "crm"); err != nil {
			t.Fatal(err)
		}
		w.after(start, 15*time.Second)
		if got := polls(c.all(), start) + ": " + bodies(&to, start); got != "0 9: " {
			t.Errorf("got %s", got)
		}
	})
}

func TestReloadChangesWhatIsWaitedFor(t *testing.T) {
	run(t, func(w *world) {
		var to receiver
		c, other := newCDN(), newCDN()
		other.revision.Store(1)
		old := w.plan(waiting("crm", &to, c))
		start := time.Now()
		w.publish("x", keyed("a", 1))
		w.after(start, 5*time.Second)
		w.plan(waiting("crm", &to, other))
		w.engine.Detach(old)
		w.after(start, time.Minute)
		if got := polls(c.all(), start) + ", " + polls(other.all(), start) + ": " + bodies(&to, start); got != "0 1 2 4, 8: a1@8" {
			t.Errorf("got %s", got)
		}
	})
	run(t, func(w *world) { // the word is taken out
		var to receiver
		c := newCDN()
		old := w.plan(waiting("crm", &to, c))
		start := time.Now()
		for n := range 5 {
			w.publish("x", keyed("a", n+1))
		}
		w.after(start, 5*time.Second)
		w.plan(subscription("crm", &to))
		w.engine.Detach(old)
		w.after(start, time.Minute)
		got := to.all()
		if len(got) != 5 {
			t.Fatalf("%d requests, want 5", len(got))
		}
		for _, r := range got {
			wantWaited(t, r, "")
			if !r.at.Equal(start.Add(5 * time.Second)) {
				t.Errorf("one came %v after the start", r.at.Sub(start))
			}
		}
	})
	run(t, func(w *world) { // gone, and back
		var to receiver
		c := newCDN()
		old := w.plan(waiting("crm", &to, c))
		start := time.Now()
		id := w.publish("x", keyed("a", 1)).ID
		w.after(start, 5*time.Second)
		none := w.plan()
		w.engine.Detach(old)
		w.after(start, 20*time.Second)
		w.expect(id, relay.StateHeld, relay.ReasonGone, 0)
		c.revision.Store(1)
		w.plan(waiting("crm", &to, c))
		w.engine.Detach(none)
		synctest.Wait()
		if got := bodies(&to, start); got != "a1@20" {
			t.Errorf("got %s", got)
		}
	})
}

// A replay shows the receiver what a delivery does: it waits as one.
func TestReplaysWait(t *testing.T) {
	run(t, func(w *world) {
		var to receiver
		c := newCDN()
		c.revision.Store(1)
		w.plan(waiting("crm", &to, c))
		start := time.Now()
		id := w.publish("x", keyed("a", 1)).ID
		w.after(start, time.Minute)
		c.revision.Store(0)
		if err := w.engine.Replay(context.Background(), id, "crm"); err != nil {
			t.Fatal(err)
		}
		w.after(start, 62*time.Second)
		w.expect(id, relay.StateHeld, relay.ReasonWaiting, 1)
		if err := w.engine.Replay(context.Background(), id, "crm"); !errors.Is(err, relay.ErrUnfinished) {
			t.Errorf("a second replay: %v", err)
		}
		w.after(start, time.Hour)
		if got := bodies(&to, start); got != "a1@0 a1@120" {
			t.Errorf("got %s", got)
		}
		wantWaited(t, to.nth(t, 1), "timeout")
	})
}

func TestDropAndEraseReachWhatWaits(t *testing.T) {
	for _, polling := range []bool{false, true} {
		for _, bound := range []int{1 << 16, 2} {
			t.Run(fmt.Sprintf("polling %v, %d in memory", polling, bound), func(t *testing.T) {
				defer relay.SetRetriesInMemory(bound)()
				run(t, func(w *world) {
					var to receiver
					c := newCDN()
					if polling {
						c.first = func(int, *http.Request) (*http.Response, error) {
							time.Sleep(5 * time.Second)
							return nil, nil
						}
					}
					w.plan(waiting("crm", &to, c))
					ctx := context.Background()
					var ids []string
					for n := range 6 {
						ids = append(ids, w.publish("x", keyed("a", n+1)).ID)
					}
					w.wait(3 * time.Second)
					if err := w.engine.Erase(ctx, ids[0]); err != nil {
						t.Fatal(err)
					}
					c.revision.Store(10)
					if got, err := w.engine.Drop(ctx, "crm"); err != nil || !polling && got.Pending != 0 {
						t.Errorf("%+v, %v", got, err)
					}
					w.wait(10 * time.Second)
					w.expect(ids[0], relay.StateFailed, relay.ReasonErased, 0)
					for _, id := range ids[1:] {
						w.expect(id, relay.StateFailed, relay.ReasonDropped, 0)
					}
					if s := w.status("crm"); s.Pending != 0 || s.Failed != 6 {
						t.Errorf("%+v", s)
					}
					if n := len(to.all()); n != 0 {
						t.Errorf("%d requests", n)
					}
					w.publish("x", keyed("a", 7))
					w.wait(time.Minute)
					if n := len(to.all()); n != 1 {
						t.Errorf("%d requests afterwards, want 1", n)
					}
				})
			})
		}
	}
}

// What the CDN asks for does not move the schedule of the endpoint.
func TestThrottledPollsLeaveTheScheduleAlone(t *testing.T) {
	run(t, func(w *world) {
		var to receiver
		c := newCDN()
		c.first = func(n int, _ *http.Request) (*http.Response, error) {
			time.Sleep(10 * time.Second) // so that the last answer comes when the time is over
			return answer(429, "Retry-After: 20"), nil
		}
		s := waiting("crm", &to, c)
		s.WaitFor.OnTimeout, s.WaitFor.Timeout, s.Retry.Delays = relay.TimeoutRetry, 5*time.Second, []time.Duration{time.Hour}
		w.plan(s)
		start := time.Now()
		id := w.publish("x", keyed("a", 1)).ID
		w.after(start, time.Minute)
		if d := w.delivery(id); !d.NextAttempt.Equal(start.Add(time.Hour + 10*time.Second)) {
			t.Errorf("%+v; the next attempt should be an hour after the first", d)
		}
		if s := w.status("crm"); s.Reason != "" {
			t.Errorf("%+v", s)
		}
	})
}

// More may wait than memory has room for.
func TestMoreWaitThanMemoryHolds(t *testing.T) {
	defer relay.SetRetriesInMemory(4)()
	defer relay.SetQueueEntries(4)()
	run(t, func(w *world) {
		var to receiver
		c := newCDN()
		w.plan(waiting("crm", &to, c))
		for range 30 {
			w.publish("x", keyed("a", 1))
		}
		w.wait(20 * time.Second)
		if n := len(to.all()); n != 0 {
			t.Errorf("%d requests before it is there", n)
		}
		w.restart()
		w.plan(waiting("crm", &to, c))
		w.wait(time.Second)
		c.revision.Store(1)
		w.wait(10 * time.Minute)
		for _, r := range to.all() {
			wantWaited(t, r, "ready")
		}
		if n := len(to.all()); n != 30 {
			t.Errorf("%d requests, want 30", n)
		}
		if s := w.status("crm"); s.Pending != 0 {
			t.Errorf("%+v", s)
		}
	})
}

// What is asked of all polls holds for those that memory has no room for, too; and it is not
// undone by what others are answered that began before.
func TestRestHoldsForAllThatWait(t *testing.T) {
	defer relay.SetRetriesInMemory(4)()
	run(t, func(w *world) {
		var to receiver
		c := newCDN()
		var rest atomic.Int64
		c.first = func(n int, _ *http.Request) (*http.Response, error) {
			switch {
			case n == 3:
				time.Sleep(1500 * time.Millisecond)
				rest.Store(time.Now().UnixMilli() + 20_000)
				return answer(429, "Retry-After: 20"), nil
			case n < 5:
				time.Sleep(2 * time.Second)
			case time.Now().UnixMilli() < rest.Load():
				t.Errorf("poll %d comes at %v", n, time.Now())
			}
			return nil, nil
		}
		w.plan(waiting("crm", &to, c))
		for range 30 {
			w.publish("x", keyed("a", 1))
		}
		w.wait(10 * time.Second)
		w.restart() // what was asked is forgotten, and all wait in the store
		rest.Store(0)
		w.plan(waiting("crm", &to, c))
		w.wait(time.Second)
		c.revision.Store(1)
		w.wait(10 * time.Minute)
		if n := len(to.all()); n != 30 {
			t.Errorf("%d requests, want 30", n)
		}
	})
}

// A test is about the endpoint: there is nothing to wait for.
func TestTestsDoNotWait(t *testing.T) {
	run(t, func(w *world) {
		var to receiver
		c := newCDN()
		s := waiting("crm", &to, c)
		s.WaitFor.OnTimeout = relay.TimeoutFail
		w.plan(s)
		if _, err := w.engine.Test(context.Background(), "crm"); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if len(to.all()) != 1 || len(c.all()) != 0 {
			t.Fatalf("%d requests, %d polls", len(to.all()), len(c.all()))
		}
		wantWaited(t, to.nth(t, 0), "")
	})
}

// A stop cuts polls. Nothing is charged for them.
func TestStopCutsPolls(t *testing.T) {
	run(t, func(w *world) {
		var to receiver
		c := newCDN()
		c.first = func(n int, r *http.Request) (*http.Response, error) {
			if n == 1 {
				<-r.Context().Done()
				return nil, r.Context().Err()
			}
			return nil, nil
		}
		c.revision.Store(1)
		w.plan(waiting("crm", &to, c))
		id := w.publish("x", keyed("a", 1)).ID
		w.wait(time.Second)
		w.restart()
		w.plan(waiting("crm", &to, c))
		w.wait(time.Second)
		w.expect(id, relay.StateDelivered, "", 1)
		if !bytes.Contains([]byte(to.nth(t, 0).header.Get("Relay-Attempt")), []byte("1")) {
			t.Errorf("%v", to.nth(t, 0).header)
		}
	})
}
