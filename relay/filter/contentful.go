package filter

import (
	"bytes"
	"errors"
	"fmt"
	"strings"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/caddyrelay/caddyrelay/relay/payload"
	"github.com/caddyrelay/caddyrelay/relay/re2"
)

// mistakeError is what is wrong in a text of JSON, and where.
type mistakeError struct {
	pointer jsontext.Pointer
	message string
}

func (e *mistakeError) Error() string {
	if e.pointer == "" {
		return e.message
	}
	return "at " + string(e.pointer) + ": " + e.message
}

// element is a value on the way through the text.
type element struct {
	payload.Value
	pointer jsontext.Pointer
}

func (e element) mistake(format string, args ...any) error {
	return &mistakeError{e.pointer, fmt.Sprintf(format, args...)}
}

func (e element) member(name string) (element, bool) {
	v, ok := e.Member(name)
	return element{v, e.pointer.AppendToken(name)}, ok
}

func (e element) index(i int) element {
	v, _ := e.Element(i)
	return element{v, e.pointer.AppendToken(fmt.Sprint(i))}
}

// example is shown where a text is far from what it should be.
const example = `[{"equals": [{"doc": "sys.environment.sys.id"}, "master"]}]`

// ParseContentful reads the array filters of a webhook definition of Contentful, as its
// content management API gives it: equals, in and regexp, each of which may stand in a
// not. All of them have to match. Values are compared with those of their own JSON type.
// null and [] are no filters. Errors have a JSON Pointer (RFC 6901) to the place.
func ParseContentful(text []byte) ([]*Filter, error) {
	if len(bytes.TrimSpace(text)) == 0 {
		return nil, errors.New("there is no JSON; write e.g. " + example)
	}
	if err := checkSyntax(text); err != nil {
		return nil, err
	}
	d := payload.OpenDocument(text)
	defer d.Close()
	root := element{Value: d.Root()}
	switch root.Kind() {
	case jsontext.KindNull:
		return nil, nil
	case jsontext.KindBeginArray:
	default:
		return nil, root.mistake("an array is expected; write e.g. %s", example)
	}
	filters := make([]*Filter, root.Len())
	for i := range filters {
		f, err := root.index(i).filter(false)
		if err != nil {
			return nil, err
		}
		raw := root.index(i).Raw().Clone()
		_ = raw.Compact() // it was checked
		f.text = string(raw)
		filters[i] = f
	}
	return filters, nil
}

// checkSyntax points to where a text is no JSON.
func checkSyntax(text []byte) error {
	c := payload.Open(text)
	defer c.Close()
	_, err := c.ReadValue()
	if err == nil {
		if len(bytes.TrimSpace(text[c.InputOffset():])) == 0 {
			return nil
		}
		return fmt.Errorf("there is more after the end of the JSON, in %s", place(text, c.InputOffset()))
	}
	var syntax *jsontext.SyntacticError
	if errors.As(err, &syntax) {
		return &mistakeError{syntax.JSONPointer, fmt.Sprintf("%s, in %s", strings.TrimPrefix(syntax.Err.Error(), "jsontext: "), place(text, syntax.ByteOffset))}
	}
	return fmt.Errorf("the JSON ends too early: %w", err)
}

// place counts lines and columns from 1.
func place(text []byte, offset int64) string {
	before := text[:min(int(offset), len(text))]
	line := bytes.Count(before, []byte("\n")) + 1
	column := len([]rune(string(before[bytes.LastIndexByte(before, '\n')+1:]))) + 1
	return fmt.Sprintf("line %d, column %d", line, column)
}

// filter reads one condition.
func (e element) filter(within bool) (*Filter, error) {
	if e.Kind() != jsontext.KindBeginObject {
		return nil, e.mistake(`an object is expected, e.g. {"equals": [{"doc": "sys.id"}, "main_nav"]}`)
	}
	name, operand, err := e.only()
	if err != nil {
		return nil, err
	}
	switch Operator(name) {
	case "not":
		if within {
			return nil, e.mistake("not stands in not; leave both out")
		}
		f, err := operand.filter(true)
		if err == nil {
			f.not = true
		}
		return f, err
	case Equals, In, Regexp:
		return operand.condition(Operator(name))
	default:
		return nil, e.unknown(name)
	}
}

// only returns the one member of an object.
func (e element) only() (string, element, error) {
	if n := e.Len(); n != 1 {
		return "", e, e.mistake("one of equals, in, regexp and not is expected, but there are %d members; write an object for each condition", n)
	}
	for name := range e.Members() {
		operand, _ := e.member(name)
		return name, operand, nil
	}
	return "", e, nil
}

func (e element) unknown(name string) error {
	if name == string(Exists) {
		return e.mistake("Contentful has no exists; write a line: filter <path> exists")
	}
	err := unknownOperator("<path>", Operator(name))
	text, _, _ := strings.Cut(err.Error(), "; there are")
	if text != err.Error() {
		text += "; there are equals, in, regexp, not"
	}
	return e.mistake("%s", text)
}

// condition reads [{"doc": path}, value].
func (e element) condition(operator Operator) (*Filter, error) {
	if e.Kind() != jsontext.KindBeginArray || e.Len() != 2 {
		return nil, e.mistake(`two elements are expected, the document's path and what it is compared with: [{"doc": "sys.id"}, ...]`)
	}
	f := &Filter{word: "filters", operator: operator}
	var err error
	if f.path, err = e.index(0).doc(); err != nil {
		return nil, err
	}
	operand := e.index(1)
	switch operator {
	case In:
		if operand.Kind() != jsontext.KindBeginArray || operand.Len() == 0 {
			return nil, operand.mistake(`an array of values is expected, e.g. ["testing", "staging"]`)
		}
		for i := range operand.Len() {
			if err := f.add(operand.index(i)); err != nil {
				return nil, err
			}
		}
	case Regexp:
		pattern, err := operand.pattern()
		if err != nil {
			return nil, err
		}
		f.patterns = append(f.patterns, pattern)
	default:
		if err := f.add(operand); err != nil {
			return nil, err
		}
	}
	return f, nil
}

// add takes a value to compare with.
func (f *Filter) add(operand element) error {
	kind := operand.Kind()
	if kind == jsontext.KindBeginObject || kind == jsontext.KindBeginArray {
		return operand.mistake("a single value is expected, e.g. \"master\"")
	}
	f.values = append(f.values, typedValue(kind, operand.Text()))
	return nil
}

// doc reads {"doc": path}.
func (e element) doc() (payload.Path, error) {
	at, ok := e.member("doc")
	if !ok || e.Len() != 1 {
		return nil, e.mistake(`the path is expected as {"doc": "sys.id"}`)
	}
	if at.Kind() != jsontext.KindString {
		return nil, at.mistake("a dotted path is expected, e.g. \"sys.contentType.sys.id\"")
	}
	path, err := payload.ParsePath(at.Text())
	if err != nil {
		return nil, at.mistake("%v", err)
	}
	return path, nil
}

// pattern reads {"pattern": text}.
func (e element) pattern() (compiled *re2.Pattern, err error) {
	at, ok := e.member("pattern")
	if !ok || e.Len() != 1 || at.Kind() != jsontext.KindString {
		return nil, e.mistake(`the pattern is expected as {"pattern": "^ci-[a-z]{3,5}$"}`)
	}
	if compiled, err = re2.Compile(at.Text()); err != nil {
		return nil, at.mistake("%v", err)
	}
	return compiled, nil
}
