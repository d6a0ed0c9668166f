package relay_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddyrelay/caddyrelay/relay"
)

func (w *world) job(q relay.ReplayRequest) relay.Job {
	w.t.Helper()
	j, err := w.engine.StartReplay(context.Background(), q)
	if err != nil {
		w.t.Fatal(err)
	}
	w.wait(time.Minute)
	if j, err = w.engine.Job(context.Background(), j.ID); err != nil {
		w.t.Fatal(err)
	}
	return j
}

func TestReplayReopensAFinishedDelivery(t *testing.T) {
	for _, first := range []int{200, 400} {
		t.Run(fmt.Sprint(first), func(t *testing.T) {
			run(t, func(w *world) {
				var status atomic.Int64
				status.Store(int64(first))
				to := endpoint(&status)
				s := subscription("crm", to)
				s.Retry.Delays = []time.Duration{time.Hour}
				s.Retry.OnStatus = []int{5}
				w.plan(s, subscription("other", &receiver{}, "b"))
				id := w.publish("a", "1").ID
				synctest.Wait()
				failed := w.status("crm").Failed
				status.Store(500)
				ctx := context.Background()
				if err := w.engine.Replay(ctx, id, "crm"); err != nil {
					t.Fatal(err)
				}
				synctest.Wait()
				w.expect(id, relay.StateRetrying, "", 2)
				if got := w.status("crm"); got.Pending != 1 || got.Failed != 0 {
					t.Errorf("status %+v after %d failed", got, failed)
				}
				if err := w.engine.Replay(ctx, id, "crm"); !errors.Is(err, relay.ErrUnfinished) {
					t.Errorf("replaying what is not finished: %v", err)
				}
				w.restart()
				w.plan(s)
				status.Store(204)
				w.wait(time.Hour)
				w.expect(id, relay.StateDelivered, "", 3)
				got := to.all()
				for i, r := range got {
					if r.header.Get("Webhook-Id") != id || r.header.Get("Relay-Attempt") != fmt.Sprint(i+1) {
						t.Errorf("request %d: %v", i+1, r.header)
					}
				}
				if got := w.status("crm"); got.Pending != 0 {
					t.Errorf("status %+v", got)
				}
				if err := w.engine.Replay(ctx, id, "other"); !errors.Is(err, relay.ErrNoDelivery) {
					t.Errorf("replaying what never was: %v", err)
				}
				if err := w.engine.Replay(ctx, "evt_0", "crm"); !errors.Is(err, relay.ErrNotFound) {
					t.Errorf("replaying an event that never was: %v", err)
				}
			})
		})
	}
}

func TestReplayedDeliveryIsPendingUntilItFailsAgain(t *testing.T) {
	run(t, func(w *world) {
		var status atomic.Int64
		status.Store(200)
		s := subscription("crm", endpoint(&status))
		w.plan(s)
		id := w.publish("a", "1").ID
		synctest.Wait()
		ctx := context.Background()
		if _, err := w.engine.Pause(ctx, "crm", ""); err != nil {
			t.Fatal(err)
		}
		if err := w.engine.Replay(ctx, id, "crm"); err != nil {
			t.Fatal(err)
		}
		w.expect(id, relay.StateHeld, relay.ReasonPaused, 1)
		w.restart()
		w.plan(s)
		w.expect(id, relay.StateHeld, relay.ReasonPaused, 1)
		status.Store(500)
		if _, err := w.engine.Resume(ctx, "crm"); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		w.expect(id, relay.StateRetrying, "", 2)
	})
}

