package relay

import (
	"cmp"
	"slices"
)

// cursor is the part of a subscription's log that is finished or covered by an
// exception: everything up to low, and the spans above it.
type cursor struct {
	low  uint64
	done []Span // ascending, not touching each other nor low
}

// clone returns a copy that shares nothing with c.
func (c *cursor) clone() cursor { return cursor{c.low, slices.Clone(c.done)} }

// finish marks a position. Marking one again changes nothing.
func (c *cursor) finish(pos uint64) { c.finishSpan(Span{pos, pos}) }

// finishSpan marks a span of positions.
func (c *cursor) finishSpan(s Span) {
	if s.To <= c.low {
		return
	}
	s.From = max(s.From, c.low+1)
	// i is the first span that s touches or precedes, j the first one beyond.
	i, _ := slices.BinarySearchFunc(c.done, s.From, func(d Span, from uint64) int {
		if d.To+1 < from {
			return -1
		}
		return 1
	})
	j := i
	for j < len(c.done) && c.done[j].From <= s.To+1 {
		s.From = min(s.From, c.done[j].From)
		s.To = max(s.To, c.done[j].To)
		j++
	}
	if s.From == c.low+1 {
		c.low = s.To
		c.done = slices.Delete(c.done, 0, j)
		return
	}
	c.done = slices.Replace(c.done, i, j, s)
}

// has reports whether a position is finished or covered by an exception.
func (c *cursor) has(pos uint64) bool {
	if pos <= c.low {
		return true
	}
	i, _ := slices.BinarySearchFunc(c.done, pos, func(s Span, pos uint64) int { return cmp.Compare(s.To, pos) })
	return i < len(c.done) && pos >= c.done[i].From
}

// skip returns the first position at or above pos that is not marked.
func (c *cursor) skip(pos uint64) uint64 {
	pos = max(pos, c.low+1)
	for _, s := range c.done {
		if pos < s.From {
			break
		}
		pos = max(pos, s.To+1)
	}
	return pos
}

// count returns the number of marked positions.
func (c *cursor) count() uint64 {
	n := c.low
	for _, s := range c.done {
		n += s.To - s.From + 1
	}
	return n
}
