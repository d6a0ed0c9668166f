package caddymodule

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
)

// Limits of a list's page.
const (
	defaultPage = 50
	maxPage     = 1000
)

// query reads the parameters of a request. The first one that is wrong stays in err.
type query struct {
	values url.Values
	now    time.Time
	err    error
}

// newQuery refuses parameters that are not among the known ones, since a filter that is
// not understood would show too much.
func newQuery(r *http.Request, known ...string) *query {
	q := &query{values: r.URL.Query(), now: time.Now()}
	for name, values := range q.values {
		switch {
		case !slices.Contains(known, name):
			q.fail("unknown parameter %q; there are %s", name, strings.Join(known, ", "))
		case len(values) > 1:
			q.fail("parameter %q is given %d times; give it once", name, len(values))
		}
	}
	return q
}

func (q *query) fail(format string, args ...any) {
	if q.err == nil {
		q.err = adminError(http.StatusBadRequest, fmt.Errorf(format, args...))
	}
}

func (q *query) text(name string) string { return q.values.Get(name) }

// time reads an RFC 3339 time, or a duration back from now such as 1h or 7d.
func (q *query) time(name string) time.Time { return q.parseTime(name, q.text(name)) }

func (q *query) parseTime(name, text string) time.Time {
	if text == "" {
		return time.Time{}
	}
	if t, err := time.Parse(time.RFC3339, text); err == nil {
		return t
	}
	d, err := caddy.ParseDuration(text)
	if err != nil || d < 0 {
		q.fail("%s=%q is neither a time like 2026-11-21T20:00:00Z nor a duration back from now like 1h or 7d", name, text)
		return time.Time{}
	}
	return q.now.Add(-d)
}

func (q *query) limit() int {
	text := q.text("limit")
	if text == "" {
		return defaultPage
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 || n > maxPage {
		q.fail("limit=%q is not a number from 1 to %d", text, maxPage)
		return defaultPage
	}
	return n
}

// oneOf reads a word out of a list; empty if it is not given.
func oneOf[T ~string](q *query, name string, words []T) T {
	text := T(q.text(name))
	if text == "" || slices.Contains(words, text) {
		return text
	}
	list := make([]string, len(words))
	for i, w := range words {
		list[i] = string(w)
	}
	q.fail("%s=%q is none of %s", name, text, strings.Join(list, ", "))
	return ""
}

// pathValues returns the names in /relay/<collection>/{id}/deliveries/{subscription}/..., a
// path as it was sent: a slash that is escaped is a part of a name. The id of a subscription is
// its name.
func pathValues(path string) (id, subscription string) {
	parts := strings.Split(strings.TrimPrefix(path, adminPrefix), "/")
	part := func(i int) string {
		if i >= len(parts) {
			return ""
		}
		name, err := url.PathUnescape(parts[i])
		if err != nil { // net/http takes no such path
			return parts[i]
		}
		return name
	}
	return part(1), part(3)
}