func TestReplayOfManySelectsByStateAndTime(t *testing.T) {
	run(t, func(w *world) {
		to := &receiver{answer: func(_ int, r *http.Request) (*http.Response, error) {
			if r.Header.Get("Relay-Event") == "bad" && r.Header.Get("Relay-Attempt") == "1" {
				return answer(400), nil
			}
			return answer(200), nil
		}}
		s := subscription("crm", to)
		s.Retry.Off, s.Breaker.Off = true, true
		w.plan(s)
		var bad []string
		var middle time.Time
		for i := range 20 {
			if i == 10 {
				middle = time.Now()
			}
			if i%2 == 0 {
				bad = append(bad, w.publish("bad", "1").ID)
			} else {
				w.publish("good", "1")
			}
			w.wait(time.Second)
		}
		j := w.job(relay.ReplayRequest{Subscription: "crm", Select: relay.SelectFailed, Since: middle})
		if j.State != relay.JobDone || j.Total != 10 || j.Replayed != 5 {
			t.Errorf("replay of the failed since the middle: %+v", j)
		}
		w.expect(bad[4], relay.StateFailed, relay.ReasonSchedule, 1)
		w.expect(bad[5], relay.StateDelivered, "", 2)
		before := len(to.all())
		j = w.job(relay.ReplayRequest{Subscription: "crm", Select: relay.SelectAll, Until: middle})
		if j.Replayed != 10 || len(to.all())-before != 10 {
			t.Errorf("replay of all until the middle: %+v, %d requests", j, len(to.all())-before)
		}
		_, err := w.engine.StartReplay(context.Background(), relay.ReplayRequest{Subscription: "nobody", Select: relay.SelectAll})
		if _, ok := errors.AsType[*relay.UnknownNameError](err); !ok {
			t.Errorf("a replay for nobody: %v", err)
		}
		if _, err := w.engine.StartReplay(context.Background(), relay.ReplayRequest{Subscription: "crm", Select: "some"}); err == nil {
			t.Error("a replay of some was begun")
		}
	})
}

func TestReplayOfMissingDeliversWhatCameBeforeTheSubscription(t *testing.T) {
	run(t, func(w *world) {
		var to receiver
		old := w.plan(subscription("first", &receiver{}))
		early := w.publish("order.paid", "early").ID
		w.publish("user.created", "no match")
		if _, err := w.engine.Publish(context.Background(), []relay.Publication{
			{Event: &relay.Event{Type: "order.paid", Data: []byte("narrowed"), Only: []string{"first"}}},
		}, nil); err != nil {
			t.Fatal(err)
		}
		w.plan(subscription("first", &receiver{}), subscription("late", &to, "order.*"))
		w.engine.Detach(old)
		late := w.publish("order.paid", "late").ID
		synctest.Wait()
		q := relay.ReplayRequest{Subscription: "late", Select: relay.SelectMissing}
		if j := w.job(q); j.State != relay.JobDone || j.Replayed != 1 {
			t.Errorf("job %+v", j)
		}
		if j := w.job(q); j.Replayed != 0 {
			t.Errorf("a second job finds %d more", j.Replayed)
		}
		got := to.all()
		if len(got) != 2 || got[0].header.Get("Webhook-Id") != late || got[1].body != "early" || got[1].header.Get("Webhook-Id") != early {
			t.Errorf("requests %+v", got)
		}
		w.restart()
		_, deliveries, err := w.engine.Inspect(context.Background(), early)
		if err != nil || len(deliveries) != 2 || deliveries[1].State != relay.StateDelivered {
			t.Errorf("after a restart: %+v, %v", deliveries, err)
		}
	})
}

func TestReplayJobCanBeCancelled(t *testing.T) {
	run(t, func(w *world) {
		var to receiver
		w.plan(subscription("crm", &to))
		for range 100 {
			w.publish("a", "1")
		}
		synctest.Wait()
		j, err := w.engine.StartReplay(context.Background(), relay.ReplayRequest{Subscription: "crm", Select: relay.SelectAll, Rate: 10})
		if err != nil {
			t.Fatal(err)
		}
		w.wait(5*time.Second + time.Millisecond)
		if now, _ := w.engine.Job(context.Background(), j.ID); now.State != relay.JobRunning || now.Total != 100 || now.Replayed < 50 || now.Replayed > 52 {
			t.Errorf("after five seconds at ten a second: %+v", now)
		}
		if j, err = w.engine.CancelJob(context.Background(), j.ID); err != nil || j.State != relay.JobCancelled {
			t.Errorf("cancelling: %+v, %v", j, err)
		}
		w.wait(time.Minute)
		if n := len(to.all()); n < 150 || n > 153 {
			t.Errorf("%d requests", n)
		}
		if _, err := w.engine.Job(context.Background(), "job_none"); !errors.Is(err, relay.ErrNoJob) {
			t.Errorf("a job that never was: %v", err)
		}
	})
}

