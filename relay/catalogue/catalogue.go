package catalogue

import (
	"encoding/json"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/caddyrelay/caddyrelay/relay/topic"
)

// Declaration is one type of event that applications send.
type Declaration struct {
	// Type is exact: it has no wildcards.
	Type string
	// Description is for people. It may be empty.
	Description string
	// Schema is the path of a file with a JSON schema of the data, relative to the working
	// directory. Empty: the data may be anything.
	Schema string
}

// Catalogue is what was declared. It is immutable; nil is an empty one.
type Catalogue struct {
	types []string
	// schemas are by the canonical form of the type; nil if there are none.
	schemas map[string]*jsonschema.Schema
	listing []byte
	// turns bounds how many values are checked at once: in memory a value is many times
	// the size of its text, and more at once than there are processors go no faster.
	turns chan struct{}
}

// New reads the schemas and compiles them. Its errors name the type, the file, and the
// mend.
func New(declarations []Declaration) (*Catalogue, error) {
	c := &Catalogue{
		types: make([]string, 0, len(declarations)),
		turns: make(chan struct{}, runtime.GOMAXPROCS(0)),
	}
	items := make([]item, 0, len(declarations))
	seen := make(Seen)
	for _, d := range declarations {
		if err := seen.Check(d.Type); err != nil {
			return nil, err
		}
		c.types = append(c.types, d.Type)
		shown := item{Type: d.Type, Description: d.Description}
		if d.Schema != "" {
			schema, text, err := load(d.Schema)
			if err != nil {
				return nil, fmt.Errorf("event %q: schema %s: %w", d.Type, d.Schema, err)
			}
			if c.schemas == nil {
				c.schemas = make(map[string]*jsonschema.Schema)
			}
			c.schemas[topic.Canonical(d.Type)] = schema
			shown.Schema = text
		}
		items = append(items, shown)
	}
	var err error
	c.listing, err = json.Marshal(listing{Items: items})
	return c, err
}

// Seen are the types that were declared so far, in their canonical form.
type Seen map[string]bool

// Check refuses what cannot be declared although it may be the type of an event: a pattern, and
// a type that means the same events as one before it, see [topic.Canonical].
func (s Seen) Check(typ string) error {
	if slices.Contains(strings.Split(typ, "."), "*") {
		return fmt.Errorf("event %q is a pattern; the catalogue has exact types, each declared by itself", typ)
	}
	canonical := topic.Canonical(typ)
	if s[canonical] {
		return fmt.Errorf("event %q is declared twice; types are compared without regard to case", typ)
	}
	s[canonical] = true
	return nil
}

// Covers reports whether a pattern matches one of the declared types, or something that
// is not declared here: what the relay itself says.
func (c *Catalogue) Covers(p topic.Pattern) bool {
	if c == nil || len(c.types) == 0 || p.Reserved() {
		return true
	}
	return slices.ContainsFunc(c.types, p.Match)
}

// item is how a declaration is shown.
type item struct {
	Type        string          `json:"type"`
	Description string          `json:"description,omitempty"`
	Schema      json.RawMessage `json:"schema,omitempty"`
}

// listing has the form of the other lists of the relay; it is never cut into pages.
type listing struct {
	Items []item `json:"items"`
	Next  string `json:"next"`
}

// JSON returns the list of the declarations, in their order, with their schemas.
func (c *Catalogue) JSON() []byte {
	if c == nil {
		return []byte(`{"items":[],"next":""}`)
	}
	return c.listing
}

// HasSchema reports whether data of this type is checked.
func (c *Catalogue) HasSchema(typ string) bool {
	return c != nil && c.schemas != nil && c.schemas[topic.Canonical(typ)] != nil
}

// Fault is one thing that is wrong with data.
type Fault struct {
	// Path leads to the place, by the names of members and indexes of elements.
	Path   []string
	Detail string
}

// Check holds data, which is JSON, against the schema of its type. It returns nothing if
// there is none.
func (c *Catalogue) Check(typ string, data []byte) []Fault {
	if !c.HasSchema(typ) {
		return nil
	}
	c.turns <- struct{}{}
	defer func() { <-c.turns }()
	value, fault := decode(data)
	if fault != nil {
		return []Fault{*fault}
	}
	err := c.schemas[topic.Canonical(typ)].Validate(value)
	var invalid *jsonschema.ValidationError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &invalid):
		return explain(invalid)
	}
	return []Fault{{Detail: err.Error()}}
}
