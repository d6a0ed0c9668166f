package view

import "github.com/caddyrelay/caddyrelay/relay"

// Settlement is what has just become of a delivery: the delivery as it is then, as an item of
// a list, and the attempt that has led to it.
type Settlement struct {
	At Time `json:"at"`
	// Type is that of the event.
	Type string `json:"type"`
	Delivery
	// Attempt is null where the delivery was ended without one.
	Attempt *AttemptResult `json:"attempt"`
}

// NewSettlement shows a settlement.
func NewSettlement(s *relay.Settlement) Settlement {
	v := Settlement{At: Time{s.At}, Type: s.Type, Delivery: NewListedDelivery(&s.Delivery)}
	if s.Attempt != nil {
		result := newAttemptResult(s.Attempt)
		v.Attempt = &result
	}
	return v
}
