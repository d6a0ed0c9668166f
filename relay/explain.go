package relay

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/caddyrelay/caddyrelay/relay/topic"
)

// Clause is one of the things that an event has to meet to be meant for a subscription.
type Clause struct {
	// Word is that of the configuration: topics, filter, filters or expression; or
	// Relay-Subscriptions, by which the sender has narrowed the event.
	Word string
	// Text is what stands there.
	Text    string
	Matches bool
	// Found is what the event has, or why it cannot be told.
	Found string
}

// Explanation says why an event is meant for a subscription, or why it is not, by the
// configuration of now.
type Explanation struct {
	Event        *Event
	Subscription string
	Matches      bool
	Clauses      []Clause
	// Delivery is what became of it, without attempts; nil if there is none.
	Delivery *Delivery
	// Note says what differs between now and when the event was accepted; empty if
	// nothing does.
	Note string
}

// Notes of an explanation.
const (
	noteTest    = "a test: it was sent whatever the subscription asks for"
	noteBefore  = "the event was meant for the subscription when it was accepted, or replayed, and would not be today: the configuration has changed since"
	noteToday   = "the event was not meant for the subscription when it was accepted, but would be today: the configuration has changed since, and a replay of those that are missing would deliver it"
	noteGone    = "the configuration has no subscription of this name any more"
	noteErased  = "the event was erased: what its data would match cannot be told"
	foundErased = "the data was erased"
)

// Explain says clause by clause why an event matches a subscription of the active plan, or
// why not. Errors: [ErrNotFound], [UnknownNameError].
func (r *Relay) Explain(ctx context.Context, id, subscription string) (*Explanation, error) {
	seq, err := r.store.Find(ctx, id)
	if err != nil {
		return nil, err
	}
	e, err := r.store.Event(ctx, seq)
	if err != nil {
		return nil, err
	}
	x := &Explanation{Event: e, Subscription: subscription}
	if i := slices.IndexFunc(e.Deliveries, func(p Placement) bool { return p.Subscription == subscription }); i >= 0 {
		r.look(ctx, subscription)
		d, err := r.delivery(ctx, e, e.Deliveries[i])
		if err != nil {
			return nil, err
		}
		x.Delivery = &d
	}
	plan := r.matching.Load()
	if plan == nil {
		return nil, ErrClosed
	}
	s := plan.byName[subscription]
	if s == nil {
		if x.Delivery == nil {
			return nil, &UnknownNameError{subscription}
		}
		x.Note = noteGone
		return x, nil
	}
	x.Clauses = s.explain(e)
	x.Matches = !slices.ContainsFunc(x.Clauses, func(c Clause) bool { return !c.Matches })
	switch {
	case !e.Erased.IsZero() && s.selective():
		x.Note = noteErased
	case x.Delivery != nil && !x.Matches && e.Type == string(TopicTest):
		x.Note = noteTest
	case x.Delivery != nil && !x.Matches:
		x.Note = noteBefore
	case x.Delivery == nil && x.Matches:
		x.Note = noteToday
	}
	return x, nil
}

// previewID is the ID of an event that has none yet, and may get none.
const previewID = idPrefix + "preview"

// ExplainNew says for each subscription of the active plan why it would get an event that is
// not stored, or why not. Errors: [ErrClosed] before there was a plan, and
// [UnknownSubscriptionError].
func (r *Relay) ExplainNew(e *Event) ([]Explanation, error) {
	plan := r.matching.Load()
	if plan == nil {
		return nil, ErrClosed
	}
	if name, bad := plan.unknown(e.Only); bad {
		return nil, &UnknownSubscriptionError{Name: name}
	}
	event := *e
	event.ID, event.Accepted, event.Size = previewID, time.Now().UTC(), len(e.Data)
	all := make([]Explanation, len(plan.subscriptions))
	for i, s := range plan.subscriptions {
		x := Explanation{Event: &event, Subscription: s.Name, Clauses: s.explain(&event)}
		x.Matches = !slices.ContainsFunc(x.Clauses, func(c Clause) bool { return !c.Matches })
		all[i] = x
	}
	return all, nil
}

// explain evaluates every clause, also behind one that does not match.
func (s *Subscription) explain(e *Event) []Clause {
	texts := make([]string, len(s.Topics))
	for i, p := range s.Topics {
		texts[i] = p.String()
	}
	matches, how := topic.Explain(s.Topics, e.Type)
	clauses := []Clause{{Word: "topics", Text: strings.Join(texts, " "), Matches: matches, Found: how}}
	if e.Only != nil {
		c := Clause{Word: "Relay-Subscriptions", Text: strings.Join(e.Only, ", "), Matches: slices.Contains(e.Only, s.Name)}
		c.Found = "the sender meant " + s.Name
		if !c.Matches {
			c.Found = "the sender did not mean " + s.Name
		}
		clauses = append(clauses, c)
	}
	v := viewOf(e)
	defer v.close()
	for _, f := range s.Filters {
		c := Clause{Word: f.Word(), Text: f.String()}
		c.Matches, c.Found = f.Explain(v.data())
		clauses = append(clauses, c.unlessErased(e))
	}
	if s.Expression != nil {
		c := Clause{Word: "expression", Text: s.Expression.String()}
		var err error
		c.Matches, err = v.evaluate(s.Expression)
		switch {
		case err != nil:
			c.Found = "no answer: " + err.Error()
		case c.Matches:
			c.Found = "true"
		default:
			c.Found = "false"
		}
		if s.Expression.Uses("data") {
			c = c.unlessErased(e)
		}
		clauses = append(clauses, c)
	}
	return clauses
}

// unlessErased says so where the data is gone.
func (c Clause) unlessErased(e *Event) Clause {
	if !e.Erased.IsZero() {
		c.Matches, c.Found = false, foundErased
	}
	return c
}
