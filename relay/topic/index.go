package topic

import (
	"bytes"
	"slices"
)

// Entry is a value and the patterns it is found by.
type Entry[T any] struct {
	Patterns []Pattern
	Value    T
}

// Index finds the values of all entries that match a type. Its cost grows with the
// segments of the type and the values found, and not with the number of entries. It
// is immutable, and may be used by many goroutines at once.
type Index[T any] struct {
	values []T
	root   node
}

// node is a place in the tree of segments. Its lists hold positions in
// Index.values, growing.
type node struct {
	names map[string]*node
	one   *node // a wildcard that stands for one segment
	here  []int32
	below []int32 // patterns that end here in a wildcard: this and below
}

// NewIndex returns an index of the entries; an entry without patterns is never
// found.
func NewIndex[T any](entries []Entry[T]) *Index[T] {
	x := &Index[T]{values: make([]T, len(entries))}
	for i, e := range entries {
		x.values[i] = e.Value
		for _, p := range e.Patterns {
			if p.text == "" {
				continue
			}
			for _, segments := range p.forms() {
				x.root.add(segments, p.below, int32(i))
			}
		}
	}
	return x
}

func (n *node) add(segments []string, below bool, value int32) {
	for _, s := range segments {
		n = n.child(s)
	}
	list := &n.here
	if below {
		list = &n.below
	}
	if !slices.Contains(lastOf(*list), value) {
		*list = append(*list, value)
	}
}

// lastOf is enough to see a repetition, since values are added one after another.
func lastOf(list []int32) []int32 { return list[max(0, len(list)-1):] }

func (n *node) child(segment string) *node {
	if segment == wildcard {
		if n.one == nil {
			n.one = new(node)
		}
		return n.one
	}
	c := n.names[segment]
	if c == nil {
		c = new(node)
		if n.names == nil {
			n.names = make(map[string]*node)
		}
		n.names[segment] = c
	}
	return c
}

// Match appends the values of the entries that match the type to dst, each once, in
// the order of the entries, and returns it. It allocates only where dst or one of
// its own small buffers is too small.
func (x *Index[T]) Match(typ string, dst []T) []T {
	if typ == "" {
		return dst
	}
	var (
		foldBuffer [MaxPatternLength]byte
		hitBuffer  [32]int32
	)
	folded := appendFolded(foldBuffer[:0], typ)
	hits := x.root.find(folded, hitBuffer[:0])
	if rest, ok := cutOptional(folded); ok {
		hits = x.root.find(rest, hits)
	}
	if len(hits) > 1 {
		slices.Sort(hits)
		hits = slices.Compact(hits)
	}
	for _, h := range hits {
		dst = append(dst, x.values[h])
	}
	return dst
}

// find is called on the root.
func (n *node) find(typ []byte, hits []int32) []int32 {
	first, rest, more := bytes.Cut(typ, dot)
	if string(first) != reserved {
		return n.walk(typ, hits)
	}
	c := n.names[reserved]
	switch {
	case c == nil:
		return hits
	case more:
		return c.walk(rest, hits)
	default:
		return c.end(hits)
	}
}

var dot = []byte{'.'}

// walk appends what is found at n and below it for the segments that remain, of
// which there is at least one.
func (n *node) walk(typ []byte, hits []int32) []int32 {
	hits = append(hits, n.below...)
	segment, rest, more := bytes.Cut(typ, dot)
	// The compiler makes no string of the bytes for a look into a map.
	for _, c := range [...]*node{n.names[string(segment)], n.one} {
		switch {
		case c == nil:
		case more:
			hits = c.walk(rest, hits)
		default:
			hits = c.end(hits)
		}
	}
	return hits
}

// end appends what is found where the segments end.
func (n *node) end(hits []int32) []int32 {
	return append(append(hits, n.below...), n.here...)
}

// cutOptional is withoutOptional on folded text.
func cutOptional(typ []byte) ([]byte, bool) {
	first, rest, more := bytes.Cut(typ, dot)
	if !more || string(first) != optional {
		return typ, false
	}
	second, _, _ := bytes.Cut(rest, dot)
	return rest, string(second) != reserved
}
