package relay

import (
	"fmt"
	"strings"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/caddyrelay/caddyrelay/relay/payload"
)

// Placeholder stands for a value of an event: {event.id}, {event.type}, {event.source},
// {event.subject}, {event.time} or {event.data.<path>}. It is never Caddy's: what an
// event brings is not searched for placeholders.
type Placeholder struct {
	text string
	// attribute is the name after "event.", or "data" with a path.
	attribute string
	path      payload.Path
}

// placeholderAttributes are the names that may stand after "event.".
var placeholderAttributes = map[string]func(*Event) string{
	"id":      func(e *Event) string { return e.ID },
	"type":    func(e *Event) string { return e.Type },
	"source":  func(e *Event) string { return e.Source },
	"subject": func(e *Event) string { return e.Subject },
	"time":    func(e *Event) string { return e.When().UTC().Format(time.RFC3339Nano) },
}

// ParsePlaceholder reads a placeholder with its braces.
func ParsePlaceholder(text string) (Placeholder, error) {
	name, ok := strings.CutPrefix(text, "{event.")
	name, closed := strings.CutSuffix(name, "}")
	if !ok || !closed {
		return Placeholder{}, fmt.Errorf("%q is no placeholder of an event; write e.g. {event.subject} or {event.data.customer.id}", text)
	}
	if _, ok := placeholderAttributes[name]; ok {
		return Placeholder{text: text, attribute: name}, nil
	}
	dotted, ok := strings.CutPrefix(name, "data.")
	if !ok {
		return Placeholder{}, fmt.Errorf("%q is not known; there are {event.id}, {event.type}, {event.source}, {event.subject}, {event.time} and {event.data.<path>}", text)
	}
	path, err := payload.ParsePath(dotted)
	if err != nil {
		return Placeholder{}, fmt.Errorf("%s: %w", text, err)
	}
	return Placeholder{text: text, attribute: "data", path: path}, nil
}

// String returns the placeholder as it was written.
func (p Placeholder) String() string { return p.text }

// Value returns what the placeholder stands for; empty if the event does not have it.
func (p Placeholder) Value(e *Event) string {
	if p.attribute != "data" {
		if value := placeholderAttributes[p.attribute]; value != nil {
			return value(e)
		}
		return ""
	}
	text, kind := payload.Lookup(e.Data, p.path)
	if kind == jsontext.KindNull {
		return ""
	}
	return text
}
