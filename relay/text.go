package relay

import (
	"fmt"
	"strings"
)

// Text is text with placeholders of an event in it. What an event brings is put in as it
// is, and never searched for placeholders again.
type Text struct {
	// literals stand before, between and behind the placeholders: there is one more.
	literals     []string
	placeholders []Placeholder
}

// eventPlaceholder begins each placeholder of an event.
const eventPlaceholder = "{event."

// HasEventPlaceholder reports whether a text has a placeholder of an event, be it a wrong
// one.
func HasEventPlaceholder(text string) bool { return strings.Contains(text, eventPlaceholder) }

// ParseText takes a text apart. Other placeholders than those of events are literal.
func ParseText(text string) (*Text, error) {
	t := new(Text)
	for {
		before, rest, found := strings.Cut(text, eventPlaceholder)
		t.literals = append(t.literals, before)
		if !found {
			return t, nil
		}
		name, behind, closed := strings.Cut(rest, "}")
		if !closed {
			return nil, fmt.Errorf("%q has no end; write e.g. {event.id}", eventPlaceholder+name)
		}
		p, err := ParsePlaceholder(eventPlaceholder + name + "}")
		if err != nil {
			return nil, err
		}
		t.placeholders = append(t.placeholders, p)
		text = behind
	}
}

// Fixed reports whether the text is the same for each event.
func (t *Text) Fixed() bool { return len(t.placeholders) == 0 }

// Resolve replaces each literal by what resolve makes of it. What that returns is literal,
// too.
func (t *Text) Resolve(resolve func(literal string) (string, error)) error {
	for i, literal := range t.literals {
		resolved, err := resolve(literal)
		if err != nil {
			return err
		}
		t.literals[i] = resolved
	}
	return nil
}

// Literals returns the text without its placeholders.
func (t *Text) Literals() string { return strings.Join(t.literals, "") }

// Expand returns the text for an event. Each value goes through escape, whose error is
// returned with the placeholder.
func (t *Text) Expand(e *Event, escape func(value string) (string, error)) (string, error) {
	if t.Fixed() {
		return t.literals[0], nil
	}
	var b strings.Builder
	for i := range t.placeholders {
		p := &t.placeholders[i]
		value, err := escape(p.Value(e))
		if err != nil {
			return "", fmt.Errorf("%s %w", p, err)
		}
		b.WriteString(t.literals[i])
		b.WriteString(value)
	}
	b.WriteString(t.literals[len(t.placeholders)])
	return b.String(), nil
}
