// Package view is the JSON in which users see events, deliveries and attempts. The
// intake answers it, and so does the admin API: what is the same thing looks the
// same everywhere. The types can be decoded too, for clients of that API.
package view

import "github.com/caddyrelay/caddyrelay/relay"

// Event is one event. Texts that the sender did not give are empty, and its time is null.
type Event struct {
	ID      string `json:"id"`
	Type    string `json:"type"`
	Source  string `json:"source"`
	Subject string `json:"subject"`
	// Time is when it happened according to the sender.
	Time Time `json:"time"`
	// Accepted is when the relay took it.
	Accepted    Time   `json:"accepted"`
	ContentType string `json:"content_type"`
	// Size is that of the data, in bytes.
	Size int `json:"size"`
	// Erased is when the data was erased; left out if it was not.
	Erased Time `json:"erased,omitzero"`
	// SourceID is the sender's own identifier; left out if it gave none.
	SourceID string `json:"source_id,omitempty"`
	// Extensions are CloudEvents extension attributes.
	Extensions map[string]string `json:"extensions,omitempty"`
	// Deliveries have their attempts only where one event is shown.
	Deliveries []Delivery `json:"deliveries"`
}

// NewEvent shows one event with its deliveries and their attempts.
func NewEvent(e *relay.Event, deliveries []relay.Delivery) Event {
	return newEvent(e, deliveries, NewDelivery)
}

// NewListedEvent shows an event as an item of a list: its deliveries are without attempts.
func NewListedEvent(e *relay.Event, deliveries []relay.Delivery) Event {
	return newEvent(e, deliveries, NewListedDelivery)
}

func newEvent(e *relay.Event, deliveries []relay.Delivery, show func(*relay.Delivery) Delivery) Event {
	v := Event{
		ID:          e.ID,
		Type:        e.Type,
		Source:      e.Source,
		Subject:     e.Subject,
		Time:        Time{e.Time},
		Accepted:    Time{e.Accepted},
		ContentType: e.ContentType,
		Size:        e.Size,
		Erased:      Time{e.Erased},
		SourceID:    e.SourceID,
		Extensions:  e.Extensions,
		Deliveries:  make([]Delivery, len(deliveries)),
	}
	for i := range deliveries {
		v.Deliveries[i] = show(&deliveries[i])
	}
	return v
}
