package intake

import (
	"bytes"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"sync"

	"github.com/go-json-experiment/json/jsontext"
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
		if near := nearest(kind, []string{locatorHeader, locatorJSON}); near != "" {
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
		path, err := splitPath(l.Path)
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

// splitPath cuts a dotted path into its names.
func splitPath(path string) ([]string, error) {
	var names []string
	var name strings.Builder
	for i := 0; i <= len(path); i++ {
		switch {
		case i == len(path) || path[i] == '.':
			if name.Len() == 0 {
				return nil, fmt.Errorf("the path %q has an empty segment; write e.g. meta.kind", path)
			}
			names = append(names, name.String())
			name.Reset()
		case path[i] == '\\' && i+1 < len(path) && (path[i+1] == '.' || path[i+1] == '\\'):
			i++
			name.WriteByte(path[i])
		default:
			name.WriteByte(path[i])
		}
	}
	return names, nil
}

// findType returns the first string that is found.
func findType(finders []finder, s *submission) string {
	for i := range finders {
		if text, kind := finders[i].find(s); kind == jsontext.KindString && text != "" {
			return text
		}
	}
	return ""
}

// findKey returns the first string or number that is found, a number as its text: many
// senders count their events.
func findKey(finders []finder, s *submission) (string, *finder) {
	for i := range finders {
		text, kind := finders[i].find(s)
		if (kind == jsontext.KindString || kind == jsontext.KindNumber) && text != "" {
			return text, &finders[i]
		}
	}
	return "", nil
}

// find returns what is found with its kind, 0 if there is nothing. The body was
// checked before.
func (f *finder) find(s *submission) (string, jsontext.Kind) {
	if f.header != "" {
		value := strings.TrimSpace(s.header.Get(f.header))
		return value, jsontext.KindString
	}
	return lookup(s.body, f.path)
}

// lookup returns the scalar at a path in a JSON text: the value of a string, the text
// of anything else. The kind is 0 if the path leads nowhere or the text is no JSON
// up to there.
func lookup(body []byte, path []string) (string, jsontext.Kind) {
	c := openCursor(body)
	defer c.close()
	for _, name := range path {
		if !c.enter(name) {
			return "", 0
		}
	}
	value, err := c.ReadValue()
	if err != nil {
		return "", 0
	}
	if kind := value.Kind(); kind != jsontext.KindString {
		return string(value), kind
	}
	return unquote(value), jsontext.KindString
}

// cursor reads a JSON text without copying it.
type cursor struct {
	*jsontext.Decoder
	buffer bytes.Buffer
	text   []byte
}

var cursors = sync.Pool{New: func() any { return &cursor{Decoder: new(jsontext.Decoder)} }}

// lenient lets lone surrogate escapes pass, which RFC 8259 allows. Bytes that are not
// UTF-8 are refused before, see [checkText].
var lenient = []jsontext.Options{jsontext.AllowInvalidUTF8(true)}

func openCursor(text []byte) *cursor {
	c := cursors.Get().(*cursor)
	c.text = text
	// The decoder reads a bytes.Buffer in place.
	c.buffer = *bytes.NewBuffer(text)
	c.Reset(&c.buffer, lenient...)
	return c
}

// close returns c to the pool, without the text.
func (c *cursor) close() {
	c.text = nil
	c.buffer = bytes.Buffer{}
	c.Reset(&c.buffer)
	cursors.Put(c)
}

// raw reads the next value and returns it as the part of the text that it is.
func (c *cursor) raw() (jsontext.Value, error) {
	value, err := c.ReadValue()
	if err != nil {
		return nil, err
	}
	end := int(c.InputOffset())
	return c.text[end-len(value) : end : end], nil
}

// enter goes to a member of an object, or to an element of an array.
func (c *cursor) enter(name string) bool {
	switch open, err := c.ReadToken(); {
	case err != nil:
		return false
	case open.Kind() == jsontext.KindBeginObject:
		for c.PeekKind() == jsontext.KindString {
			member, err := c.ReadValue()
			if err != nil {
				return false
			}
			if isName(member, name) {
				return true
			}
			if c.SkipValue() != nil {
				return false
			}
		}
	case open.Kind() == jsontext.KindBeginArray:
		index, err := strconv.ParseUint(name, 10, 31)
		if err != nil {
			return false
		}
		for ; index > 0 && c.PeekKind() != jsontext.KindEndArray; index-- {
			if c.SkipValue() != nil {
				return false
			}
		}
		return c.PeekKind() != jsontext.KindEndArray
	}
	return false
}

// isName reports whether a quoted name is the given one.
func isName(quoted jsontext.Value, name string) bool {
	if inner := quoted[1 : len(quoted)-1]; bytes.IndexByte(inner, '\\') < 0 {
		return string(inner) == name
	}
	return unquote(quoted) == name
}

// unquote returns the text of a JSON string. A lone surrogate becomes U+FFFD.
func unquote(quoted jsontext.Value) string {
	text, _ := jsontext.AppendUnquote(nil, quoted)
	return string(text)
}
