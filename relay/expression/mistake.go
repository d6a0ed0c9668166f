package expression

import (
	"cmp"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common"
	"cel.dev/cel-go/common/operators"

	"github.com/caddyrelay/caddyrelay/relay/spelling"
)

// mistakeError is what is wrong with the text of an expression, and where.
type mistakeError struct {
	source  string
	at      common.Location
	message string
}

// Error says what is wrong, and shows the line with a caret under the place.
func (e *mistakeError) Error() string {
	lines := strings.Split(e.source, "\n")
	n := e.at.Line() - 1
	if n < 0 || n >= len(lines) {
		return e.message
	}
	line, before := window(strings.TrimRight(lines[n], "\r"), e.at.Column())
	caret := strings.Map(func(r rune) rune {
		if r == '\t' {
			return r
		}
		return ' '
	}, before)
	return e.message + "\n\t" + line + "\n\t" + caret + "^ here"
}

// window returns as much of a line as fits on a screen, and the part of that before a
// column, which counts characters from 0.
func window(line string, column int) (shown, before string) {
	const around = 60
	runes := []rune(line)
	column = min(max(column, 0), len(runes))
	start, end := max(0, column-around), min(len(runes), column+around)
	shown, before = string(runes[start:end]), string(runes[start:column])
	if start > 0 {
		shown, before = "... "+shown, "... "+before
	}
	if end < len(runes) {
		shown += " ..."
	}
	return shown, before
}

// mistake makes an error of the first of the issues: the others often follow from it.
func (in environment) mistake(source string, issues *cel.Issues) error {
	all := slices.Clone(issues.Errors())
	if len(all) == 0 {
		return issues.Err()
	}
	slices.SortStableFunc(all, func(a, b *cel.Error) int {
		return cmp.Or(cmp.Compare(a.Location.Line(), b.Location.Line()), cmp.Compare(a.Location.Column(), b.Location.Column()))
	})
	return &mistakeError{source: source, at: all[0].Location, message: in.reword(source, all[0])}
}

var (
	undeclared  = regexp.MustCompile(`^undeclared reference to '([^']*)'`)
	undefined   = regexp.MustCompile(`^undefined field '([^']*)'`)
	overload    = regexp.MustCompile(`^found no matching overload for '([^']*)' applied to '(.*)'$`)
	expectation = regexp.MustCompile(` expecting \{?.*$`)
)

// reword says what the library says in the words of who wrote the expression.
func (in environment) reword(source string, e *cel.Error) string {
	if strings.Contains(source, "{env.") || strings.Contains(source, "{file.") || strings.Contains(source, "{event.") {
		return "placeholders are not replaced in an expression; write event.data.total, without braces"
	}
	if found := undeclared.FindStringSubmatch(e.Message); found != nil {
		return in.unknownName(found[1])
	}
	if found := undefined.FindStringSubmatch(e.Message); found != nil {
		return in.unknownField(source, e.Location, found[1])
	}
	if found := overload.FindStringSubmatch(e.Message); found != nil {
		return mismatch(found[1], strings.Trim(found[2], "()"))
	}
	switch e.Message {
	case "invalid timestamp argument":
		return `timestamp(): write a time like timestamp("2026-11-21T20:00:00Z")`
	case "invalid duration argument":
		return `duration(): write a number with its unit, e.g. duration("90s") or duration("24h")`
	}
	if what, ok := strings.CutPrefix(e.Message, "Syntax error: "); ok {
		if strings.Contains(what, "'<EOF>'") {
			return "the expression ends too early"
		}
		return "syntax error: " + expectation.ReplaceAllString(what, "")
	}
	return e.Message
}

// unknownName is about an identifier that is none.
func (in environment) unknownName(name string) string {
	known := in.paths()
	for variable := range in.variables {
		known = append(known, variable)
	}
	if first, _, _ := strings.Cut(name, "."); first == "data" {
		return fmt.Sprintf("there is no %q — did you mean %q?", name, "event."+name)
	}
	for _, path := range known {
		if strings.HasSuffix(path, "."+name) {
			return fmt.Sprintf("there is no %q — did you mean %q?", name, path)
		}
	}
	if near := spelling.Nearest(name, known); near != "" {
		return fmt.Sprintf("there is no %q — did you mean %q?", name, near)
	}
	return fmt.Sprintf("there is no %q; there are %s, and functions of CEL", name, strings.Join(in.paths(), ", "))
}

// unknownField is about a field that a variable does not have. The location is that of
// the dot, or of the name.
func (in environment) unknownField(source string, at common.Location, field string) string {
	variable := "event"
	lines := strings.Split(source, "\n")
	if n := at.Line() - 1; n >= 0 && n < len(lines) {
		runes := []rune(lines[n])
		before := string(runes[:min(max(at.Column(), 0), len(runes))])
		for name := range in.variables {
			if strings.HasSuffix(strings.TrimRight(before, " .?"), name) {
				variable = name
			}
		}
	}
	names := namesOf(in.variables[variable])
	if near := spelling.Nearest(field, names); near != "" {
		return fmt.Sprintf("there is no %s.%s — did you mean %q?", variable, field, variable+"."+near)
	}
	said := fmt.Sprintf("there is no %s.%s; there are %s.%s", variable, field, variable, strings.Join(names, ", ."))
	if variable == "event" {
		said += fmt.Sprintf("; what an event brings is in its data: event.data.%s", field)
	}
	return said
}

// paths are all attributes of all variables.
func (in environment) paths() []string {
	var all []string
	for variable, typ := range in.variables {
		for _, name := range namesOf(typ) {
			all = append(all, variable+"."+name)
		}
	}
	slices.Sort(all)
	return all
}

// mismatch is about arguments that a function or operator does not take.
func mismatch(function, arguments string) string {
	name, operator := operators.FindReverse(function)
	if !operator || name == "" {
		return fmt.Sprintf("%s() does not take (%s)", function, arguments)
	}
	return fmt.Sprintf("%s does not take %s", name, strings.Replace(arguments, ", ", " and ", 1))
}
