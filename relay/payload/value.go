package payload

import (
	"bytes"
	"iter"
	"strconv"

	"github.com/go-json-experiment/json/jsontext"
)

// Value is a value in a [Document]. It is used no longer than that.
type Value struct {
	doc *Document
	at  int32
}

// Raw returns the part of the text that the value is.
func (v Value) Raw() jsontext.Value {
	n := &v.doc.nodes[v.at]
	return v.doc.text[n.start:n.end:n.end]
}

// Kind returns the kind of the value: false and true are two kinds.
func (v Value) Kind() jsontext.Kind {
	n := &v.doc.nodes[v.at]
	if n.start >= n.end {
		return jsontext.KindInvalid
	}
	switch c := v.doc.text[n.start]; {
	case c == '-', '0' <= c && c <= '9':
		return jsontext.KindNumber
	case c == 'n', c == 'f', c == 't', c == '"', c == '{', c == '[':
		return jsontext.Kind(c)
	}
	return jsontext.KindInvalid
}

// Text returns the value of a string, and the text of anything else.
func (v Value) Text() string {
	raw := v.Raw()
	if len(raw) == 0 || raw[0] != '"' {
		return string(raw)
	}
	if inner, plain := plainString(raw); plain {
		return string(inner)
	}
	return Unquote(raw)
}

// Plain returns what [Value.Text] does, but as a part of the document where that is
// possible.
func (v Value) Plain() []byte {
	raw := v.Raw()
	if len(raw) == 0 || raw[0] != '"' {
		return raw
	}
	if inner, plain := plainString(raw); plain {
		return inner
	}
	return []byte(Unquote(raw))
}

// plainString returns what stands between the quotes, and whether it is without escapes.
func plainString(quoted []byte) ([]byte, bool) {
	if len(quoted) < 2 {
		return nil, true
	}
	inner := quoted[1 : len(quoted)-1]
	return inner, bytes.IndexByte(inner, '\\') < 0
}

// At returns the member of that name of an object, or the element of that index of an
// array.
func (v Value) At(name string) (Value, bool) {
	switch v.Kind() {
	case jsontext.KindBeginObject:
		return v.Member(name)
	case jsontext.KindBeginArray:
		index, err := strconv.ParseUint(name, 10, 31)
		if err != nil {
			return Value{}, false
		}
		return v.Element(int(index))
	default:
		return Value{}, false
	}
}

// Member returns the member of that name; false if there is none, or v is no object.
func (v Value) Member(name string) (Value, bool) {
	if v.Kind() != jsontext.KindBeginObject {
		return Value{}, false
	}
	at, ok := v.doc.member(v.at, name)
	return Value{v.doc, at}, ok
}

// Element returns an element by its index; false if there is none, or v is no array.
func (v Value) Element(index int) (Value, bool) {
	if v.Kind() != jsontext.KindBeginArray {
		return Value{}, false
	}
	first, count := v.doc.children(v.at)
	if index < 0 || index >= int(count) {
		return Value{}, false
	}
	return Value{v.doc, first + int32(index)}, true
}

// Len returns the number of members or elements; 0 for other values.
func (v Value) Len() int {
	_, count := v.doc.children(v.at)
	return int(count)
}

// Elements yields the elements of an array.
func (v Value) Elements() iter.Seq[Value] {
	return func(yield func(Value) bool) {
		for i := range v.Len() {
			if e, ok := v.Element(i); !ok || !yield(e) {
				return
			}
		}
	}
}

// Members yields the members of an object with their names, in their order.
func (v Value) Members() iter.Seq2[string, Value] {
	return func(yield func(string, Value) bool) {
		if v.Kind() != jsontext.KindBeginObject {
			return
		}
		first, count := v.doc.children(v.at)
		for i := first; i < first+count; i++ {
			if !yield(Unquote(v.doc.name(i)), Value{v.doc, i}) {
				return
			}
		}
	}
}
