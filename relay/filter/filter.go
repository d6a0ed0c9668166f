package filter

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/caddyrelay/caddyrelay/relay/payload"
	"github.com/caddyrelay/caddyrelay/relay/re2"
	"github.com/caddyrelay/caddyrelay/relay/spelling"
)

// Operator says how a value of the data is compared.
type Operator string

// Operators.
const (
	Equals Operator = "equals" // it is that value
	In     Operator = "in"     // it is one of those
	Regexp Operator = "regexp" // one of those patterns (RE2) is found in its text
	Exists Operator = "exists" // it is there, null too
)

// Operators lists all operators.
var Operators = []Operator{Equals, In, Regexp, Exists}

// Filter is one condition. It may be used by many goroutines at once.
type Filter struct {
	word     string
	text     string
	not      bool
	path     payload.Path
	operator Operator
	values   []value
	patterns []*re2.Pattern
}

// New makes a filter whose values are texts: each is also the number, the truth value or
// the null that JSON writes so. The path is dotted, as in [payload.ParsePath].
func New(not bool, path string, operator Operator, values ...string) (*Filter, error) {
	f := &Filter{word: "filter", text: line(not, path, operator, values), not: not, operator: operator}
	var err error
	switch {
	case path == "":
		return nil, errors.New("the path is missing; write e.g. filter currency equals EUR")
	case operator == "":
		return nil, fmt.Errorf("what %s is compared with is missing; write e.g. filter %s equals EUR", path, path)
	}
	if f.path, err = payload.ParsePath(path); err != nil {
		return nil, err
	}
	if err := check(path, operator, values); err != nil {
		return nil, err
	}
	for _, text := range values {
		if operator == Regexp {
			pattern, err := re2.Compile(text)
			if err != nil {
				return nil, err
			}
			f.patterns = append(f.patterns, pattern)
			continue
		}
		f.values = append(f.values, valueOf(text))
	}
	return f, nil
}

// check judges an operator and the number of its values.
func check(path string, operator Operator, values []string) error {
	switch operator {
	case Equals:
		if len(values) == 1 {
			return nil
		}
		if len(values) > 1 {
			return fmt.Errorf("equals takes one value; for any of several write: filter %s in %s", path, strings.Join(quoted(values), " "))
		}
	case In, Regexp:
		if len(values) > 0 {
			return nil
		}
	case Exists:
		if len(values) == 0 {
			return nil
		}
		return fmt.Errorf("exists takes no value; to compare it write: filter %s equals %s", path, quote(values[0]))
	default:
		return unknownOperator(path, operator)
	}
	return fmt.Errorf("%s lacks a value; write: filter %s %s <value>", operator, path, operator)
}

// unknownOperator knows what other systems write.
func unknownOperator(path string, operator Operator) error {
	switch string(operator) {
	case "=", "==", "is", "eq":
		return fmt.Errorf("unknown operator %q — did you mean %q?", operator, Equals)
	case "!=", "ne", "isnt", "not":
		return fmt.Errorf("unknown operator %q; write: filter not %s equals <value>", operator, path)
	case "<", ">", "<=", ">=", "gt", "lt", "gte", "lte":
		return fmt.Errorf("unknown operator %q; to compare by size write e.g. expression `event.data.%s > 100`", operator, path)
	case "~", "=~", "matches", "match", "regex":
		return fmt.Errorf("unknown operator %q — did you mean %q?", operator, Regexp)
	}
	known := make([]string, len(Operators))
	for i, o := range Operators {
		known[i] = string(o)
	}
	if near := spelling.Nearest(string(operator), known); near != "" {
		return fmt.Errorf("unknown operator %q — did you mean %q?", operator, near)
	}
	return fmt.Errorf("unknown operator %q; there are %s", operator, strings.Join(known, ", "))
}

// Parse reads the words of a line: [not] <path> <operator> [<value>...].
func Parse(words []string) (*Filter, error) {
	not := len(words) > 0 && words[0] == "not"
	if not {
		words = words[1:]
	}
	switch len(words) {
	case 0:
		return New(not, "", "")
	case 1:
		return New(not, words[0], "")
	}
	return New(not, words[0], Operator(words[1]), words[2:]...)
}

