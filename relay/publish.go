package relay

import (
	"context"
	"errors"
)

// Publication is one event to be published.
type Publication struct {
	// Event has neither ID nor Seq, Accepted or Deliveries: they are assigned.
	Event *Event
	// Key is its idempotency key, or nil.
	Key *Key
}

// Publish matches events with the active plan, stores them whole or not at all, and
// returns when they are durable: from then on each matching subscription gets them.
// whole is an idempotency key over all of them, or nil.
//
// Errors: those of [Store.Append], and [UnknownSubscriptionError].
func (r *Relay) Publish(ctx context.Context, events []Publication, whole *Key) ([]Receipt, error) {
	plan := r.matching.Load()
	if plan == nil {
		return nil, ErrClosed
	}
	var published func([]Receipt, error)
	if plan.tracer != nil {
		ctx, published = plan.tracer.Publishing(ctx, len(events))
	}
	receipts, err := r.publish(ctx, plan, events, whole)
	if published != nil {
		published(receipts, err)
	}
	for _, receipt := range receipts {
		if receipt.Duplicate {
			plan.observer.Duplicate()
		} else {
			plan.observer.Accepted(len(receipt.Matched))
		}
	}
	return receipts, err
}

// publish is [Relay.Publish] without telling the observer: the relay's own events are not
// counted as accepted.
func (r *Relay) publish(ctx context.Context, plan *Plan, events []Publication, whole *Key) ([]Receipt, error) {
	var one room
	batch := Batch{Key: whole}
	if len(events) == 1 {
		one = newRoom()
		batch.Items = one.items
	} else {
		batch.Items = make([]Item, len(events))
	}
	for i, p := range events {
		if name, bad := plan.unknown(p.Event.Only); bad {
			return nil, &UnknownSubscriptionError{Name: name, Item: i}
		}
		matched := plan.match(p.Event, one.matched)
		targets := one.targets
		if len(matched) > len(targets) {
			targets = make([]Target, len(matched))
		}
		targets = targets[:len(matched)]
		for j, s := range matched {
			targets[j] = Target{Subscription: s.Name, Key: s.keysOf(p.Event).pack()}
		}
		batch.Items[i] = Item{Event: p.Event, Targets: targets, Key: p.Key, Confirm: plan.confirm(p.Event, matched)}
	}
	receipts, err := r.store.Append(ctx, batch, r.offer)
	if err != nil {
		if errors.Is(err, ErrBroken) {
			r.storeFailed("append", err)
		}
		return nil, err
	}
	return receipts, nil
}

// room is what the publication of one event needs, where few subscriptions match: it is made at
// once. Of several events, none has any.
type room struct {
	items   []Item
	targets []Target
	matched []*Subscription
}

func newRoom() room {
	made := new(struct {
		items   [1]Item
		targets [2]Target
		matched [2]*Subscription
	})
	return room{made.items[:], made.targets[:], made.matched[:0]}
}
