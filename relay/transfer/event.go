package transfer

import (
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/caddyrelay/caddyrelay/relay"
)

// event is an event with its deliveries. Data is in base64, as it was received.
type event struct {
	ID          string            `json:"id"`
	Type        string            `json:"type"`
	Source      string            `json:"source,omitempty"`
	Subject     string            `json:"subject,omitempty"`
	SourceID    string            `json:"source_id,omitempty"`
	Time        time.Time         `json:"time,omitzero"`
	Accepted    time.Time         `json:"accepted"`
	ContentType string            `json:"content_type,omitempty"`
	Data        []byte            `json:"data,omitempty"`
	Erased      time.Time         `json:"erased,omitzero"`
	Extensions  map[string]string `json:"extensions,omitempty"`
	TraceParent string            `json:"traceparent,omitempty"`
	TraceState  string            `json:"tracestate,omitempty"`
	Only        []string          `json:"only,omitempty"`
	Deliveries  []delivery        `json:"deliveries"`
}

// delivery is one for a subscription.
type delivery struct {
	Subscription string `json:"subscription"`
	// Keys are those of order_by and debounce, as they are stored.
	Keys  string `json:"keys,omitempty"`
	State string `json:"state"`
	// Reason is why it failed, or what else is remembered of it.
	Reason       string    `json:"reason,omitempty"`
	AttemptCount int       `json:"attempt_count"`
	Step         int       `json:"step,omitempty"`
	At           time.Time `json:"at,omitzero"`
	Due          time.Time `json:"next_attempt,omitzero"`
	Since        time.Time `json:"since,omitzero"`
	Order        string    `json:"order,omitempty"`
	Attempts     []attempt `json:"attempts,omitempty"`
}

type attempt struct {
	Number    int             `json:"number"`
	At        time.Time       `json:"at"`
	Duration  time.Duration   `json:"duration_ns"`
	Status    int             `json:"status,omitempty"`
	Error     string          `json:"error,omitempty"`
	ErrorKind relay.ErrorKind `json:"error_kind,omitempty"`
	Local     string          `json:"local_address,omitempty"`
	Remote    string          `json:"remote_address,omitempty"`
	Excerpt   []byte          `json:"response_excerpt,omitempty"`
}

// States of a delivery that is moved.
var states = map[relay.Kind]string{
	relay.Retry: "unfinished", relay.Delivered: "delivered", relay.Failed: "failed",
	relay.Superseded: "superseded", relay.Erased: "erased", relay.Quarantined: "quarantined",
}

func kindOf(state string) (relay.Kind, error) {
	for kind, text := range states {
		if text == state {
			return kind, nil
		}
	}
	return 0, fmt.Errorf("a delivery is %q, which is not known", state)
}

func newEvent(m *relay.Moved) (*event, error) {
	e := m.Event
	v := &event{
		ID: e.ID, Type: e.Type, Source: e.Source, Subject: e.Subject, SourceID: e.SourceID, Time: e.Time, Accepted: e.Accepted,
		ContentType: e.ContentType, Data: e.Data, Erased: e.Erased, Extensions: e.Extensions,
		TraceParent: e.TraceParent, TraceState: e.TraceState, Only: e.Only, Deliveries: make([]delivery, len(e.Deliveries)),
	}
	for i, p := range e.Deliveries {
		x := &m.Exceptions[i]
		state, ok := states[x.Kind]
		if !ok {
			return nil, fmt.Errorf("the delivery of %s for %q is of kind %d", e.ID, p.Subscription, x.Kind)
		}
		d := delivery{
			Subscription: p.Subscription, Keys: p.Key, State: state, Reason: x.Reason, AttemptCount: x.Attempts,
			Step: x.Step, At: x.At, Due: x.Due, Since: x.Since, Order: x.Key,
		}
		for _, a := range m.Attempts[i] {
			d.Attempts = append(d.Attempts, attempt{a.Number, a.At, a.Duration, a.Status, a.Error, a.ErrorKind, a.Local, a.Remote, a.Excerpt})
			d.AttemptCount = max(d.AttemptCount, a.Number)
		}
		v.Deliveries[i] = d
	}
	return v, nil
}

// maxReason is in bytes, see [relay.Exception].
const maxReason = 64

func (v *event) value() (*relay.Moved, error) {
	if _, _, err := relay.ParseID(v.ID); err != nil {
		return nil, err
	}
	if err := v.check(); err != nil {
		return nil, fmt.Errorf("the event %s: %w", v.ID, err)
	}
	switch {
	case len(v.Data) > relay.MaxDataSize:
		return nil, fmt.Errorf("the event %s has %d bytes of data; at most %d are possible", v.ID, len(v.Data), relay.MaxDataSize)
	case v.Accepted.IsZero():
		return nil, fmt.Errorf("the event %s does not say when it was accepted", v.ID)
	}
	e := &relay.Event{
		ID: v.ID, Type: v.Type, Source: v.Source, Subject: v.Subject, SourceID: v.SourceID, Time: v.Time, Accepted: v.Accepted.UTC(),
		ContentType: v.ContentType, Data: v.Data, Erased: v.Erased, Extensions: v.Extensions,
		TraceParent: v.TraceParent, TraceState: v.TraceState, Only: v.Only, Deliveries: make([]relay.Placement, len(v.Deliveries)),
	}
	m := &relay.Moved{Event: e, Exceptions: make([]relay.Exception, len(v.Deliveries)), Attempts: make([][]relay.Attempt, len(v.Deliveries))}
	for i := range v.Deliveries {
		d := &v.Deliveries[i]
		kind, err := kindOf(d.State)
		switch {
		case err == nil && (d.AttemptCount < 0 || d.Step < 0 || max(d.AttemptCount, d.Step) > math.MaxInt32):
			err = fmt.Errorf("a delivery was attempted %d times, at step %d", d.AttemptCount, d.Step)
		case err == nil && len(d.Reason) > maxReason:
			err = fmt.Errorf("a reason has %d bytes; at most %d are possible", len(d.Reason), maxReason)
		case err == nil && !v.Erased.IsZero() && !kind.Closed():
			err = errors.New("its data was erased, and it is to be delivered")
		}
		if err != nil {
			return nil, fmt.Errorf("the event %s: %w", v.ID, err)
		}
		e.Deliveries[i] = relay.Placement{Subscription: d.Subscription, Key: d.Keys}
		m.Exceptions[i] = relay.Exception{
			Kind: kind, Attempts: d.AttemptCount, Step: d.Step, At: d.At, Due: d.Due, Since: d.Since, Key: d.Order, Reason: d.Reason,
		}
		for _, a := range d.Attempts {
			m.Attempts[i] = append(m.Attempts[i], relay.Attempt{
				Number: a.Number, At: a.At, Duration: a.Duration, Status: a.Status, Error: a.Error, ErrorKind: a.ErrorKind,
				Local: a.Local, Remote: a.Remote, Excerpt: a.Excerpt,
			})
		}
	}
	return m, nil
}
