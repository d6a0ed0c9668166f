// Package re2 compiles regular expressions of configurations, and bounds what they cost.
//
// RE2 needs time by the length of the text, and not by its square or worse. But it needs that
// time for each of its instructions: one pattern of a thousand and one event of a megabyte
// together are half a minute. So a pattern may have so many instructions, and a text that
// is too long for its pattern is not looked at.
package re2

import (
	"fmt"
	"regexp"
	"regexp/syntax"
	"strings"
)

const (
	// MaxInstructions bounds a pattern: some hundred characters, or a repetition of a thousand.
	MaxInstructions = 2000
	// MaxWork bounds instructions times bytes: about half a second at the worst.
	MaxWork = 16 << 20
)

// Pattern is a compiled regular expression. It may be used by many goroutines at once.
type Pattern struct {
	compiled *regexp.Regexp
	// longest is the length of a text that is looked at, in bytes.
	longest int
}

// Compile reads a pattern in the syntax of RE2. Its errors say how to mend it.
func Compile(text string) (*Pattern, error) {
	compiled, err := regexp.Compile(text)
	if err != nil {
		return nil, fmt.Errorf("the pattern %q is none of RE2: %s", text, strings.TrimPrefix(err.Error(), "error parsing regexp: "))
	}
	n, err := instructions(text)
	if err != nil {
		return nil, err
	}
	if n > MaxInstructions {
		return nil, fmt.Errorf("the pattern %q is too large: it comes to %d instructions, and may have %d; a repetition such as {1000} counts as often as it repeats", abridged(text), n, MaxInstructions)
	}
	return &Pattern{compiled, MaxWork / n}, nil
}

// instructions counts those of the program that [regexp] makes of a pattern.
func instructions(text string) (int, error) {
	parsed, err := syntax.Parse(text, syntax.Perl)
	if err != nil {
		return 0, err
	}
	program, err := syntax.Compile(parsed.Simplify())
	if err != nil {
		return 0, err
	}
	return len(program.Inst), nil
}

func abridged(text string) string {
	const longest = 60
	if len(text) > longest {
		return strings.ToValidUTF8(text[:longest], "") + "..."
	}
	return text
}

// Takes reports whether a text of n bytes is looked at. What is longer matches nothing.
func (p *Pattern) Takes(n int) bool { return n <= p.longest }

// Match reports whether the pattern is found in a text.
func (p *Pattern) Match(text []byte) bool { return p.Takes(len(text)) && p.compiled.Match(text) }

// MatchString is Match.
func (p *Pattern) MatchString(text string) bool {
	return p.Takes(len(text)) && p.compiled.MatchString(text)
}

// String returns the pattern as it was written.
func (p *Pattern) String() string { return p.compiled.String() }
