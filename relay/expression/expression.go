package expression

import (
	"errors"
	"time"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/interpreter"

	"github.com/caddyrelay/caddyrelay/relay/payload"
)

// Event is what an expression sees as event.
type Event struct {
	ID, Type, Source, Subject string
	Time                      time.Time
	// Data is the JSON; nil if the event's data is none.
	Data *payload.Document
}

// Response is what an expression of [CompileUntil] sees as response.
type Response struct {
	Status int
	// Header has the fields by their names in lower case.
	Header map[string]string
	// Body is read as JSON if the expression asks for it, and not otherwise.
	Body []byte
}

// ErrCost means that an evaluation was given up because it took too many steps.
var ErrCost = errors.New("the expression takes too many steps for this event; make it simpler")

// Expression is a compiled condition. It may be used by many goroutines at once.
type Expression struct {
	text    string
	program cel.Program
	loops   bool
	uses    map[string]bool
}

// Compile reads an expression over event. It must have a yes or no for an answer. Errors
// show the place.
func Compile(text string) (*Expression, error) { return compile(text, eventEnvironment) }

// CompileUntil reads an expression over event and response.
func CompileUntil(text string) (*Expression, error) { return compile(text, untilEnvironment) }

// String returns the expression as it was written.
func (x *Expression) String() string { return x.text }

// Uses reports whether the expression asks for an attribute of the event, e.g. "data".
func (x *Expression) Uses(attribute string) bool { return x.uses[attribute] }

// Match reports whether an event is meant. An error says why that cannot be told; then
// the event is not.
func (x *Expression) Match(e *Event) (bool, error) {
	return x.evaluate(&activation{event: e})
}

// MatchResponse is Match for an expression of [CompileUntil].
func (x *Expression) MatchResponse(e *Event, r *Response) (bool, error) {
	a := &activation{event: e, response: &response{Response: r}}
	defer a.response.close()
	return x.evaluate(a)
}

func (x *Expression) evaluate(a *activation) (bool, error) {
	var out ref.Val
	var err error
	if x.loops {
		out, _, err = x.program.ContextEval(exhausted, a)
	} else {
		out, _, err = x.program.Eval(a)
	}
	if err != nil {
		return false, explain(err)
	}
	answer, ok := out.(types.Bool)
	if !ok { // dyn
		return false, errors.New("the result is " + kindOf(out) + ", not true or false")
	}
	return bool(answer), nil
}

// activation gives an evaluation what it asks for.
type activation struct {
	event    *Event
	response *response
}

// ResolveName implements [interpreter.Activation].
func (a *activation) ResolveName(name string) (any, bool) {
	switch {
	case name == "event":
		return a.event, true
	case name == "response" && a.response != nil:
		return a.response, true
	}
	return nil, false
}

// Parent implements [interpreter.Activation].
func (a *activation) Parent() interpreter.Activation { return nil }
