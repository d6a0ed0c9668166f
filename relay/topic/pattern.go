// Package topic matches the types of events against the patterns of subscriptions.
//
// A type is segments with dots between them, e.g. order.paid. Patterns and types
// are compared without regard to case.
//
//   - order.paid is that type
//   - order.* is order and all below it: order.paid, order.item.added
//   - a * elsewhere is exactly one segment: *.publish, order.*.failed
//   - * alone is everything, except what the relay itself says
//
// Types under relay. are matched only by patterns that begin with relay, so that
// no application gets operational events that it did not ask for.
//
// The first segment ContentManagement of Contentful's topics may be left out, in
// the pattern as in the type, where the next segment is a name: Entry.publish and
// ContentManagement.Entry.publish match each other. Where a * follows it in a
// pattern it stands as written: ContentManagement.* is only what carries it.
package topic

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// MaxPatternLength is in characters. It is that of an event type: a longer pattern
// could match only by being all wildcards.
const MaxPatternLength = 255

const (
	wildcard = "*"
	// reserved is the first segment of the types that the relay itself makes.
	reserved = "relay"
	// optional is the first segment that may be left out, folded.
	optional = "contentmanagement"
)

// Pattern says which types are meant. The zero value matches none.
type Pattern struct {
	text string
	// segments are folded; without the last one where that is a wildcard.
	segments []string
	// below: what is under the segments matches, too.
	below bool
}

// Parse parses a pattern. Its errors name it, and say how to mend it.
func Parse(pattern string) (Pattern, error) {
	if pattern == "" {
		return Pattern{}, errors.New("the topic is empty; e.g. order.*, or * for everything")
	}
	// An error would repeat it whole.
	if len(pattern) > MaxPatternLength {
		return Pattern{}, fmt.Errorf("the topic %q... has %d characters; at most %d are allowed", pattern[:32], len(pattern), MaxPatternLength)
	}
	for _, r := range pattern {
		switch {
		case r == ' ' || r == '\t':
			return Pattern{}, fmt.Errorf("the topic %q has white space in it; give each topic as a word of its own", pattern)
		case r < ' ' || r > '~':
			return Pattern{}, fmt.Errorf("the topic %q has the character %q; types of events are visible ASCII characters", pattern, r)
		}
	}
	segments := strings.Split(pattern, ".")
	for i, s := range segments {
		if err := checkSegment(s, i == len(segments)-1); err != nil {
			return Pattern{}, fmt.Errorf("the topic %q %w", pattern, err)
		}
		segments[i] = fold(s)
	}
	p := Pattern{text: pattern, segments: segments}
	if last := len(segments) - 1; segments[last] == wildcard {
		p.segments, p.below = segments[:last], true
	}
	return p, nil
}

func checkSegment(s string, last bool) error {
	switch {
	case s == "":
		return errors.New("has an empty segment; write one dot between two names, and none at the ends")
	case s == "**" || s == "#" || s == ">":
		// What other systems write for all below; taken for names, they would match
		// nothing and nobody would know why.
		if last {
			return fmt.Errorf("has %q as a segment; write * at the end: it is all below", s)
		}
		return fmt.Errorf("has %q as a segment; a * is one segment, and at the end all below", s)
	case s != wildcard && strings.Contains(s, wildcard):
		hint := "write out the names as topics of their own"
		if name, partial := strings.CutSuffix(s, wildcard); last && partial && !strings.Contains(name, wildcard) {
			hint = fmt.Sprintf("write %s.* for all below %s, or write out the names as topics of their own", name, name)
		}
		return fmt.Errorf("has a * within the segment %q; a * stands for whole segments: %s", s, hint)
	}
	return nil
}

// String returns the pattern as it was written.
func (p Pattern) String() string { return p.text }

// Reserved reports whether the pattern is about what the relay itself says.
func (p Pattern) Reserved() bool { return len(p.segments) > 0 && p.segments[0] == reserved }

// Canonical returns the form in which types are equal that mean the same: in lower
// case, and without the segment that may be left out. It is the same string, if it can
// be.
func Canonical(typ string) string {
	if strings.ContainsFunc(typ, func(r rune) bool { return 'A' <= r && r <= 'Z' }) {
		typ = fold(typ)
	}
	if short, ok := strings.CutPrefix(typ, optional+"."); ok && short != reserved && !strings.HasPrefix(short, reserved+".") {
		return short
	}
	return typ
}

// Match reports whether the type is meant. To match against many patterns at once,
// use an [Index].
func (p Pattern) Match(typ string) bool {
	if p.text == "" || typ == "" {
		return false
	}
	_, matches := p.match(typ)
	return matches
}

// match reports also whether it takes to leave out the optional segment.
func (p Pattern) match(typ string) (shortened, matches bool) {
	segments := strings.Split(fold(typ), ".")
	for i, mine := range p.forms() {
		if matchSegments(mine, p.below, segments) {
			return i > 0, true
		}
		if matchSegments(mine, p.below, withoutOptional(segments)) {
			return true, true
		}
	}
	return false, false
}

// Explain is [Pattern.Match] for one of several patterns, for people: it says which of
// them a type matches, or that it matches none.
func Explain(patterns []Pattern, typ string) (matches bool, how string) {
	for _, p := range patterns {
		if !p.Match(typ) {
			continue
		}
		how = typ + " matches " + p.text
		if shortened, _ := p.match(typ); shortened {
			how += ", with the prefix ContentManagement. left out"
		}
		return true, how
	}
	if first, _, _ := strings.Cut(fold(typ), "."); first == reserved {
		return false, typ + " matches none of them; types under relay. are matched only by topics that begin with relay"
	}
	if len(patterns) == 1 {
		return false, typ + " does not match"
	}
	return false, typ + " matches none of them"
}

// forms returns the ways in which the pattern may be written: as it is, and without
// the optional segment.
func (p Pattern) forms() [][]string {
	if short := withoutOptional(p.segments); len(short) < len(p.segments) && short[0] != wildcard {
		return [][]string{p.segments, short}
	}
	return [][]string{p.segments}
}

// withoutOptional cuts the optional segment off where a name follows it. Before
// relay it stays: otherwise an application could make what looks like an
// operational event, in spite of the reserved prefix.
func withoutOptional(segments []string) []string {
	if len(segments) > 1 && segments[0] == optional && segments[1] != reserved {
		return segments[1:]
	}
	return segments
}

func matchSegments(pattern []string, below bool, typ []string) bool {
	if len(typ) < len(pattern) || len(typ) > len(pattern) && !below {
		return false
	}
	if typ[0] == reserved && (len(pattern) == 0 || pattern[0] != reserved) {
		return false
	}
	return slices.EqualFunc(pattern, typ[:len(pattern)], func(p, t string) bool {
		return p == wildcard || p == t
	})
}

// fold makes ASCII letters lower-case and leaves other bytes alone: types and
// patterns have no others, and Unicode's folding would let some of them match.
func fold(s string) string {
	return string(appendFolded(make([]byte, 0, len(s)), s))
}

func appendFolded(dst []byte, s string) []byte {
	for i := range len(s) {
		c := s[i]
		if 'A' <= c && c <= 'Z' {
			c += 'a' - 'A'
		}
		dst = append(dst, c)
	}
	return dst
}
