package payload

import (
	"sync"

	"github.com/go-json-experiment/json/jsontext"
)

// Document is a JSON text that is read as far as somebody asks: an object or array is
// taken apart when something in it is looked up for the first time, and never again. So
// many may look into one text for little more than the price of one. It is not safe for
// use by several goroutines at once.
//
// The text must be valid JSON; it is not checked again. Of what is not, the answers mean
// nothing, but asking is safe.
type Document struct {
	text  []byte
	nodes []node
	// wide has the members of objects with many of them.
	wide map[int32]map[string]int32
}

// node is a value within the text. Those of one object or array stand next to each other.
type node struct {
	start, end         int32
	nameStart, nameEnd int32 // the quoted name, in an object
	first, count       int32 // its own members or elements; count is unread before
}

const unread = -1

// manyMembers is from how many on the members of an object get a map.
const manyMembers = 48

var documents = sync.Pool{New: func() any { return new(Document) }}

// OpenDocument returns a document of a text, which must not change until it is closed.
func OpenDocument(text []byte) *Document {
	d := documents.Get().(*Document)
	d.text = text
	start, end := skipSpace(text, 0), len(text)
	for end > start && isSpace(text[end-1]) {
		end--
	}
	d.nodes = append(d.nodes, node{start: int32(start), end: int32(end), count: unread})
	return d
}

// keptNodes bounds what a document keeps for its next text.
const keptNodes = 4096

// Close gives the document back. Values of it must not be used any more.
func (d *Document) Close() {
	d.text, d.wide = nil, nil
	if cap(d.nodes) > keptNodes {
		d.nodes = nil
	}
	d.nodes = d.nodes[:0]
	documents.Put(d)
}

// Root returns the whole.
func (d *Document) Root() Value { return Value{d, 0} }

// Lookup returns the value that a path leads to.
func (d *Document) Lookup(path Path) (Value, bool) {
	v := d.Root()
	for _, name := range path {
		var ok bool
		if v, ok = v.At(name); !ok {
			return Value{}, false
		}
	}
	return v, true
}

// children takes the value at a position apart.
func (d *Document) children(at int32) (first, count int32) {
	n := d.nodes[at]
	if n.count != unread {
		return n.first, n.count
	}
	first = int32(len(d.nodes))
	if n.start < n.end {
		switch d.text[n.start] {
		case '{':
			d.split(int(n.start)+1, true)
		case '[':
			d.split(int(n.start)+1, false)
		}
	}
	count = int32(len(d.nodes)) - first
	d.nodes[at].first, d.nodes[at].count = first, count
	return first, count
}

// split appends the members of the object, or the elements of the array, that begins
// before the position at.
func (d *Document) split(at int, object bool) {
	for {
		var child node
		if at = skipSpace(d.text, at); at == len(d.text) {
			return
		}
		switch c := d.text[at]; {
		case c == ',':
			at++
			continue
		case c == '}' || c == ']':
			return
		case object && c == '"':
			child.nameStart = int32(at)
			at = skipValue(d.text, at)
			child.nameEnd = int32(at)
			if at = skipSpace(d.text, at); at == len(d.text) || d.text[at] != ':' {
				return
			}
			at = skipSpace(d.text, at+1)
		case object:
			return
		}
		child.start, child.count = int32(at), unread
		next := skipValue(d.text, at)
		if next == at {
			return // no JSON
		}
		at, child.end = next, int32(next)
		d.nodes = append(d.nodes, child)
	}
}

// skipSpace returns the position of the next byte that is no white space.
func skipSpace(text []byte, at int) int {
	for at < len(text) && isSpace(text[at]) {
		at++
	}
	return at
}

func isSpace(c byte) bool { return c == ' ' || c == '\n' || c == '\t' || c == '\r' }

// skipValue returns the position after the value that begins at a position.
func skipValue(text []byte, at int) int {
	if at >= len(text) {
		return len(text)
	}
	switch text[at] {
	case '"':
		return skipString(text, at)
	case '{', '[':
		return skipContainer(text, at)
	}
	for at < len(text) {
		switch text[at] {
		case ',', ']', '}', ':', ' ', '\t', '\n', '\r':
			return at
		}
		at++
	}
	return at
}

// skipContainer goes by the brackets alone.
func skipContainer(text []byte, at int) int {
	depth := 0
	for at < len(text) {
		switch marks[text[at]] {
		case opening:
			depth++
		case closing:
			if depth--; depth == 0 {
				return at + 1
			}
		case quote:
			at = skipString(text, at)
			continue
		}
		at++
	}
	return at
}

// skipString returns the position after the quote that closes the string at a position.
// Strings are short, as a rule: a search would cost more than this loop.
func skipString(text []byte, at int) int {
	for at++; at < len(text); at++ {
		switch text[at] {
		case '"':
			return at + 1
		case '\\':
			at++
		}
	}
	return len(text)
}

// What a byte means to [skipContainer].
const (
	opening = 1 + iota
	closing
	quote
)

var marks = [256]uint8{'{': opening, '[': opening, '}': closing, ']': closing, '"': quote}

// member returns the position of the member of that name.
func (d *Document) member(at int32, name string) (int32, bool) {
	first, count := d.children(at)
	if count >= manyMembers {
		i, ok := d.members(at, first, count)[name]
		return i, ok
	}
	for i := first; i < first+count; i++ {
		if isName(d.name(i), name) {
			return i, true
		}
	}
	return 0, false
}

// name returns the quoted name of the member at a position.
func (d *Document) name(at int32) jsontext.Value {
	n := &d.nodes[at]
	return d.text[n.nameStart:n.nameEnd]
}

// members makes the map of a wide object.
func (d *Document) members(at, first, count int32) map[string]int32 {
	if m := d.wide[at]; m != nil {
		return m
	}
	m := make(map[string]int32, count)
	for i := first + count - 1; i >= first; i-- { // of equal names the first counts
		m[Unquote(d.name(i))] = i
	}
	if d.wide == nil {
		d.wide = make(map[int32]map[string]int32)
	}
	d.wide[at] = m
	return m
}
