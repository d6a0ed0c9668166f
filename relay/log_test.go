package relay_test

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/caddyrelay/caddyrelay/relay"
)

// logged attaches a plan whose log is kept.
func (w *world) logged(level zapcore.Level, subscriptions ...*relay.Subscription) *observer.ObservedLogs {
	w.t.Helper()
	core, records := observer.New(level)
	p, err := relay.NewPlan(relay.PlanOptions{Subscriptions: subscriptions, Logger: zap.New(core)})
	if err != nil {
		w.t.Fatal(err)
	}
	w.attach(p)
	return records
}

func TestEachAttemptIsOneRecord(t *testing.T) {
	run(t, func(w *world) {
		crm := subscription("crm", &receiver{answer: func(n int, _ *http.Request) (*http.Response, error) {
			return answer(map[int]int{1: 500, 2: 400, 3: 200}[n]), nil
		}})
		crm.Region, crm.Retry.Delays = "eu", []time.Duration{time.Second}
		records := w.logged(zap.DebugLevel, crm)
		id := w.publishTraced("order.paid")
		w.wait(10 * time.Second)
		w.publish("order.paid", "2")
		w.wait(10 * time.Second)

		all := records.FilterField(zap.String("type", "order.paid")).All()
		if len(all) != 3 {
			t.Fatalf("%d records, want 3: %v", len(all), all)
		}
		for i, want := range []struct {
			level   zapcore.Level
			message string
			outcome string
		}{
			{zap.WarnLevel, "attempt failed", "retry"},
			{zap.ErrorLevel, "delivery failed", "failed"},
			{zap.DebugLevel, "attempt", "delivered"},
		} {
			fields := all[i].ContextMap()
			if all[i].Level != want.level || all[i].Message != want.message || fields["outcome"] != want.outcome || fields["region"] != "eu" {
				t.Errorf("record %d: %s %q %v; want %v", i+1, all[i].Level, all[i].Message, fields, want)
			}
		}
		first := all[0].ContextMap()
		if at, ok := first["next_attempt"].(time.Time); !ok || at.Before(all[0].Time) {
			t.Errorf("next_attempt is %v", first["next_attempt"])
		}
		if first["event"] != id || first["trace_id"] != "0af7651916cd43dd8448eb211c80319c" {
			t.Errorf("event %v, trace_id %v", first["event"], first["trace_id"])
		}
		for _, name := range []string{"next_attempt", "trace_id"} {
			if v, there := all[2].ContextMap()[name]; there {
				t.Errorf("a delivered event without a trace has %s: %v", name, v)
			}
		}
	})
}

// publishTraced posts an event that came with a trace context, and returns its ID.
func (w *world) publishTraced(typ string) string {
	w.t.Helper()
	receipts, err := w.engine.Publish(w.t.Context(), []relay.Publication{{Event: &relay.Event{
		Type: typ, ContentType: "application/json", Data: []byte("1"),
		TraceParent: "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
	}}}, nil)
	if err != nil {
		w.t.Fatal(err)
	}
	return receipts[0].ID
}

// An endpoint that is down fails thousands of attempts. The log says so, and how many more
// there were; on the debug level each one is there.
func TestDeadEndpointDoesNotFloodTheLog(t *testing.T) {
	run(t, func(w *world) {
		dead := subscription("dead", &receiver{answer: func(int, *http.Request) (*http.Response, error) {
			return nil, errors.New("connection refused")
		}})
		dead.Retry.Off, dead.Breaker.Off, dead.MaxInFlight = true, true, 1
		other := subscription("other", &receiver{answer: func(int, *http.Request) (*http.Response, error) { return answer(500), nil }}, "rare")
		other.Retry.Off = true
		records := w.logged(zap.DebugLevel, dead, other)
		const each, minutes = 100, 3
		for range minutes {
			for range each {
				w.publish("order.paid", "1")
			}
			w.wait(time.Minute)
		}
		w.publish("rare", "1")
		w.wait(time.Second)

		of := func(name string, level zapcore.Level) []observer.LoggedEntry {
			return records.FilterField(zap.String("subscription", name)).Filter(func(e observer.LoggedEntry) bool {
				return e.Level == level && e.Message == "delivery failed"
			}).All()
		}
		loud, quiet := of("dead", zap.ErrorLevel), of("dead", zap.DebugLevel)
		if len(loud)+len(quiet) != each*minutes+1 {
			t.Errorf("%d records of %d attempts", len(loud)+len(quiet), each*minutes+1)
		}
		if len(loud) > 20*minutes || len(loud) < minutes {
			t.Errorf("%d records of %d failures in %d minutes", len(loud), each*minutes, minutes)
		}
		var told int64
		for _, r := range loud {
			if n, ok := r.ContextMap()["more_since_last"]; ok {
				told += int64(n.(uint64))
			}
		}
		if told != int64(len(quiet)) {
			t.Errorf("more_since_last adds up to %d; %d were not written", told, len(quiet))
		}
		if n := len(of("other", zap.ErrorLevel)); n != 1 {
			t.Errorf("%d records of another subscription; want 1", n)
		}
	})
}

