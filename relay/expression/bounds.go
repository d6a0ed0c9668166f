package expression

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/operators"
	"cel.dev/cel-go/interpreter"
)

// Bounds of one evaluation. Both are reached after some tenths of a second.
const (
	// maxRounds bounds the rounds of exists, all, map and the like, together.
	maxRounds = 100_000
	// maxCost is in the units of CEL: about one for a step or ten bytes.
	maxCost = 50_000
)

// bounds say what an evaluation needs to be bounded. Without a loop it cannot take much
// more than the length of the expression times that of the data.
type bounds struct {
	// loops: it has a loop, so that rounds are counted.
	loops bool
	// grows: what it makes can become longer in a loop, so that all costs are counted,
	// which takes several times as long.
	grows bool
}

func boundsOf(checked *cel.Ast) bounds {
	var b bounds
	ast.PostOrderVisit(checked.NativeRep().Expr(), ast.NewExprVisitor(func(x ast.Expr) {
		if x.Kind() == ast.ComprehensionKind {
			b.loops = true
		}
		if x.Kind() == ast.CallKind && x.AsCall().FunctionName() == operators.Add {
			b.grows = true
		}
	}))
	b.grows = b.grows && b.loops
	return b
}

func (b bounds) options() []cel.ProgramOption {
	var options []cel.ProgramOption
	if b.loops {
		options = append(options, cel.InterruptCheckFrequency(maxRounds))
	}
	if b.grows {
		options = append(options, cel.CostLimit(maxCost))
	}
	return options
}

// exhausted is the context of evaluations with loops. Every maxRounds rounds they look
// whether it has ended: it has. A deadline would make the answer depend on how busy the
// machine is.
var exhausted = func() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}()

// explain says what stopped an evaluation.
func explain(err error) error {
	text := strings.ToValidUTF8(err.Error(), "\uFFFD")
	switch {
	case errors.Is(err, interpreter.InterruptError{}), strings.Contains(text, "actual cost limit exceeded"):
		return ErrCost
	case text == "no such overload":
		return errors.New("a value has another type than the expression expects")
	}
	if key, ok := strings.CutPrefix(text, "no such key: "); ok {
		return fmt.Errorf("there is no %q", key)
	}
	return errors.New(text)
}
