package relay

import "time"

// Item is one event to be appended, with what it matched.
type Item struct {
	// Event has neither ID nor Seq, Accepted or Deliveries: the store sets them.
	Event   *Event
	Targets []Target
	// Key is the item's own idempotency key, or nil.
	Key *Key
	// Confirm, if it is not nil, is asked about each of Targets as soon as the event's ID
	// and time of acceptance are known. What it refuses is as if it had not been a target.
	// It is called by the store's writer: it must be quick, and not call the store.
	Confirm func(id string, accepted time.Time, t Target) bool
}

// Confirmed returns the targets that remain.
func (i *Item) Confirmed(id string, accepted time.Time) []Target {
	if i.Confirm == nil {
		return i.Targets
	}
	var remaining []Target
	for _, t := range i.Targets {
		if i.Confirm(id, accepted, t) {
			remaining = append(remaining, t)
		}
	}
	return remaining
}

// Target is a subscription that an event matched.
type Target struct {
	Subscription string
	// Key is that of the [Placement].
	Key string
}

// Batch is stored whole or not at all.
type Batch struct {
	Items []Item
	// Key covers the whole batch, or is nil.
	Key *Key
}

// Receipt is the answer for one item of a batch.
type Receipt struct {
	ID   string
	Type string
	// Matched are the subscriptions that got the event when it was first accepted.
	Matched []string
	// Duplicate says that the item's key, or the batch's, was known: ID is that of
	// the event stored then, and nothing was stored now.
	Duplicate bool
}

// Appended is what the event of an item will have once it is stored. It is given to the event
// only then, so that nothing is to be taken back after a failure.
type Appended struct {
	Item       int
	Seq        Seq
	Deliveries []Placement
}

// Complete fills in the events that were stored, and returns them.
func (b *Batch) Complete(receipts []Receipt, fresh []Appended) []*Event {
	events := make([]*Event, len(fresh))
	for i, a := range fresh {
		e := b.Items[a.Item].Event
		e.ID, e.Seq, e.Accepted, e.Deliveries = receipts[a.Item].ID, a.Seq, a.Seq.Time(), a.Deliveries
		e.Size = len(e.Data)
		events[i] = e
	}
	return events
}
