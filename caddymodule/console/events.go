package console

import (
	"net/http"
	"strconv"

	"github.com/caddyrelay/caddyrelay/relay"
)

// eventList is the page of events.
type eventList struct {
	Type, Since, Until, Matched string
	// Error is why the filter cannot be read.
	Error         string
	Rows          []relay.ListedEvent
	Older, Newest string
	Searched      bool
}

// Any reports whether something is filtered.
func (l *eventList) Any() bool { return l.Type+l.Since+l.Until+l.Matched != "" }

func (v *visit) events() error {
	list := eventList{Type: v.query("type"), Since: v.query("since"), Until: v.query("until"), Matched: v.query("matched")}
	q := relay.EventQuery{Type: list.Type, Unmatched: list.Matched == "false"}
	var err error
	if q.Since, err = v.instant("since"); err == nil {
		q.Until, err = v.instant("until")
	}
	if err != nil { // it can be mended where it stands
		list.Error = err.Error()
		v.render(http.StatusBadRequest, "events", "Events", &list)
		return nil
	}
	if cursor := v.query("cursor"); cursor != "" {
		n, err := strconv.ParseUint(cursor, 10, 64)
		if err != nil || n == 0 {
			return &relay.CursorError{Cursor: cursor}
		}
		q.Before, list.Newest = relay.Seq(n), v.with("cursor", "")
	}
	rows, next, err := search(func() ([]relay.ListedEvent, string, error) {
		q.Limit = pageSize - len(list.Rows)
		page, next, err := v.engine.Events(v.context(), q)
		q.Before = next
		list.Rows = append(list.Rows, page...)
		if next == 0 {
			return list.Rows, "", err
		}
		return list.Rows, strconv.FormatUint(uint64(next), 10), err
	})
	if err != nil {
		return err
	}
	if next != "" {
		list.Older, list.Searched = v.with("cursor", next), len(rows) < pageSize
	}
	return v.show("events", "Events", &list)
}
