package relay

import (
	"context"
	"errors"

	"go.uber.org/zap"
)

// orderKey names the deliveries of one key of a subscription to another relay.
type orderKey struct {
	Subscription string
	// Key is text that need not be UTF-8.
	Key []byte
}

// waitingFor fills in the event at the head of a delivery's key, or notes that another relay
// is to be asked for it.
func (r *Relay) waitingFor(ctx context.Context, d *Delivery, p Placement) error {
	if d.Reason != ReasonOrder {
		return nil
	}
	l := r.lane(p.Subscription)
	key := unpackKeys(p.Key).order
	l.mu.Lock()
	head, elsewhere := l.headOf(key), l.tenure.mirror
	l.mu.Unlock()
	if elsewhere {
		d.behind = key
		return nil
	}
	var err error
	d.WaitingFor, err = r.idOf(ctx, head)
	return err
}

// headOf is the event at the head of a key, 0 if that is not known. The caller holds the lock.
func (l *lane) headOf(key string) Seq {
	if line := l.order.lines[key]; line != nil && line.head.pos > 0 {
		return line.head.seq
	}
	return 0
}

// idOf is the ID of an event, empty if there is no such event any more.
func (r *Relay) idOf(ctx context.Context, s Seq) (string, error) {
	if s == 0 {
		return "", nil
	}
	e, err := r.store.Event(ctx, s)
	switch {
	case errors.Is(err, ErrNotFound):
		return "", nil
	case err != nil:
		return "", err
	}
	return e.ID, nil
}

// askAhead asks the relays that carry their subscriptions what deliveries wait for: all of
// them at once. What nobody answers for in time is left empty.
func (r *Relay) askAhead(ctx context.Context, lists ...[]Delivery) error {
	type place struct{ subscription, key string }
	waiting := make(map[place][]*Delivery)
	var asked []orderKey
	for _, list := range lists {
		for i := range list {
			d := &list[i]
			if d.behind == "" {
				continue
			}
			at := place{d.Subscription, d.behind}
			if waiting[at] == nil {
				asked = append(asked, orderKey{d.Subscription, []byte(d.behind)})
			}
			waiting[at] = append(waiting[at], d)
			d.behind = ""
		}
	}
	if len(asked) == 0 {
		return nil
	}
	replies, err := r.member.askOthers(ctx, question{Do: doAhead, Keys: asked})
	if err != nil {
		r.logger.Debug("reading without a word of the other relays", zap.Error(err))
	}
	for _, a := range replies {
		for i, s := range a.Heads[:min(len(a.Heads), len(asked))] {
			id, err := r.idOf(ctx, s)
			if err != nil {
				return err
			}
			for _, d := range waiting[place{asked[i].Subscription, string(asked[i].Key)}] {
				if id != "" {
					d.WaitingFor = id
				}
			}
		}
	}
	return nil
}

// heads returns the event at the head of each of the keys; 0 where this engine does not know it.
func (r *Relay) heads(keys []orderKey) []Seq {
	all := make([]Seq, len(keys))
	for i, k := range keys {
		l := r.lane(k.Subscription)
		l.mu.Lock()
		if !l.tenure.mirror {
			all[i] = l.headOf(string(k.Key))
		}
		l.mu.Unlock()
	}
	return all
}
