package transform

import (
	"fmt"
	"reflect"

	"github.com/itchyny/gojq"
)

// boundRepetitions changes a program so that text times a number, which jq repeats up to 2 GiB of
// at once and which nothing could end, makes no more than a result may have: the number may
// come from an event. A number that stands in the program is the operator's.
func boundRepetitions(program *gojq.Query) (err error) {
	queries(reflect.ValueOf(program), func(q *gojq.Query) {
		form := map[gojq.Operator]string{
			gojq.OpMul:       "(%[2]s) as $relay_r | (%[1]s) as $relay_l | " + repetitionCheck + "($relay_l; $relay_r) | $relay_l * $relay_r",
			gojq.OpUpdateMul: "(%[2]s) as $relay_r | (%[1]s) |= (" + repetitionCheck + "(.; $relay_r) | . * $relay_r)",
		}[q.Op]
		if err != nil || form == "" || isNumber(q.Left) || isNumber(q.Right) {
			return
		}
		var bounded *gojq.Query
		if bounded, err = gojq.Parse(fmt.Sprintf(form, q.Left, q.Right)); err == nil {
			bounded.Meta, bounded.Imports, bounded.FuncDefs = q.Meta, q.Imports, q.FuncDefs
			*q = *bounded
		}
	})
	return err
}

// repetitionCheck is a function that passes its input on, if its arguments may be multiplied.
const repetitionCheck = "relay_repetition"

var withRepetitionCheck = gojq.WithFunction(repetitionCheck, 2, 2, func(in any, factors []any) any {
	for i, factor := range factors {
		text, ok := factor.(string)
		if !ok {
			continue
		}
		if n := numberOf(factors[1-i]); n*float64(len(text)) > MaxSize {
			return errCount("repeating a text", int(min(n, 1<<53)))
		}
	}
	return in
})

// numberOf returns 0 for what is none.
func numberOf(v any) float64 {
	value := reflect.ValueOf(v)
	switch {
	case value.CanInt():
		return float64(value.Int())
	case value.CanFloat():
		return value.Float()
	}
	if n, ok := v.(fmt.Stringer); ok { // json.Number, *big.Int
		var f float64
		if _, err := fmt.Sscan(n.String(), &f); err == nil {
			return f
		}
	}
	return 0
}

func isNumber(q *gojq.Query) bool {
	return q != nil && q.Term != nil && q.Term.Type == gojq.TermTypeNumber
}

// queries visits all parts of a program, the inner ones first.
func queries(v reflect.Value, visit func(*gojq.Query)) {
	if v.Kind() == reflect.Pointer && !v.IsNil() {
		queries(v.Elem(), visit)
		if q, ok := v.Interface().(*gojq.Query); ok {
			visit(q)
		}
	}
	if v.Kind() == reflect.Struct {
		for i := range v.NumField() {
			if v.Type().Field(i).IsExported() {
				queries(v.Field(i), visit)
			}
		}
	}
	if v.Kind() == reflect.Slice {
		for i := range v.Len() {
			queries(v.Index(i), visit)
		}
	}
}