// TestReplaysAtOnceOfWhatWasDroppedTogether: each is reopened, and stays so over a restart; the
// others of the span stay failed.
func TestReplaysAtOnceOfWhatWasDroppedTogether(t *testing.T) {
	const n, reopened = 200, 150
	run(t, func(w *world) {
		hangs := &receiver{answer: func(_ int, r *http.Request) (*http.Response, error) {
			<-r.Context().Done()
			return nil, r.Context().Err()
		}}
		s := subscription("crm", hangs)
		s.Timeout, s.Paused = time.Hour, true
		held := w.plan(s)
		var ids []string
		for i := range n {
			ids = append(ids, w.publish("a", fmt.Sprint(i)).ID)
		}
		if _, err := w.engine.Drop(context.Background(), "crm"); err != nil {
			t.Fatal(err)
		}
		s = subscription("crm", hangs)
		s.Timeout = time.Hour
		w.plan(s)
		w.engine.Detach(held)
		var all sync.WaitGroup
		for i := range reopened {
			all.Go(func() {
				if err := w.engine.Replay(context.Background(), ids[i*n/reopened], "crm"); err != nil {
					t.Error(err)
				}
			})
		}
		all.Wait()
		if got := w.status("crm"); got.Pending != reopened || got.Failed != n-reopened {
			t.Errorf("%d replayed of %d: %+v", reopened, n, got)
		}
		w.restart()
		var up receiver
		w.plan(subscription("crm", &up))
		w.wait(time.Hour)
		if got := w.status("crm"); len(up.all()) != reopened || got.Pending != 0 || got.Failed != n-reopened {
			t.Errorf("after a restart %d were sent: %+v", len(up.all()), got)
		}
	})
}

// A delivery that was not attempted yet is not replayed, even if it is set aside while the store is
// asked: that has looked for it before, when it still stood in the log.
func TestWhatIsBeingSetAsideIsNotReplayed(t *testing.T) {
	for name, subscribe := range map[string]func(to http.RoundTripper) *relay.Subscription{
		"behind its key": func(to http.RoundTripper) *relay.Subscription { return ordered("crm", to) },
		"in a window": func(to http.RoundTripper) *relay.Subscription {
			s := debounced("crm", to)
			s.Debounce.Window = time.Minute
			return s
		},
	} {
		t.Run(name, func(t *testing.T) {
			run(t, func(w *world) {
				w.stop()
				w.store = &lingering{Store: w.memory, look: 20 * time.Second}
				w.open()
				to := new(receiver)
				to.answer = func(n int, _ *http.Request) (*http.Response, error) {
					if n == 1 {
						time.Sleep(time.Minute)
					}
					return answer(200), nil
				}
				s := subscribe(to)
				s.Paused = true
				w.plan(s)
				w.publish("a", keyed("k", 1))
				id := w.publish("a", keyed("k", 2)).ID
				replayed := make(chan error, 1)
				go func() { replayed <- w.engine.Replay(context.Background(), id, "crm") }()
				w.wait(time.Second)
				w.plan(subscribe(to)) // which goes on
				if err := <-replayed; !errors.Is(err, relay.ErrUnfinished) {
					t.Errorf("replaying what was not attempted yet: %v; want ErrUnfinished", err)
				}
				w.wait(time.Hour)
				w.expectPending(0)
				times := 0
				for _, r := range to.all() {
					if r.header.Get("webhook-id") == id {
						times++
					}
				}
				if times != 1 {
					t.Errorf("it was sent %d times", times)
				}
			})
		})
	}
}
