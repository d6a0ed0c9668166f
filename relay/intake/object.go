package intake

import (
	"errors"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/caddyrelay/caddyrelay/relay/payload"
)

// attribute is a member that the JSON forms of an event know. All but the last two are
// also attributes of CloudEvents.
type attribute int

const (
	attrSpecVersion attribute = iota
	attrType
	attrSource
	attrID
	attrSubject
	attrTime
	attrContentType
	attrSchema
	attrData
	attrDataBase64
	attributeCount
)

var attributeNames = [attributeCount]string{
	"specversion", "type", "source", "id", "subject", "time", "datacontenttype", "dataschema", "data", "data_base64",
}

func attributeOf(name string) (attribute, bool) {
	for i, known := range attributeNames {
		if known == name {
			return attribute(i), true
		}
	}
	return 0, false
}

// object is an event in JSON, taken apart. Its values are parts of the body.
type object struct {
	// known is nil where a member is absent.
	known [attributeCount]jsontext.Value
	// others are the first maxOthers members of other names; surplus counts the rest.
	others  []member
	surplus int
	// start is the offset at which the object begins.
	start int64
}

// member of an object that is no [attribute].
type member struct {
	name  string
	value jsontext.Value
}

// maxOthers bounds what is kept of a body that consists of members.
const maxOthers = 64

// read reads the object that begins at the cursor, in one pass. It returns false if the
// text is no JSON; [diagnose] finds out why.
func (o *object) read(c *payload.Cursor) bool {
	if _, err := c.ReadToken(); err != nil {
		return false
	}
	o.start = c.InputOffset() - 1
	for c.PeekKind() == jsontext.KindString {
		quoted, err := c.Raw()
		if err != nil {
			return false
		}
		value, err := c.Raw()
		if err != nil {
			return false
		}
		o.add(quoted, value)
	}
	if _, err := c.ReadToken(); err != nil {
		return false
	}
	return true
}

func (o *object) add(quoted, value jsontext.Value) {
	name := unquoteName(quoted)
	a, known := attributeOf(name)
	switch {
	case known:
		o.known[a] = value
	case len(o.others) < maxOthers:
		o.others = append(o.others, member{name, value})
	default:
		o.surplus++
	}
}

// given returns the value of a member, nil if it is absent or null: null is what
// serialisers make of fields that are not set.
func (o *object) given(a attribute) jsontext.Value {
	if value := o.known[a]; value != nil && value.Kind() != jsontext.KindNull {
		return value
	}
	return nil
}

// readEnd reports whether only the end follows the cursor.
func readEnd(c *payload.Cursor) bool {
	_, err := c.ReadToken()
	return err != nil && !isSyntax(err)
}

// unquoteName avoids an allocation for the names that are expected.
func unquoteName(quoted jsontext.Value) string {
	for _, name := range attributeNames {
		if string(quoted[1:len(quoted)-1]) == name {
			return name
		}
	}
	return payload.Unquote(quoted)
}

func isSyntax(err error) bool {
	var syntax *jsontext.SyntacticError
	return errors.As(err, &syntax)
}
