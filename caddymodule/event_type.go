package caddymodule

import (
	"fmt"

	"github.com/caddyrelay/caddyrelay/relay"
	"github.com/caddyrelay/caddyrelay/relay/catalogue"
)

// EventType declares a type of event that applications send. All of them are the
// catalogue, which `GET /v1/event-types` shows.
type EventType struct {
	// The type: exact, without wildcards. It is compared without regard to case.
	Type string `json:"type"`

	// What it means, for people.
	Description string `json:"description,omitempty"`

	// A file with a JSON schema. Data of this type that does not fit it is refused with
	// 422. Files beside it may be referred to, addresses of the network may not. The path
	// is relative to Caddy's working directory. Default: the data may be anything
	Schema string `json:"schema,omitempty"`
}

// check judges what the text tells, beside the types before it. The file is read when the
// configuration is provisioned.
func (t *EventType) check(seen catalogue.Seen) error {
	if err := relay.CheckType(t.Type); err != nil {
		return fmt.Errorf("event: %w", err)
	}
	return seen.Check(t.Type)
}

// checkEventTypes judges all declarations.
func checkEventTypes(types []*EventType) error {
	seen := make(catalogue.Seen)
	return eachOf(types, func(t *EventType) error { return t.check(seen) })
}

// loadCatalogue reads the schemas.
func (a *App) loadCatalogue() error {
	declarations := make([]catalogue.Declaration, len(a.EventTypes))
	for i, t := range a.EventTypes {
		declarations[i] = catalogue.Declaration{Type: t.Type, Description: t.Description}
		if t.Schema == "" {
			continue
		}
		path, err := resolve(t.Schema)
		if err != nil {
			return fmt.Errorf("event %q: schema: %w", t.Type, err)
		}
		declarations[i].Schema = path
	}
	var err error
	a.catalogue, err = catalogue.New(declarations)
	return err
}

// undeclared are warnings about topics that nothing in the catalogue matches.
func (a *App) undeclared(s *Subscription) []string {
	topics, err := parseTopics(s.effective.Topics)
	if err != nil {
		return nil // the plan says so
	}
	var all []string
	for _, topic := range topics {
		if !a.catalogue.Covers(topic) {
			all = append(all, fmt.Sprintf("no type that event declares matches the topic %s, so that nothing may ever be delivered for it; mend the topic, or declare the type", topic))
		}
	}
	return all
}

// eventType reads "event <type> { ... }".
func (p *optionParser) eventType(args []string) error {
	t := &EventType{Type: args[0]}
	p.app.EventTypes = append(p.app.EventTypes, t)
	if err := t.check(p.events); err != nil {
		return err
	}
	return nestedBlock(p.d, fmt.Sprintf("event %q", t.Type), vocabulary{
		"description": {usage: "description <text>", least: 1, most: 1, parse: func(args []string) error {
			t.Description = args[0]
			return nil
		}},
		"schema": {usage: "schema <file>", least: 1, most: 1, parse: func(args []string) error {
			if args[0] == "" {
				return fmt.Errorf("schema: the file is empty; %s", unsetHint)
			}
			t.Schema = args[0]
			return nil
		}},
	})
}