func TestMinuteWithDeliveriesIsSummedUp(t *testing.T) {
	run(t, func(w *world) {
		sick := subscription("sick", &receiver{answer: func(int, *http.Request) (*http.Response, error) { return answer(500), nil }})
		sick.Retry.Off, sick.Breaker.Off = true, true
		held := subscription("held", &receiver{})
		held.Paused = true
		records := w.logged(zap.InfoLevel, subscription("well", &receiver{}), sick, held)
		for range 3 {
			w.publish("order.paid", "1")
		}
		w.wait(90 * time.Second)
		all := records.FilterMessage("deliveries of the last minute").All()
		if len(all) != 1 {
			t.Fatalf("%d summaries, want 1", len(all))
		}
		for name, want := range map[string]any{
			"delivered": uint64(3), "failed": uint64(3), "superseded": uint64(0), "pending": uint64(3), "subscriptions_held": int64(1),
		} {
			if got := all[0].ContextMap()[name]; got != want {
				t.Errorf("%s is %v, want %v", name, got, want)
			}
		}
		w.wait(time.Hour)
		if n := records.FilterMessage("deliveries of the last minute").Len(); n != 1 {
			t.Errorf("%d summaries after an hour in which nothing ended; want 1", n)
		}
	})
}

// What an endpoint sends back may be what it was sent: no error repeats it.
func TestErrorsOfTheProtocolShowNothingOfTheAnswer(t *testing.T) {
	for _, text := range []string{
		`malformed HTTP response "POST /hook?token=SECRET HTTP/1.1"`,
		`malformed HTTP status code "SECRET"`,
		`net/http: HTTP/1.x transport connection broken: malformed MIME header line: X-Api-Key SECRET`,
		`net/http: HTTP/1.x transport connection broken: malformed MIME header: missing colon: "X-Api-Key SECRET"`,
		`http2: server sent GOAWAY and closed the connection; LastStreamID=1, ErrCode=NO_ERROR, debug="SECRET"`,
	} {
		run(t, func(w *world) {
			crm := subscription("crm", &receiver{answer: func(int, *http.Request) (*http.Response, error) { return nil, errors.New(text) }})
			records := w.logged(zap.DebugLevel, crm)
			id := w.publish("a", "1").ID
			w.wait(time.Second)
			for _, shown := range []string{records.All()[0].ContextMap()["error"].(string), w.delivery(id).Attempts[0].Error} {
				if strings.Contains(shown, "SECRET") || len(shown) < 20 {
					t.Errorf("%q", shown)
				}
			}
		})
	}
}

func TestErrorsOfPollsShowNothingOfTheAnswer(t *testing.T) {
	run(t, func(w *world) {
		crm := subscription("crm", &receiver{})
		crm.WaitFor = &relay.WaitFor{
			URL: crm.URL, Until: until("response.json.n >= 7"), Timeout: 2 * time.Second, OnTimeout: relay.TimeoutFail,
			Transport: transport(func(*http.Request) (*http.Response, error) {
				return nil, errors.New(`malformed HTTP response "X-Api-Key: SECRET"`)
			}),
		}
		records := w.logged(zap.DebugLevel, crm)
		id := w.publish("a", "1").ID
		w.wait(time.Minute)
		d := w.delivery(id)
		if d.State != relay.StateFailed || !strings.Contains(d.Attempts[0].Error, "malformed HTTP response") {
			t.Fatalf("%+v", d)
		}
		if text := d.Attempts[0].Error + fmt.Sprint(records.All()); strings.Contains(text, "SECRET") {
			t.Errorf("%s", text)
		}
	})
}
