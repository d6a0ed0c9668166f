package relay_test

import (
	"context"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/caddyrelay/caddyrelay/relay"
	"github.com/caddyrelay/caddyrelay/relay/expression"
	"github.com/caddyrelay/caddyrelay/relay/filter"
)

// filtered adds lines of the word filter to a subscription.
func filtered(s *relay.Subscription, lines ...string) *relay.Subscription {
	for _, line := range lines {
		f, err := filter.Parse(strings.Fields(line))
		if err != nil {
			panic(err)
		}
		s.Filters = append(s.Filters, f)
	}
	return s
}

// contentful adds Contentful's filters to a subscription.
func contentful(s *relay.Subscription, text string) *relay.Subscription {
	all, err := filter.ParseContentful([]byte(text))
	if err != nil {
		panic(err)
	}
	s.Filters = append(s.Filters, all...)
	return s
}

// expressed gives a subscription an expression.
func expressed(s *relay.Subscription, text string) *relay.Subscription {
	x, err := expression.Compile(text)
	if err != nil {
		panic(err)
	}
	s.Expression = x
	return s
}

func TestFiltersAndExpressionsDecideWhoGetsAnEvent(t *testing.T) {
	run(t, func(w *world) {
		to := &receiver{}
		w.plan(
			subscription("all", to),
			filtered(subscription("euros", to), "currency equals EUR"),
			filtered(subscription("both", to), "currency in EUR USD", "not test equals true"),
			filtered(subscription("invoices", to, "invoice.*"), "currency equals EUR"),
			contentful(subscription("pages", to), `[{"equals":[{"doc":"sys.contentType.sys.id"},"page"]}]`),
			expressed(subscription("large", to), `event.data.total > 100 && event.source == "/shop"`),
			expressed(filtered(subscription("large-euros", to), "currency equals EUR"), `event.data.total > 100`),
			expressed(subscription("typed", to), `event.type.startsWith("order.")`),
		)
		for _, c := range []struct{ typ, data, want string }{
			{"order.paid", `{"currency":"EUR","total":7}`, "all euros typed"},
			{"order.paid", `{"currency":"EUR","total":700,"test":true}`, "all euros large large-euros typed"},
			{"order.paid", `{"currency":"USD","total":700,"test":false}`, "all both large typed"},
			{"invoice.paid", `{"currency":"EUR"}`, "all euros invoices"},
			{"Entry.publish", `{"sys":{"contentType":{"sys":{"id":"page"}}}}`, "all pages"},
			{"Entry.publish", `{"sys":{"contentType":{"sys":{"id":"post"}}}}`, "all"},
			{"order.paid", `null`, "all typed"},
			{"order.paid", `"EUR"`, "all typed"},
			{"order.paid", `[]`, "all typed"},
		} {
			receipts, err := w.engine.Publish(context.Background(), []relay.Publication{{Event: &relay.Event{
				Type: c.typ, Source: "/shop", ContentType: "application/json", Data: []byte(c.data),
			}}}, nil)
			if err != nil {
				t.Fatal(err)
			}
			if got := strings.Join(receipts[0].Matched, " "); got != c.want {
				t.Errorf("%s %s: %s; want %s", c.typ, c.data, got, c.want)
			}
		}
		synctest.Wait()
	})
}

// TestWhatIsNoJSONMatchesNoFilter, whatever it looks like.
func TestWhatIsNoJSONMatchesNoFilter(t *testing.T) {
	run(t, func(w *world) {
		to := &receiver{}
		w.plan(
			subscription("all", to), filtered(subscription("equals", to), "a equals 1"), filtered(subscription("absent", to), "not b exists"),
			expressed(subscription("data", to), `event.data.a == 1`), expressed(subscription("type", to), `event.type == "x"`),
		)
		for contentType, want := range map[string]string{
			"text/plain": "all type", "application/xml": "all type", "application/json": "all equals absent data type",
			"application/vnd.x+json; charset=utf-8": "all equals absent data type",
		} {
			receipts, err := w.engine.Publish(context.Background(), []relay.Publication{
				{Event: &relay.Event{Type: "x", ContentType: contentType, Data: []byte(`{"a":1}`)}},
			}, nil)
			if err != nil {
				t.Fatal(err)
			}
			if got := strings.Join(receipts[0].Matched, " "); got != want {
				t.Errorf("%s: %s; want %s", contentType, got, want)
			}
		}
	})
}

