package relay

import (
	"errors"
)

// wireError is an error on its way from one relay to another.
type wireError struct {
	// Code says which of wireErrors it is, or one of those with a Name; empty: another one.
	Code string `json:"code,omitempty"`
	Text string `json:"text"`
	// Name is that of an [UnknownNameError] or a [SelectionError].
	Name string `json:"name,omitempty"`
}

// wireErrors are those that callers ask for by errors.Is. The codes are part of what relays of
// different versions say to one another.
var wireErrors = map[string]error{
	"moved":                   errMoved,
	"no_answer":               ErrNoAnswer,
	"not_found":               ErrNotFound,
	"erased":                  ErrErased,
	"unfinished":              ErrUnfinished,
	"no_delivery":             ErrNoDelivery,
	"paused_by_configuration": ErrPausedByConfiguration,
	"no_job":                  ErrNoJob,
	"full":                    ErrFull,
	"broken":                  ErrBroken,
}

const (
	codeUnknownName = "unknown_name"
	codeSelection   = "selection"
)

func newWireError(err error) *wireError {
	if err == nil {
		return nil
	}
	w := &wireError{Text: err.Error()}
	if unknown, ok := errors.AsType[*UnknownNameError](err); ok {
		w.Code, w.Name = codeUnknownName, unknown.Name
		return w
	}
	if selection, ok := errors.AsType[*SelectionError](err); ok {
		w.Code, w.Name = codeSelection, string(selection.Select)
		return w
	}
	if errors.Is(err, ErrClosed) { // who is closed carries nothing any more
		w.Code = "no_answer"
		return w
	}
	for code, known := range wireErrors {
		if errors.Is(err, known) {
			w.Code = code
		}
	}
	return w
}

// err returns what the error was, where it is of a known kind.
func (w *wireError) err() error {
	switch {
	case w == nil:
		return nil
	case w.Code == codeUnknownName:
		return &UnknownNameError{w.Name}
	case w.Code == codeSelection:
		return &SelectionError{Selection(w.Name)}
	}
	return &askedError{text: w.Text, is: wireErrors[w.Code]}
}

// askedError is an error of another relay.
type askedError struct {
	text string
	is   error // nil: of no known kind
}

func (e *askedError) Error() string { return e.text }

// Unwrap returns what kind of error it is.
func (e *askedError) Unwrap() error { return e.is }
