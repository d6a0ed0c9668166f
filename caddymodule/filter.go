package caddymodule

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/caddyrelay/caddyrelay/relay/expression"
	"github.com/caddyrelay/caddyrelay/relay/filter"
)

// Filter is a condition on a value in the data of an event. A value that is absent meets
// none, with not as well; only `exists` asks about that. Of an array one element has to
// meet it. Data that is no JSON meets none.
type Filter struct {
	// Turns the condition around. Default: false
	Not bool `json:"not,omitempty"`

	// The dotted path to the value, e.g. `customer.id`. A number is an index where it
	// meets an array; a dot within a name is written `\.`.
	Path string `json:"path"`

	// equals, in, regexp (RE2, found anywhere unless it has `^` and `$`) or exists.
	Operator filter.Operator `json:"operator"`

	// What the value is compared with: one text for equals, none for exists. A text is
	// also the number, the truth value or the null that JSON writes so: 1 is 1, 1.0
	// and "1".
	Values []string `json:"values,omitempty"`
}

func (f Filter) check() error {
	_, err := f.build()
	return err
}

// build makes what the engine evaluates.
func (f Filter) build() (*filter.Filter, error) {
	for _, text := range append([]string{f.Path}, f.Values...) {
		for _, begin := range []string{"{env.", "{file.", "{event."} {
			if strings.Contains(text, begin) {
				return nil, fmt.Errorf("filter: placeholders are not replaced in filters; write out what %q stands for, or the path without event.data", text)
			}
		}
	}
	built, err := filter.New(f.Not, f.Path, f.Operator, f.Values...)
	if err != nil {
		return nil, fmt.Errorf("filter: %w", err)
	}
	return built, nil
}

func (s *Settings) parseFilter(args []string) error {
	var f Filter
	if len(args) > 0 && args[0] == "not" {
		f.Not, args = true, args[1:]
	}
	if len(args) > 0 {
		f.Path, args = args[0], args[1:]
	}
	if len(args) > 0 {
		f.Operator, f.Values = filter.Operator(args[0]), args[1:]
	}
	s.Filter = append(s.Filter, f)
	return f.check()
}

func (s *Settings) parseFilters(args []string) error {
	if err := checkFilters(json.RawMessage(args[0])); err != nil {
		return err
	}
	s.Filters = json.RawMessage(args[0])
	return nil
}

// checkFilters takes nothing for no filters.
func checkFilters(raw json.RawMessage) error {
	_, err := buildFilters(raw)
	return err
}

func buildFilters(raw json.RawMessage) ([]*filter.Filter, error) {
	if raw == nil {
		return nil, nil
	}
	built, err := filter.ParseContentful(raw)
	if err != nil {
		return nil, fmt.Errorf("filters: %w", err)
	}
	return built, nil
}

// compile keeps what the expression becomes, since that takes a while.
func (s *Settings) compile() error {
	if s.Expression == "" {
		return nil
	}
	compiled, err := expression.Compile(s.Expression)
	if err != nil {
		return fmt.Errorf("expression: %w", err)
	}
	s.condition = compiled
	return nil
}

// buildFilters returns what both words say, those of the lines first.
func (s *Settings) buildFilters() ([]*filter.Filter, error) {
	contentful, err := buildFilters(s.Filters)
	if err != nil {
		return nil, err
	}
	all := make([]*filter.Filter, 0, len(s.Filter)+len(contentful))
	for _, f := range s.Filter {
		built, err := f.build()
		if err != nil {
			return nil, err
		}
		all = append(all, built)
	}
	return append(all, contentful...), nil
}

// rawText takes one word without its quotes, and several as they are written, as Caddy's
// matcher expression does: expression event.source == "/shop". The cursor is at the last of
// them.
func rawText(d *caddyfile.Dispenser, args []string) string {
	if len(args) == 1 {
		return args[0]
	}
	for range args {
		d.Prev()
	}
	return strings.Join(d.RemainingArgsRaw(), " ")
}
