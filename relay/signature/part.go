package signature

import (
	"errors"
	"fmt"
)

// Errors of verifying. Each says which part of a request is wrong; what is returned
// names the header field and the fault, and is found with [errors.Is].
var (
	// ErrID is about the ID of the message: missing, more than one, or with a dot.
	ErrID = errors.New("the id is wrong")
	// ErrTimestamp is about the time of the attempt: missing, more than one, not a
	// number, or too far from the receiver's clock.
	ErrTimestamp = errors.New("the timestamp is wrong")
	// ErrSignature is about the form of the signature: missing, or of another scheme.
	ErrSignature = errors.New("the signature is wrong")
	// ErrMismatch is about the content: everything is there, but what was signed is
	// not what came, or the secret is another.
	ErrMismatch = errors.New("the signature does not match")
)

// partError is a fault of one header field.
type partError struct {
	part  error
	field string
	fault string
}

func (e *partError) Error() string { return e.field + " is wrong: " + e.fault }

// Unwrap returns the sentinel, without its words.
func (e *partError) Unwrap() error { return e.part }

func wrong(part error, field, format string, args ...any) error {
	return &partError{part: part, field: field, fault: fmt.Sprintf(format, args...)}
}
