package console

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"time"

	"github.com/caddyrelay/caddyrelay/relay"
)

// pageSize is the number of rows of a list.
const pageSize = 50

// searchTime is how long a list looks for what is rare before it shows how far it came.
const searchTime = 250 * time.Millisecond

// deliveryFilter is the part of a list's URL that says what is in it.
type deliveryFilter struct {
	Subscription, State, Type, Since, Until string
	States                                  []relay.State
}

// Any reports whether something is filtered.
func (f *deliveryFilter) Any() bool {
	return f.Subscription+f.State+f.Type+f.Since+f.Until != ""
}

// deliveryList is the page of deliveries.
type deliveryList struct {
	Filter deliveryFilter
	// Error is why the filter cannot be read.
	Error string
	Rows  []relay.Delivery
	// Older is the URL of the next page; Newest that of the first one, where this is not it.
	Older, Newest string
	// Live says that what settles is added on top, from Stream; LiveURL and Still are the
	// URLs of this list with and without that.
	Live                   bool
	Stream, LiveURL, Still string
	// Searched says that the page ended before it was full, since it took too long.
	Searched bool
}

func (v *visit) deliveries() error {
	q, filter, err := v.deliveryQuery()
	if err != nil { // it can be mended where it stands
		v.render(http.StatusBadRequest, "deliveries", "Deliveries", &deliveryList{Filter: filter, Error: err.Error()})
		return nil
	}
	list := deliveryList{Filter: filter}
	if q.Cursor != "" {
		list.Newest = v.with("cursor", "")
	}
	list.Live, list.LiveURL, list.Still = v.query("live") != "", v.with("live", "1"), v.with("live", "")
	list.Stream = "?" + url.Values{"subscription": {filter.Subscription}, "state": {filter.State}, "type": {filter.Type}}.Encode()
	rows, next, err := search(func() ([]relay.Delivery, string, error) {
		q.Limit = pageSize - len(list.Rows)
		page, err := v.engine.Deliveries(v.context(), q)
		q.Cursor = page.Next
		list.Rows = append(list.Rows, page.Deliveries...)
		return list.Rows, page.Next, err
	})
	if err != nil {
		return err
	}
	if next != "" {
		list.Older, list.Searched = v.with("cursor", next), len(rows) < pageSize
	}
	return v.show("deliveries", "Deliveries", &list)
}

// search reads on until a page is full, there is nothing more, or it takes too long.
func search[T any](read func() ([]T, string, error)) (rows []T, next string, err error) {
	for end := time.Now().Add(searchTime); ; {
		rows, next, err = read()
		if err != nil || next == "" || len(rows) >= pageSize || time.Now().After(end) {
			return rows, next, err
		}
	}
}

func (v *visit) deliveryQuery() (relay.DeliveryQuery, deliveryFilter, error) {
	f := deliveryFilter{
		Subscription: v.query("subscription"), State: v.query("state"), Type: v.query("type"),
		Since: v.query("since"), Until: v.query("until"), States: relay.States,
	}
	q := relay.DeliveryQuery{Subscription: f.Subscription, Type: f.Type, State: relay.State(f.State), Cursor: v.query("cursor"), LastAttempt: true}
	if f.State != "" && !slices.Contains(relay.States, q.State) {
		return q, f, &pageError{http.StatusBadRequest, fmt.Sprintf("There is no state %.40q.", f.State)}
	}
	var err error
	if q.Since, err = v.instant("since"); err != nil {
		return q, f, err
	}
	q.Until, err = v.instant("until")
	return q, f, err
}
