package intake

import (
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/caddyrelay/caddyrelay/relay/payload"
	"github.com/caddyrelay/caddyrelay/relay/spelling"
)

// Locator says where in a request a value is found: in a header field, or at a path
// in the JSON body. Exactly one of the two is set.
type Locator struct {
	// Header is the name of a header field.
	Header string `json:"header,omitempty"`
	// Path is dotted: "meta.kind" is the member kind of the member meta. A number is an
	// index where it meets an array; a dot within a name is written "\.".
	Path string `json:"json,omitempty"`
}

// Kinds of locators, as they are written in a configuration.
const (
	locatorHeader = "header"
	locatorJSON   = "json"
)

// ParseLocator makes a locator of its kind ("header" or "json") and the name or path.
func ParseLocator(kind, arg string) (Locator, error) {
	var l Locator
	switch kind {
	case locatorHeader:
		l.Header = arg
	case locatorJSON:
		l.Path = arg
	default:
		err := fmt.Errorf("%q is neither header nor json; write e.g. header X-Event-Type, or json meta.kind", kind)
		if near := spelling.Nearest(kind, []string{locatorHeader, locatorJSON}); near != "" {
			err = fmt.Errorf("%w (did you mean %s?)", err, near)
		}
		return Locator{}, err
	}
	if _, err := l.compile(); err != nil {
		return Locator{}, err
	}
	return l, nil
}

// AcceptPhraseanet returns where Phraseanet's webhooks carry type and key: "event" and
// "webhookId" are what its code sends, "name" is what its documentation shows.
func AcceptPhraseanet() (typeFrom, keyFrom []Locator) {
	return []Locator{{Path: "event"}, {Path: "name"}}, []Locator{{Path: "webhookId"}}
}

// AcceptContentful returns where Contentful's webhooks carry type and key.
func AcceptContentful() (typeFrom, keyFrom []Locator) {
	return []Locator{{Header: "X-Contentful-Topic"}}, []Locator{{Header: "X-Contentful-Idempotency-Key"}}
}

func (l Locator) String() string {
	if l.Header != "" {
		return "the header " + l.Header
	}
	return "the path " + l.Path + " of the body"
}

// finder is a compiled [Locator].
type finder struct {
	locator Locator
	header  string   // in canonical form
	path    []string // unescaped segments
}

func compile(locators []Locator) ([]finder, error) {
	finders := make([]finder, 0, len(locators))
	for _, l := range locators {
		f, err := l.compile()
		if err != nil {
			return nil, err
		}
		finders = append(finders, f)
	}
	return finders, nil
}

func (l Locator) compile() (finder, error) {
	switch {
	case l.Header != "" && l.Path != "":
		return finder{}, fmt.Errorf("give either the header %s or the path %s, in the order in which they are to be tried", l.Header, l.Path)
	case l.Header != "":
		if !isToken(l.Header) {
			return finder{}, fmt.Errorf("%q is no name of a header field, e.g. X-Event-Type", l.Header)
		}
		return finder{locator: l, header: http.CanonicalHeaderKey(l.Header)}, nil
	case l.Path != "":
		path, err := payload.ParsePath(l.Path)
		return finder{locator: l, path: path}, err
	}
	return finder{}, errors.New("the name of a header field or a path is missing")
}

// isToken reports whether s can be the name of a header field (RFC 9110 section 5.6.2).
func isToken(s string) bool {
	for i := range len(s) {
		c := s[i]
		if c <= ' ' || c >= 0x7f || strings.IndexByte(`"(),/:;<=>?@[\]{}`, c) >= 0 {
			return false
		}
	}
	return s != ""
}

// findType returns the first string that is found.
func findType(finders []finder, header http.Header, body []byte) string {
	for i := range finders {
		if text, kind := finders[i].find(header, body); kind == jsontext.KindString && text != "" {
			return text
		}
	}
	return ""
}

// findKey returns the first string or number that is found, a number as its text: many
// senders count their events.
func findKey(finders []finder, header http.Header, body []byte) (string, *finder) {
	for i := range finders {
		text, kind := finders[i].find(header, body)
		if (kind == jsontext.KindString || kind == jsontext.KindNumber) && text != "" {
			return text, &finders[i]
		}
	}
	return "", nil
}

// find returns what is found with its kind, 0 if there is nothing. The body was
// checked before.
func (f *finder) find(header http.Header, body []byte) (string, jsontext.Kind) {
	if f.header != "" {
		return strings.TrimSpace(header.Get(f.header)), jsontext.KindString
	}
	return payload.Lookup(body, f.path)
}
