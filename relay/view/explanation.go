package view

import "github.com/caddyrelay/caddyrelay/relay"

// Explanation says why an event is meant for a subscription, or why it is not, by the
// configuration of now.
type Explanation struct {
	Event        string `json:"event"`
	Type         string `json:"type"`
	Subscription string `json:"subscription"`
	// Matches: every clause does.
	Matches bool     `json:"matches"`
	Clauses []Clause `json:"clauses"`
	// Delivery is null if there is none.
	Delivery *Delivery `json:"delivery"`
	// Note says what differs between now and when the event was accepted; left out if
	// nothing does.
	Note string `json:"note,omitempty"`
}

// Clause is one of the things that an event has to meet.
type Clause struct {
	// Word is that of the configuration, Text what stands there.
	Word    string `json:"word"`
	Text    string `json:"text"`
	Verdict bool   `json:"verdict"`
	// Found is what the event has, or why it cannot be told.
	Found string `json:"found"`
}

// NewExplanation shows an explanation.
func NewExplanation(x *relay.Explanation) Explanation {
	v := Explanation{
		Event: x.Event.ID, Type: x.Event.Type, Subscription: x.Subscription,
		Matches: x.Matches, Clauses: make([]Clause, len(x.Clauses)), Note: x.Note,
	}
	for i, c := range x.Clauses {
		v.Clauses[i] = Clause{Word: c.Word, Text: c.Text, Verdict: c.Matches, Found: c.Found}
	}
	if x.Delivery != nil {
		d := NewListedDelivery(x.Delivery)
		v.Delivery = &d
	}
	return v
}
