package payload

import (
	"bytes"
	"strconv"
	"sync"

	"github.com/go-json-experiment/json/jsontext"
)

// Cursor reads a JSON text without copying it. Make it with [Open], and close it.
type Cursor struct {
	*jsontext.Decoder
	buffer bytes.Buffer
	text   []byte
}

var cursors = sync.Pool{New: func() any { return &Cursor{Decoder: new(jsontext.Decoder)} }}

// Lenient lets lone surrogate escapes pass, which RFC 8259 allows. Bytes that are not
// UTF-8 are refused before.
var Lenient = []jsontext.Options{jsontext.AllowInvalidUTF8(true)}

// Open returns a cursor at the beginning of a text, which must not change until it is
// closed.
func Open(text []byte) *Cursor {
	c := cursors.Get().(*Cursor)
	c.text = text
	// The decoder reads a bytes.Buffer in place.
	c.buffer = *bytes.NewBuffer(text)
	c.Reset(&c.buffer, Lenient...)
	return c
}

// Close returns c to the pool, without the text.
func (c *Cursor) Close() {
	c.text = nil
	c.buffer = bytes.Buffer{}
	c.Reset(&c.buffer)
	cursors.Put(c)
}

// Raw reads the next value and returns it as the part of the text that it is.
func (c *Cursor) Raw() (jsontext.Value, error) {
	value, err := c.ReadValue()
	if err != nil {
		return nil, err
	}
	end := int(c.InputOffset())
	return c.text[end-len(value) : end : end], nil
}

// Since returns the part of the text between an offset and the cursor.
func (c *Cursor) Since(offset int64) []byte {
	end := c.InputOffset()
	return c.text[offset:end:end]
}

// Enter goes to a member of an object, or to an element of an array.
func (c *Cursor) Enter(name string) bool {
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
	return Unquote(quoted) == name
}

// Unquote returns the text of a JSON string. A lone surrogate becomes U+FFFD.
func Unquote(quoted jsontext.Value) string {
	text, _ := jsontext.AppendUnquote(nil, quoted)
	return string(text)
}
