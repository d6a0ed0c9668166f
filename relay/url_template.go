package relay

import (
	"errors"
	"fmt"
	"net/url"
	"strings"
)

// URLTemplate is a URL with placeholders of an event in its path or query. Scheme, host and port
// are fixed: where a delivery goes must not depend on what an event says.
type URLTemplate struct {
	scheme, host string
	path, query  Text
	check        func(raw string) (*url.URL, error)
}

// urlMark stands for each placeholder while a URL is judged. It is nothing that anybody
// writes, and looks the same escaped.
const urlMark = "Rq7Placeholder4zX"

// MarkURL returns a URL with a mark in the place of each of its placeholders of an event,
// so that it can be judged like any other. Other placeholders stay.
func MarkURL(raw string) (marked string, err error) {
	t, err := ParseText(raw)
	if err != nil {
		return "", err
	}
	marked = strings.Join(t.literals, urlMark)
	if t.Fixed() {
		return marked, nil
	}
	scheme, rest, ok := strings.Cut(marked, "://")
	if !ok {
		// It begins with another placeholder, which may hold the host.
		scheme, rest = "", marked
	}
	host := rest
	if end := strings.IndexAny(rest, "/?"); end >= 0 {
		host = rest[:end]
	}
	if strings.Contains(scheme, urlMark) || strings.Contains(host, urlMark) {
		return "", errURLHost(t.placeholders[0])
	}
	return marked, nil
}

func errURLHost(p Placeholder) error {
	return fmt.Errorf("%s may only stand in the path or the query of the URL: where a delivery goes must not depend on what an event says; write e.g. https://api.example.com/items/{event.data.id}", p)
}

// NewURLTemplate makes a template of a URL as it is configured, and of that URL marked, resolved
// and judged. check judges the URL of each event once more.
func NewURLTemplate(raw string, judged *url.URL, check func(raw string) (*url.URL, error)) (*URLTemplate, error) {
	text, err := ParseText(raw)
	if err != nil {
		return nil, err
	}
	t := &URLTemplate{
		scheme: judged.Scheme, host: judged.Host, check: check,
		path:  Text{literals: strings.Split(judged.EscapedPath(), urlMark)},
		query: Text{literals: strings.Split(judged.RawQuery, urlMark)},
	}
	inPath := len(t.path.literals) - 1
	if inPath+len(t.query.literals)-1 != len(text.placeholders) {
		return nil, errURLHost(text.placeholders[0])
	}
	t.path.placeholders, t.query.placeholders = text.placeholders[:inPath:inPath], text.placeholders[inPath:]
	if hasDotSegment(strings.Join(t.path.literals, urlMark)) {
		return nil, errors.New(`the URL has placeholders, and a segment "." or ".." in its path; write the path without it`)
	}
	return t, nil
}

// URL returns the URL for an event. Errors are about values that would change where the
// request goes, and those of the check.
func (t *URLTemplate) URL(e *Event) (*url.URL, error) {
	path, err := t.path.Expand(e, func(value string) (string, error) {
		if value == "" {
			return "", errors.New("is empty for this event; the path without it would be that of another resource")
		}
		if strings.ContainsFunc(value, func(r rune) bool { return r < ' ' || r == 0x7f }) {
			return "", errors.New("has a control character in it, which a path cannot carry")
		}
		return url.PathEscape(value), nil
	})
	if err != nil {
		return nil, fmt.Errorf("URL: %w", err)
	}
	if hasDotSegment(path) {
		return nil, errors.New(`URL: what the event puts into the path is, or holds, a segment "." or "..", by which receivers go up to another path`)
	}
	query, err := t.query.Expand(e, func(value string) (string, error) { return url.QueryEscape(value), nil })
	if err != nil {
		return nil, fmt.Errorf("URL: %w", err)
	}
	raw := t.scheme + "://" + t.host + path
	if query != "" {
		raw += "?" + query
	}
	u, err := t.check(raw)
	if err != nil {
		return nil, fmt.Errorf("URL: %w", err)
	}
	if u.Scheme != t.scheme || u.Host != t.host {
		return nil, errors.New("URL: what the event puts into it would change where the request goes")
	}
	return u, nil
}

// hasDotSegment reports whether an escaped path has a segment that stands for the directory
// itself or the one above, for a receiver that unescapes before it looks, be it twice and
// without a care for what is no escape; for one that takes a backslash for a slash; and for one
// that cuts off the parameters of a segment, ..;a=b.
func hasDotSegment(path string) bool {
	const most = 3
	for range most {
		plain := unescaper.Replace(path)
		for segment := range strings.FieldsFuncSeq(plain, func(r rune) bool { return r == '/' || r == '\\' }) {
			if segment, _, _ = strings.Cut(segment, ";"); segment == "." || segment == ".." {
				return true
			}
		}
		if plain == path {
			return false
		}
		path = plain
	}
	return false
}

// unescaper undoes one round of escaping what can be part of such a segment.
var unescaper = strings.NewReplacer("%25", "%",
	"%2e", ".", "%2E", ".", "%2f", "/", "%2F", "/", "%5c", "\\", "%5C", "\\", "%3b", ";", "%3B", ";")
