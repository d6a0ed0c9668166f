package relay

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// scanBound is the number of records that one page of a list looks at, at most.
const scanBound = 2000

// ListedEvent is an event without its data, with its deliveries without their attempts.
type ListedEvent struct {
	Event      *Event
	Deliveries []Delivery
}

// Events lists events, newest first. The second result is Before of the next page, 0 at
// the end; see [EventPage].
func (r *Relay) Events(ctx context.Context, q EventQuery) ([]ListedEvent, Seq, error) {
	r.flushForReading(ctx)
	page, err := r.store.Events(ctx, q)
	if err != nil {
		return nil, 0, err
	}
	r.lookAt(ctx, page.Events...)
	listed := make([]ListedEvent, len(page.Events))
	for i, e := range page.Events {
		listed[i].Event = e
		for _, p := range e.Deliveries {
			if listed[i].Deliveries, err = r.list(ctx, listed[i].Deliveries, e, p, &DeliveryQuery{}); err != nil {
				return nil, 0, err
			}
		}
	}
	all := make([][]Delivery, len(listed))
	for i := range listed {
		all[i] = listed[i].Deliveries
	}
	return listed, page.Next, r.askAhead(ctx, all...)
}

// DeliveryQuery selects deliveries for a list, newest first.
type DeliveryQuery struct {
	// Subscription and State are exact, Type is compared without regard to case; empty: all.
	Subscription string
	State        State
	Type         string
	// LastAttempt asks for the last attempt of each delivery.
	LastAttempt bool
	// Since is inclusive and Until exclusive, on acceptance time; zero: open.
	Since, Until time.Time
	// Cursor is Next of the page before; empty: from the newest.
	Cursor string
	// Limit is the largest number of deliveries to return.
	Limit int
}

// DeliveryPage is one page of a list.
type DeliveryPage struct {
	// Deliveries come without their attempts, but for the last one where it was asked for.
	Deliveries []Delivery
	// Next is the Cursor of the next page, empty at the end. A page may hold fewer
	// deliveries than asked for, even none, while there is a next one.
	Next string
}

// CursorError means that a cursor was not made by this list.
type CursorError struct{ Cursor string }

func (e *CursorError) Error() string {
	return fmt.Sprintf("%q is no cursor of this list; take \"next\" of a page, with the same filters", e.Cursor)
}

// Deliveries lists deliveries, newest first.
func (r *Relay) Deliveries(ctx context.Context, q DeliveryQuery) (DeliveryPage, error) {
	r.flushForReading(ctx)
	var page DeliveryPage
	var err error
	if q.Subscription != "" {
		r.look(ctx, q.Subscription)
		page, err = r.deliveriesOf(ctx, q)
	} else {
		page, err = r.deliveriesOfAll(ctx, q)
	}
	if err == nil {
		err = r.askAhead(ctx, page.Deliveries)
	}
	return page, err
}

// deliveriesOf walks the log of one subscription backwards.
func (r *Relay) deliveriesOf(ctx context.Context, q DeliveryQuery) (DeliveryPage, error) {
	var page DeliveryPage
	before := uint64(0)
	if q.Cursor != "" {
		n, err := strconv.ParseUint(strings.TrimPrefix(q.Cursor, "p"), 10, 64)
		if err != nil || n == 0 || q.Cursor[0] != 'p' {
			return page, &CursorError{q.Cursor}
		}
		before = n
	}
	entries, err := r.store.Log(ctx, q.Subscription, before, scanBound)
	if err != nil {
		return page, err
	}
	for _, entry := range entries {
		at := entry.Seq.Time()
		if !q.Until.IsZero() && !at.Before(q.Until) {
			continue
		}
		if at.Before(q.Since) {
			return page, nil
		}
		if len(page.Deliveries) == q.Limit {
			page.Next = "p" + strconv.FormatUint(entry.Pos+1, 10)
			return page, nil
		}
		e, err := r.listed(ctx, entry.Seq)
		if err != nil {
			return page, err
		}
		if e == nil || q.Type != "" && !strings.EqualFold(e.Type, q.Type) {
			continue
		}
		p := Placement{Subscription: q.Subscription, Pos: entry.Pos, Key: packedKeys(e, q.Subscription)}
		if page.Deliveries, err = r.list(ctx, page.Deliveries, e, p, &q); err != nil {
			return page, err
		}
	}
	if len(entries) == scanBound {
		page.Next = "p" + strconv.FormatUint(entries[len(entries)-1].Pos, 10)
	}
	return page, nil
}

// listed returns the event of an entry of a log; nil if it was removed meanwhile. One that
// cannot be read is listed by its ID alone: it must not hide all others.
func (r *Relay) listed(ctx context.Context, s Seq) (*Event, error) {
	e, err := r.store.Event(ctx, s)
	switch {
	case errors.Is(err, ErrNotFound):
		return nil, nil
	case !isUnreadable(err):
		return e, err
	}
	page, err := r.store.Events(ctx, EventQuery{Before: s + 1, Limit: 1})
	if err != nil || len(page.Events) == 0 || page.Events[0].Seq != s {
		return nil, err
	}
	return page.Events[0], nil
}

// deliveriesOfAll walks the store's log backwards.
func (r *Relay) deliveriesOfAll(ctx context.Context, q DeliveryQuery) (DeliveryPage, error) {
	var page DeliveryPage
	before, again, skip := Seq(0), Seq(0), 0
	if q.Cursor != "" {
		if _, err := fmt.Sscanf(q.Cursor, "s%d.%d", &again, &skip); err != nil || again == 0 {
			return page, &CursorError{q.Cursor}
		}
		before = again + 1 // that event again, without its first deliveries, if it is still there
	}
	for scanned := 0; scanned < scanBound; {
		events, err := r.store.Events(ctx, EventQuery{Type: q.Type, Since: q.Since, Until: q.Until, Before: before, Limit: q.Limit})
		if err != nil {
			return page, err
		}
		r.lookAt(ctx, events.Events...)
		for _, e := range events.Events {
			scanned += 1 + len(e.Deliveries)
			for i, p := range e.Deliveries {
				if e.Seq == again && i < skip {
					continue
				}
				if len(page.Deliveries) == q.Limit {
					page.Next = fmt.Sprintf("s%d.%d", e.Seq, i)
					return page, nil
				}
				if page.Deliveries, err = r.list(ctx, page.Deliveries, e, p, &q); err != nil {
					return page, err
				}
			}
		}
		if events.Next == 0 {
			page.Next = ""
			return page, nil
		}
		before = events.Next
		page.Next = fmt.Sprintf("s%d.0", before-1)
		if len(events.Events) < q.Limit { // the store has looked at as many as it does at once
			return page, nil
		}
	}
	return page, nil
}

// list appends a delivery if it is in the wanted state.
func (r *Relay) list(ctx context.Context, dst []Delivery, e *Event, p Placement, q *DeliveryQuery) ([]Delivery, error) {
	d, err := r.delivery(ctx, e, p)
	if err != nil || (q.State != "" && d.State != q.State) {
		return dst, err
	}
	if q.LastAttempt || d.AttemptCount == 0 && d.State.Finished() {
		if err := r.lastAttempt(ctx, &d, e.Seq); err != nil {
			return dst, err
		}
		if !q.LastAttempt {
			d.Attempts = nil
		}
	}
	return append(dst, d), nil
}
