package relay_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/caddyrelay/caddyrelay/relay"
)

func (w *world) explain(id, subscription string) *relay.Explanation {
	w.t.Helper()
	x, err := w.engine.Explain(context.Background(), id, subscription)
	if err != nil {
		w.t.Fatal(err)
	}
	return x
}

// lines shows an explanation as text.
func lines(x *relay.Explanation) string {
	var out strings.Builder
	fmt.Fprintf(&out, "%v", x.Matches)
	for _, c := range x.Clauses {
		fmt.Fprintf(&out, "\n%v %s %s: %s", c.Matches, c.Word, c.Text, c.Found)
	}
	return out.String()
}

func TestExplainSaysClauseByClauseWhyAnEventMatches(t *testing.T) {
	run(t, func(w *world) {
		to := &receiver{}
		crm := expressed(filtered(subscription("crm", to, "order.*", "Entry.publish"), "currency in EUR USD", "not test equals true"), `event.data.total > 100`)
		contentful(crm, `[{"not": {"equals": [{"doc": "sys.id"}, "x"]}}]`)
		w.plan(crm, subscription("all", to))

		id := w.publish("ContentManagement.Entry.publish", `{"currency":"EUR","total":100.5,"test":false,"sys":{"id":"y"}}`).ID
		x := w.explain(id, "crm")
		if got, want := lines(x), `true
true topics order.* Entry.publish: ContentManagement.Entry.publish matches Entry.publish, with the prefix ContentManagement. left out
true filter currency in EUR USD: "EUR"
true filter not test equals true: false
true filters {"not":{"equals":[{"doc":"sys.id"},"x"]}}: "y"
true expression event.data.total > 100: true`; got != want {
			t.Errorf("got:\n%s\nwant:\n%s", got, want)
		}
		synctest.Wait()
		if x := w.explain(id, "crm"); x.Delivery == nil || x.Delivery.State != relay.StateDelivered || x.Note != "" {
			t.Errorf("%+v", x)
		}

		// Every clause is looked at, also behind one that does not match.
		id = w.publish("invoice.paid", `{"currency":"GBP","sys":{}}`).ID
		x = w.explain(id, "crm")
		if got, want := lines(x), `false
false topics order.* Entry.publish: invoice.paid matches none of them
false filter currency in EUR USD: "GBP"
false filter not test equals true: nothing: the data has no "test"
false filters {"not":{"equals":[{"doc":"sys.id"},"x"]}}: nothing: sys has no "id"
false expression event.data.total > 100: no answer: there is no "total"`; got != want {
			t.Errorf("got:\n%s\nwant:\n%s", got, want)
		}
		if x.Delivery != nil || x.Note != "" || x.Event.ID != id {
			t.Errorf("%+v", x)
		}
		if got, want := lines(w.explain(id, "all")), "true\ntrue topics *: invoice.paid matches *"; got != want {
			t.Errorf("got:\n%s\nwant:\n%s", got, want)
		}
	})
}

func TestExplainTellsNowFromThen(t *testing.T) {
	run(t, func(w *world) {
		to := &receiver{}
		w.plan(subscription("crm", to, "order.*"), subscription("gone", to))
		paid, made := w.publish("order.paid", "1").ID, w.publish("invoice.made", "2").ID
		w.plan(subscription("crm", to, "invoice.*"), subscription("new", to))
		for _, c := range []struct {
			id, subscription string
			matches          bool
			note             string
		}{
			{paid, "crm", false, "would not be today"},
			{made, "crm", true, "would be today"},
			{paid, "new", true, "would be today"},
			{paid, "gone", false, "no subscription of this name any more"},
		} {
			x := w.explain(c.id, c.subscription)
			if x.Matches != c.matches || !strings.Contains(x.Note, c.note) {
				t.Errorf("%s: %+v", c.subscription, x)
			}
		}
		test, err := w.engine.Test(context.Background(), "crm")
		if err != nil {
			t.Fatal(err)
		}
		x := w.explain(test.ID, "crm")
		if want := "false\nfalse topics invoice.*: relay.test matches none of them; types under relay. are matched only by topics that begin with relay\n" +
			"true Relay-Subscriptions crm: the sender meant crm"; lines(x) != want || !strings.Contains(x.Note, "a test") {
			t.Errorf("%s\n%s", lines(x), x.Note)
		}
	})
}

func TestExplainKnowsNarrowingAndOtherData(t *testing.T) {
	run(t, func(w *world) {
		to := &receiver{}
		w.plan(filtered(subscription("crm", to), "not a exists"), subscription("all", to))
		receipts, err := w.engine.Publish(context.Background(), []relay.Publication{
			{Event: &relay.Event{Type: "x", Only: []string{"all"}, ContentType: "text/plain", Data: []byte("{}")}},
		}, nil)
		if err != nil {
			t.Fatal(err)
		}
		if got, want := lines(w.explain(receipts[0].ID, "crm")), "false\ntrue topics *: x matches *\n"+
			"false Relay-Subscriptions all: the sender did not mean crm\nfalse filter not a exists: the data is no JSON"; got != want {
			t.Errorf("got:\n%s\nwant:\n%s", got, want)
		}
		if got, want := lines(w.explain(receipts[0].ID, "all")), "true\ntrue topics *: x matches *\ntrue Relay-Subscriptions all: the sender meant all"; got != want {
			t.Errorf("got:\n%s\nwant:\n%s", got, want)
		}
	})
}

func TestExplainOfWhatIsErasedClaimsNothing(t *testing.T) {
	run(t, func(w *world) {
		w.plan(expressed(filtered(subscription("crm", &receiver{}), "a equals 1"), `event.data.a == 1`))
		id := w.publish("x", `{"a":1}`).ID
		synctest.Wait()
		if err := w.engine.Erase(context.Background(), id); err != nil {
			t.Fatal(err)
		}
		x := w.explain(id, "crm")
		if got, want := lines(x), "false\ntrue topics *: x matches *\nfalse filter a equals 1: the data was erased\n"+
			"false expression event.data.a == 1: the data was erased"; got != want || !strings.Contains(x.Note, "erased") {
			t.Errorf("got:\n%s\n%s", got, x.Note)
		}
	})
}

func TestExplainOfUnknownNames(t *testing.T) {
	run(t, func(w *world) {
		w.plan(subscription("crm", &receiver{}))
		id := w.publish("x", "1").ID
		_, err := w.engine.Explain(context.Background(), id, "crn")
		if unknown, ok := errors.AsType[*relay.UnknownNameError](err); !ok || unknown.Name != "crn" {
			t.Errorf("an unknown subscription: %v", err)
		}
		if _, err := w.engine.Explain(context.Background(), "evt_0", "crm"); !errors.Is(err, relay.ErrNotFound) {
			t.Errorf("an unknown event: %v", err)
		}
	})
}