// TestExpressionsSeeTheWholeEvent: its ID and its time of acceptance too, which it gets only
// while it is stored.
func TestExpressionsSeeTheWholeEvent(t *testing.T) {
	run(t, func(w *world) {
		to := &receiver{}
		w.plan(
			expressed(subscription("id", to), `event.id.startsWith("evt_") && event.data.n == 1`),
			expressed(filtered(subscription("filtered", to), "n equals 2"), `event.id != ""`),
			expressed(subscription("never", to), `event.id == ""`),
			expressed(subscription("late", to), `event.time >= timestamp("`+time.Now().UTC().Format(time.RFC3339)+`")`),
			expressed(subscription("told", to), `event.time == timestamp("1999-01-01T00:00:00Z")`),
			expressed(subscription("subject", to), `event.subject == "s" && event.source == "/a"`),
			subscription("all", to),
		)
		publish := func(e *relay.Event) relay.Receipt {
			t.Helper()
			e.Type, e.ContentType = "x", "application/json"
			receipts, err := w.engine.Publish(context.Background(), []relay.Publication{{Event: e}}, nil)
			if err != nil {
				t.Fatal(err)
			}
			return receipts[0]
		}
		told := time.Date(1999, 1, 1, 0, 0, 0, 0, time.UTC)
		for _, c := range []struct {
			event *relay.Event
			want  string
		}{
			{&relay.Event{Data: []byte(`{"n":1}`)}, "id late all"},
			{&relay.Event{Data: []byte(`{"n":2}`)}, "filtered late all"},
			{&relay.Event{Data: []byte(`{}`), Time: told}, "told all"},
			{&relay.Event{Data: []byte(`{}`), Source: "/a", Subject: "s"}, "late subject all"},
		} {
			r := publish(c.event)
			if got := strings.Join(r.Matched, " "); got != c.want {
				t.Errorf("%s: %s; want %s", c.event.Data, got, c.want)
			}
			e, deliveries, err := w.engine.Inspect(context.Background(), r.ID)
			if err != nil || strings.Join(e.Matched(), " ") != c.want || len(deliveries) != len(strings.Fields(c.want)) {
				t.Errorf("stored as %v with %d deliveries, %v", e.Matched(), len(deliveries), err)
			}
		}
		w.wait(time.Second)
		if n := len(to.all()); n != 3+3+2+3 {
			t.Errorf("%d requests", n)
		}
	})
}

func TestReplayOfMissingAsksFiltersToo(t *testing.T) {
	run(t, func(w *world) {
		for _, data := range []string{`{"n":1}`, `{"n":2}`, `{"n":3}`} {
			w.plan(subscription("first", &receiver{}))
			w.publish("order.paid", data)
		}
		var to receiver
		w.plan(
			subscription("first", &receiver{}),
			expressed(filtered(subscription("late", &to, "order.*"), "not n equals 1"), `event.data.n != 3 && event.id != ""`),
		)
		if j := w.job(relay.ReplayRequest{Subscription: "late", Select: relay.SelectMissing}); j.State != relay.JobDone || j.Replayed != 1 {
			t.Errorf("job %+v", j)
		}
		if got := to.all(); len(got) != 1 || got[0].body != `{"n":2}` {
			t.Errorf("requests %+v", got)
		}
	})
}

func TestExpressionWithoutAnswerIsLogged(t *testing.T) {
	run(t, func(w *world) {
		core, logs := observer.New(zap.DebugLevel)
		p, err := relay.NewPlan(relay.PlanOptions{Logger: zap.New(core), Subscriptions: []*relay.Subscription{
			expressed(subscription("crm", &receiver{}), `event.data.a == 1`),
			expressed(subscription("erp", &receiver{}), `event.data.l.all(a, event.data.l.all(b, event.data.l.all(c, a == c)))`),
		}})
		if err != nil {
			t.Fatal(err)
		}
		w.attach(p)
		if r := w.publish("x", `{"l":[`+strings.Repeat("1,", 200)+`1]}`); len(r.Matched) != 0 {
			t.Errorf("matched %v", r.Matched)
		}
		all := logs.FilterMessageSnippet("an expression has no answer").All()
		levels := []string{}
		for _, entry := range all {
			levels = append(levels, entry.Level.String()+" "+entry.ContextMap()["subscription"].(string))
		}
		if !slices.Equal(levels, []string{"debug crm", "warn erp"}) {
			t.Errorf("logged: %v", levels)
		}
	})
}

// TestOperationalEventsNeedTheirTopicAndMeetFilters as all other events do.
func TestOperationalEventsNeedTheirTopicAndMeetFilters(t *testing.T) {
	run(t, func(w *world) {
		failing := &receiver{answer: func(int, *http.Request) (*http.Response, error) { return answer(400), nil }}
		s := subscription("crm", failing, "order.*")
		s.Retry.Off = true
		all, other, ops, everything := &receiver{}, &receiver{}, &receiver{}, &receiver{}
		w.plan(
			s, filtered(subscription("ops", ops, "relay.*"), "subscription equals crm"), subscription("all-ops", all, "relay.*"),
			filtered(subscription("other-ops", other, "relay.*"), "subscription equals erp"), filtered(subscription("everything", everything), "subscription equals crm"),
		)
		w.publish("order.paid", "{}")
		w.wait(time.Minute)
		for name, c := range map[string]struct {
			to   *receiver
			want int
		}{"ops": {ops, 1}, "all-ops": {all, 1}, "other-ops": {other, 0}, "everything": {everything, 0}} {
			if got := len(c.to.all()); got != c.want {
				t.Errorf("%s got %d events; want %d", name, got, c.want)
			}
		}
	})
}

// F27: what matching does wrong with an event concerns one subscription, and nobody else.
func TestPanicInMatchingIsContained(t *testing.T) {
	run(t, func(w *world) {
		var well, sick receiver
		s := subscription("sick", &sick)
		s.Filters = []*filter.Filter{nil}
		w.plan(subscription("well", &well), s)
		for range 3 {
			if got := w.publish("a", `{}`).Matched; len(got) != 1 || got[0] != "well" {
				t.Errorf("matched %v; want only the other one", got)
			}
		}
		synctest.Wait()
		if a, b := len(well.all()), len(sick.all()); a != 3 || b != 0 {
			t.Errorf("%d and %d requests; want 3 and 0", a, b)
		}
	})
}