// Word is the word of the configuration under which the filter stands: filter, or filters
// for one of Contentful's.
func (f *Filter) Word() string { return f.word }

// String returns the filter as it was written.
func (f *Filter) String() string { return f.text }

func line(not bool, path string, operator Operator, values []string) string {
	words := append([]string{path, string(operator)}, values...)
	if not {
		words = append([]string{"not"}, words...)
	}
	return strings.Join(quoted(words), " ")
}

func quoted(words []string) []string {
	all := slices.Clone(words)
	for i, w := range all {
		all[i] = quote(w)
	}
	return all
}

// quote writes a word so that a Caddyfile reads it as one.
func quote(word string) string {
	if word == "" || strings.ContainsAny(word, " \t\n\"`") {
		if !strings.Contains(word, "`") {
			return "`" + word + "`"
		}
		return `"` + strings.ReplaceAll(word, `"`, `\"`) + `"`
	}
	return word
}

// Match reports whether the data is meant; nil is data that is no JSON.
func (f *Filter) Match(data *payload.Document) bool {
	if data == nil {
		return false
	}
	v, found := data.Lookup(f.path)
	switch {
	case f.operator == Exists:
		return found != f.not
	case !found:
		return false
	}
	return f.matches(v) != f.not && !f.passes(v)
}

// matches compares what was found.
func (f *Filter) matches(v payload.Value) bool { return anyOf(v, f.matchesScalar) }

// passes reports a text that is too long to be looked at by one of the patterns. With not,
// too, such a text meets nothing.
func (f *Filter) passes(v payload.Value) bool {
	return f.not && len(f.patterns) > 0 && anyOf(v, f.tooLong)
}

// anyOf asks for a value, or for each element of an array.
func anyOf(v payload.Value, is func(payload.Value) bool) bool {
	if v.Kind() != jsontext.KindBeginArray {
		return is(v)
	}
	for i := range v.Len() {
		if e, ok := v.Element(i); ok && is(e) {
			return true
		}
	}
	return false
}

func (f *Filter) tooLong(v payload.Value) bool {
	text := v.Plain()
	for _, pattern := range f.patterns {
		if !pattern.Takes(len(text)) {
			return true
		}
	}
	return false
}

func (f *Filter) matchesScalar(v payload.Value) bool {
	kind := v.Kind()
	if kind == jsontext.KindBeginObject || kind == jsontext.KindBeginArray || kind == jsontext.KindInvalid {
		return false
	}
	text := v.Plain()
	for i := range f.values {
		if f.values[i].is(kind, text) {
			return true
		}
	}
	for _, pattern := range f.patterns {
		if pattern.Match(text) {
			return true
		}
	}
	return false
}

// Explain is [Filter.Match] with what was found, for people.
func (f *Filter) Explain(data *payload.Document) (matches bool, found string) {
	if data == nil {
		return false, "the data is no JSON"
	}
	matches = f.Match(data)
	v, ok := data.Lookup(f.path)
	if ok && !matches && len(f.patterns) > 0 && anyOf(v, f.tooLong) {
		return matches, "a text that is too long for its pattern, and is not looked at: " + show(v)
	}
	if ok {
		return matches, show(v)
	}
	return matches, "nothing: " + f.breaksOff(data)
}

// breaksOff says where the path leads nowhere.
func (f *Filter) breaksOff(data *payload.Document) string {
	v := data.Root()
	for i, name := range f.path {
		next, ok := v.At(name)
		if ok {
			v = next
			continue
		}
		at := "the data"
		if i > 0 {
			at = strings.Join(f.path[:i], ".")
		}
		switch v.Kind() {
		case jsontext.KindBeginObject:
			return fmt.Sprintf("%s has no %q", at, name)
		case jsontext.KindBeginArray:
			return fmt.Sprintf("%s is an array of %d without %q", at, v.Len(), name)
		default:
			return at + " is " + show(v)
		}
	}
	return ""
}

// show returns a value as it stands in the data, cut where it is long.
func show(v payload.Value) string {
	const longest = 120
	text := []rune(strings.ToValidUTF8(string(v.Raw()), "\uFFFD"))
	if len(text) > longest {
		return string(text[:longest]) + "..."
	}
	return string(text)
}
