package payload

import (
	"fmt"
	"strings"

	"github.com/go-json-experiment/json/jsontext"
)

// Path leads to a value in a JSON text: the names of members, or indexes where it meets
// arrays.
type Path []string

// ParsePath reads a dotted path: "meta.kind" is the member kind of the member meta. A dot
// within a name is written "\.", a backslash "\\".
func ParsePath(path string) (Path, error) {
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
		case path[i] == '\\' && i+1 < len(path) && (path[i+1] == '.' || path[i+1] == '\\'):
			i++
			name.WriteByte(path[i])
		default:
			name.WriteByte(path[i])
		}
	}
	return names, nil
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
