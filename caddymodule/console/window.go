package console

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// instant reads a time out of the query: RFC 3339, a day, a day with a time, both in UTC,
// or a duration back from now such as 90m or 7d. Zero where there is none.
func (v *visit) instant(name string) (time.Time, error) {
	return parseInstant(strings.ToUpper(name[:1])+name[1:], v.query(name), time.Now())
}

func parseInstant(name, text string, now time.Time) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	for _, layout := range []string{time.RFC3339, "2006-01-02", "2006-01-02 15:04", "2006-01-02T15:04", "2006-01-02 15:04:05"} {
		if t, err := time.Parse(layout, text); err == nil {
			return t, nil
		}
	}
	if d, ok := parseSpan(text); ok {
		return now.Add(-d), nil
	}
	return time.Time{}, &pageError{http.StatusBadRequest, fmt.Sprintf("%s: %.60q is neither a time such as 2026-11-21T20:00:00Z or 2026-11-21 20:00 (UTC), nor a duration back from now such as 90m, 24h or 7d.", name, text)}
}

func parseSpan(text string) (time.Duration, bool) {
	if days, ok := strings.CutSuffix(text, "d"); ok {
		n, err := strconv.ParseFloat(days, 64)
		return time.Duration(n * 24 * float64(time.Hour)), err == nil && n >= 0 && n < 36500
	}
	d, err := time.ParseDuration(text)
	return d, err == nil && d >= 0
}
