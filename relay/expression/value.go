package expression

import (
	"errors"
	"fmt"
	"reflect"
	"strconv"
	"strings"

	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/common/types/traits"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/caddyrelay/caddyrelay/relay/payload"
)

// toCEL returns what CEL knows of a JSON value. Numbers that are whole are int, or uint
// where they are too large for that; others are double.
func toCEL(v payload.Value) ref.Val {
	switch v.Kind() {
	case jsontext.KindNull:
		return types.NullValue
	case jsontext.KindTrue:
		return types.True
	case jsontext.KindFalse:
		return types.False
	case jsontext.KindString:
		return types.String(v.Text())
	case jsontext.KindNumber:
		return number(v.Text())
	case jsontext.KindBeginObject:
		return object{v}
	case jsontext.KindBeginArray:
		return array{v}
	default:
		return types.NewErrFromString(errNoJSON.Error())
	}
}

func number(text string) ref.Val {
	if !strings.ContainsAny(text, ".eE") {
		if n, err := strconv.ParseInt(text, 10, 64); err == nil {
			return types.Int(n)
		}
		if n, err := strconv.ParseUint(text, 10, 64); err == nil {
			return types.Uint(n)
		}
	}
	// What is too large for a double is infinite.
	f, err := strconv.ParseFloat(text, 64)
	if err != nil && !errors.Is(err, strconv.ErrRange) {
		return types.NewErrFromString(errNoJSON.Error())
	}
	return types.Double(f)
}

// kindOf names the type of a result for people.
func kindOf(v ref.Val) string {
	switch v.Type() {
	case types.NullType:
		return "null"
	case types.MapType:
		return "an object"
	case types.ListType:
		return "a list"
	}
	return "a " + v.Type().TypeName()
}

// object is a JSON object as a map of CEL. Only what is asked for is read.
type object struct{ json payload.Value }

// Find implements [traits.Mapper].
func (o object) Find(key ref.Val) (ref.Val, bool) {
	name, ok := key.(types.String)
	if !ok {
		return nil, false
	}
	v, ok := o.json.Member(string(name))
	if !ok {
		return nil, false
	}
	return toCEL(v), true
}

// Get implements [traits.Indexer].
func (o object) Get(key ref.Val) ref.Val {
	v, ok := o.Find(key)
	if !ok {
		return types.NewErr("no such key: %v", key.Value())
	}
	return v
}

// Contains implements [traits.Container].
func (o object) Contains(key ref.Val) ref.Val {
	_, ok := o.Find(key)
	return types.Bool(ok)
}

// Size implements [traits.Sizer].
func (o object) Size() ref.Val { return types.Int(o.json.Len()) }

// Iterator implements [traits.Iterable]: it goes over the names.
func (o object) Iterator() traits.Iterator {
	names := make([]ref.Val, 0, o.json.Len())
	for name := range o.json.Members() {
		names = append(names, types.String(name))
	}
	return types.NewRefValList(types.DefaultTypeAdapter, names).Iterator()
}

// Type implements [ref.Val].
func (object) Type() ref.Type { return types.MapType }

// Equal implements [ref.Val].
func (o object) Equal(other ref.Val) ref.Val { return o.whole().Equal(other) }

// whole reads all names; their values are still read when somebody asks.
func (o object) whole() ref.Val {
	members := make(map[ref.Val]ref.Val, o.json.Len())
	for name, v := range o.json.Members() {
		members[types.String(name)] = toCEL(v)
	}
	return types.NewRefValMap(types.DefaultTypeAdapter, members)
}

// ConvertToType implements [ref.Val].
func (o object) ConvertToType(t ref.Type) ref.Val { return o.whole().ConvertToType(t) }

// ConvertToNative implements [ref.Val].
func (o object) ConvertToNative(t reflect.Type) (any, error) { return convert(o.whole(), t) }

// Value implements [ref.Val].
func (o object) Value() any { return o.json }

// array is a JSON array as a list of CEL.
type array struct{ json payload.Value }

// Get implements [traits.Indexer].
func (a array) Get(index ref.Val) ref.Val {
	i, err := types.IndexOrError(index)
	if err != nil {
		return types.NewErrFromString(err.Error())
	}
	v, ok := a.json.Element(i)
	if !ok {
		return types.NewErr("index out of bounds: %d", i)
	}
	return toCEL(v)
}

// Contains implements [traits.Container].
func (a array) Contains(wanted ref.Val) ref.Val {
	for v := range a.json.Elements() {
		if types.Equal(toCEL(v), wanted) == types.True {
			return types.True
		}
	}
	return types.False
}

// Size implements [traits.Sizer].
func (a array) Size() ref.Val { return types.Int(a.json.Len()) }

// Iterator implements [traits.Iterable].
func (a array) Iterator() traits.Iterator { return a.whole().(traits.Lister).Iterator() }

// Add implements [traits.Adder].
func (a array) Add(other ref.Val) ref.Val { return a.whole().(traits.Lister).Add(other) }

// Type implements [ref.Val].
func (array) Type() ref.Type { return types.ListType }

// Equal implements [ref.Val].
func (a array) Equal(other ref.Val) ref.Val { return a.whole().Equal(other) }

func (a array) whole() ref.Val {
	elements := make([]ref.Val, 0, a.json.Len())
	for v := range a.json.Elements() {
		elements = append(elements, toCEL(v))
	}
	return types.NewRefValList(types.DefaultTypeAdapter, elements)
}

// ConvertToType implements [ref.Val].
func (a array) ConvertToType(t ref.Type) ref.Val { return a.whole().ConvertToType(t) }

// ConvertToNative implements [ref.Val].
func (a array) ConvertToNative(t reflect.Type) (any, error) { return convert(a.whole(), t) }

// Value implements [ref.Val].
func (a array) Value() any { return a.json }

func convert(v ref.Val, t reflect.Type) (any, error) {
	native, err := v.ConvertToNative(t)
	if err != nil {
		return nil, fmt.Errorf("reading JSON: %w", err)
	}
	return native, nil
}

// Interface guards.
var (
	_ traits.Mapper = object{}
	_ traits.Lister = array{}
)
