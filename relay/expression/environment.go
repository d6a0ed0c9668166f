package expression

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/ext"
)

// Names of the types of the variables.
const (
	eventType    = "relay.Event"
	responseType = "relay.Response"
)

// attribute is a field of a variable.
type attribute struct {
	typ *cel.Type
	get func(target any) (any, error)
}

func ofEvent(typ *cel.Type, get func(*Event) (ref.Val, error)) attribute {
	return attribute{typ, func(target any) (any, error) {
		e, ok := target.(*Event)
		if !ok || e == nil {
			return nil, errors.New("there is no event")
		}
		return get(e)
	}}
}

func ofResponse(typ *cel.Type, get func(*response) (ref.Val, error)) attribute {
	return attribute{typ, func(target any) (any, error) {
		r, ok := target.(*response)
		if !ok {
			return nil, errors.New("there is no response")
		}
		return get(r)
	}}
}

func text(get func(*Event) string) attribute {
	return ofEvent(cel.StringType, func(e *Event) (ref.Val, error) { return types.String(get(e)), nil })
}

var errNoJSON = errors.New("the event's data is no JSON")

// attributes are the fields of each type.
var attributes = map[string]map[string]attribute{
	eventType: {
		"id":      text(func(e *Event) string { return e.ID }),
		"type":    text(func(e *Event) string { return e.Type }),
		"source":  text(func(e *Event) string { return e.Source }),
		"subject": text(func(e *Event) string { return e.Subject }),
		"time": ofEvent(cel.TimestampType, func(e *Event) (ref.Val, error) {
			return types.Timestamp{Time: e.Time.UTC()}, nil
		}),
		"data": ofEvent(cel.DynType, func(e *Event) (ref.Val, error) {
			if e.Data == nil {
				return nil, errNoJSON
			}
			return toCEL(e.Data.Root()), nil
		}),
	},
	responseType: {
		"status": ofResponse(cel.IntType, func(r *response) (ref.Val, error) { return types.Int(r.Status), nil }),
		"header": ofResponse(cel.MapType(cel.StringType, cel.StringType), func(r *response) (ref.Val, error) {
			return types.DefaultTypeAdapter.NativeToValue(r.Header), nil
		}),
		"json": ofResponse(cel.DynType, (*response).json),
	},
}

// provider adds the types of the variables to those of CEL.
type provider struct{ types.Provider }

func (p provider) FindStructType(name string) (*types.Type, bool) {
	if attributes[name] != nil {
		return types.NewTypeTypeWithParam(types.NewObjectType(name)), true
	}
	return p.Provider.FindStructType(name)
}

func (p provider) FindStructFieldNames(name string) ([]string, bool) {
	if attributes[name] != nil {
		return namesOf(name), true
	}
	return p.Provider.FindStructFieldNames(name)
}

func (p provider) FindStructFieldType(name, field string) (*types.FieldType, bool) {
	if attributes[name] == nil {
		return p.Provider.FindStructFieldType(name, field)
	}
	a, ok := attributes[name][field]
	if !ok {
		return nil, false
	}
	return &types.FieldType{Type: a.typ, GetFrom: a.get, IsSet: func(target any) bool {
		value, err := a.get(target)
		return err == nil && value != types.String("")
	}}, true
}

// NewValue refuses to make what only the relay has.
func (p provider) NewValue(name string, fields map[string]ref.Val) ref.Val {
	if attributes[name] != nil {
		return types.NewErr("%s cannot be made in an expression", name)
	}
	return p.Provider.NewValue(name, fields)
}

func namesOf(typ string) []string {
	var names []string
	for name := range attributes[typ] {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// environment is what expressions of one kind may say. It is made when first used.
type environment struct {
	make func() (*cel.Env, error)
	// variables are the types of the variables by their names.
	variables map[string]string
}

func newEnvironment(variables map[string]string) environment {
	return environment{variables: variables, make: sync.OnceValues(func() (*cel.Env, error) {
		options := []cel.EnvOption{
			cel.CrossTypeNumericComparisons(true), // JSON has one kind of number
			cel.DefaultUTCTimeZone(true),
			cel.OptionalTypes(),
			ext.Strings(ext.StringsVersion(5)), // from where on their cost is counted
			ext.Lists(ext.ListsVersion(3)),
			ext.Math(),
			ext.Bindings(),
			cel.ASTValidators(cel.ValidateTimestampLiterals(), cel.ValidateDurationLiterals()),
			func(e *cel.Env) (*cel.Env, error) { // last, since others add types to the one before
				return cel.CustomTypeProvider(provider{e.CELTypeProvider()})(e)
			},
		}
		for name, typ := range variables {
			options = append(options, cel.Variable(name, cel.ObjectType(typ)))
		}
		return cel.NewEnv(options...)
	})}
}

var (
	eventEnvironment = newEnvironment(map[string]string{"event": eventType})
	untilEnvironment = newEnvironment(map[string]string{"event": eventType, "response": responseType})
)

// maxLength bounds an expression, in bytes.
const maxLength = 16 << 10

func compile(source string, in environment) (*Expression, error) {
	switch {
	case strings.TrimSpace(source) == "":
		return nil, errors.New("the expression is empty; write e.g. event.data.total > 100")
	case len(source) > maxLength:
		return nil, fmt.Errorf("the expression has %d bytes; at most %d are allowed", len(source), maxLength)
	}
	env, err := in.make()
	if err != nil {
		return nil, fmt.Errorf("setting up CEL: %w", err)
	}
	checked, issues := env.Compile(source)
	if issues.Err() != nil {
		return nil, in.mistake(source, issues)
	}
	if err := judge(source, checked); err != nil {
		return nil, err
	}
	bounds := boundsOf(checked)
	program, err := env.Program(checked, append(bounds.options(), cel.EvalOptions(cel.OptOptimize))...)
	if err != nil {
		return nil, fmt.Errorf("preparing the expression: %w", err)
	}
	return &Expression{text: source, program: program, loops: bounds.loops, uses: used(checked)}, nil
}
