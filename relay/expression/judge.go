package expression

import (
	"fmt"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/types"

	"github.com/caddyrelay/caddyrelay/relay/re2"
)

// literals are the functions whose arguments have to be written out. With those of an
// event, a sender could make them work or grow without bound.
var literals = map[string]string{
	"matches": "the pattern",
	"replace": "what is replaced, and what takes its place,",
	"join":    "the separator",

	"lists.range": "the length",
}

// judge refuses what CEL allows and a condition does not.
func judge(source string, checked *cel.Ast) error {
	native := checked.NativeRep()
	root := native.Expr()
	mistake := func(at ast.Expr, format string, args ...any) error {
		return &mistakeError{source, native.SourceInfo().GetStartLocation(at.ID()), fmt.Sprintf(format, args...)}
	}
	if t := checked.OutputType(); !t.IsExactType(types.BoolType) && !t.IsExactType(types.DynType) {
		return mistake(root, "the result is %s; a condition must be true or false: compare it with something", t)
	}
	var first error
	ast.PostOrderVisit(root, ast.NewExprVisitor(func(x ast.Expr) {
		if first != nil || x.Kind() != ast.CallKind {
			return
		}
		call := x.AsCall()
		function, args := call.FunctionName(), call.Args()
		if function == "matches" && !call.IsMemberFunction() && len(args) > 0 {
			args = args[1:]
		}
		if function == "format" && call.IsMemberFunction() {
			first = mistake(x, "format() is not available in a condition")
			return
		}
		what, limited := literals[function]
		if !limited {
			return
		}
		for _, arg := range args {
			if arg.Kind() != ast.LiteralKind {
				first = mistake(arg, "%s(): %s must be written out, not taken from elsewhere", function, what)
				return
			}
		}
		if function == "matches" && len(args) == 1 {
			if pattern, ok := args[0].AsLiteral().(types.String); ok {
				if _, err := re2.Compile(string(pattern)); err != nil {
					first = mistake(args[0], "matches(): %v", err)
				}
			}
		}
	}))
	return first
}

// used returns the attributes of the event that an expression asks for. One that takes
// the event as a whole asks for all.
func used(checked *cel.Ast) map[string]bool {
	selected, mentioned := make(map[string]bool), 0
	ast.PostOrderVisit(checked.NativeRep().Expr(), ast.NewExprVisitor(func(x ast.Expr) {
		switch {
		case x.Kind() == ast.IdentKind && x.AsIdent() == "event":
			mentioned++
		case x.Kind() == ast.SelectKind && x.AsSelect().Operand().Kind() == ast.IdentKind && x.AsSelect().Operand().AsIdent() == "event":
			selected[x.AsSelect().FieldName()] = true
			mentioned--
		}
	}))
	if mentioned != 0 {
		for _, name := range namesOf(eventType) {
			selected[name] = true
		}
	}
	return selected
}
