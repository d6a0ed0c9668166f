package payload

import (
	"fmt"
	"regexp"
	"strings"

	"github.com/go-json-experiment/json/jsontext"
)

// Path leads to a value in a JSON text: the names of members, or indexes where it meets
// arrays.
type Path []string

// escaped are the characters that mean something else in a path unless a backslash stands
// before them.
const escaped = `.\$/[`

// ParsePath reads a dotted path: "meta.kind" is the member kind of the member meta. A dot
// within a name is written "\.", a backslash "\\". What looks like the path of another
// language is refused, since as a name it would silently lead nowhere; a name that is so
// strange has a backslash before its "$", "/" or "[".
func ParsePath(path string) (Path, error) {
	if err := checkLanguage(path); err != nil {
		return nil, err
	}
	var names Path
	var name strings.Builder
	for i := 0; i <= len(path); i++ {
		switch {
		case i == len(path) || path[i] == '.':
			if name.Len() == 0 {
				return nil, fmt.Errorf("the path %q has an empty segment; write e.g. meta.kind", path)
			}
			names = append(names, name.String())
			name.Reset()
		case path[i] == '\\' && i+1 < len(path) && strings.IndexByte(escaped, path[i+1]) >= 0:
			i++
			name.WriteByte(path[i])
		default:
			name.WriteByte(path[i])
		}
	}
	return names, nil
}

// subscript is that of an index or a name in brackets, at the end of a segment.
var subscript = regexp.MustCompile(`(^|[^\\])\[("[^"]*"|'[^']*'|\*|-?\d+)\](\.|\[|$)`)

// checkLanguage refuses paths of JSONPath and JSON Pointer.
func checkLanguage(path string) error {
	switch {
	case path == "$", strings.HasPrefix(path, "$."), strings.HasPrefix(path, "$["):
		return fmt.Errorf("the path %q begins with $, as in JSONPath; write it without, e.g. meta.kind", path)
	case strings.HasPrefix(path, "/"):
		return fmt.Errorf("the path %q begins with a slash, as in JSON Pointer; write it with dots, e.g. meta.kind", path)
	case subscript.MatchString(path):
		return fmt.Errorf("the path %q has brackets; write an index or a name behind a dot, e.g. items.0.sku", path)
	}
	return nil
}

// Lookup returns the scalar at a path in a JSON text: the value of a string, the text
// of anything else. The kind is 0 if the path leads nowhere or the text is no JSON
// up to there.
func Lookup(body []byte, path Path) (string, jsontext.Kind) {
	c := Open(body)
	defer c.Close()
	for _, name := range path {
		if !c.Enter(name) {
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
	return Unquote(value), jsontext.KindString
}
