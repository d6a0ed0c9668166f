package intake

import (
	"fmt"

	"github.com/go-json-experiment/json/jsontext"
)

// fault is one thing that is wrong. RFC 9457 section 3 has "pointer" and "detail" as
// its example of an extension.
type fault struct {
	// Pointer is a JSON Pointer into the body (RFC 6901). Lines of NDJSON are counted as
	// the elements of an array, from 0.
	Pointer string `json:"pointer,omitempty"`
	// Line is that of an NDJSON body, from 1.
	Line int `json:"line,omitempty"`
	// Offset is in bytes from the beginning of the body.
	Offset *int   `json:"offset,omitempty"`
	Header string `json:"header,omitempty"`
	Detail string `json:"detail"`
}

// maxFaults bounds how many faults are listed: the body chooses their number.
const maxFaults = 20

// faults collects what is wrong, all of it, so that nobody has to mend one thing after
// the other.
type faults struct {
	list []fault
	// count is that of all faults, also those beyond maxFaults.
	count int
	// item is the pointer of the item that is looked at, and line its line; empty for
	// what is no batch.
	item string
	line int
}

// at notes what is wrong with the member of that name. The name is of the sender's
// choosing.
func (f *faults) at(name, detail string) {
	if f.full() {
		return
	}
	pointer := shortPointer(jsontext.Pointer(f.item).AppendToken(name))
	f.list = append(f.list, fault{Pointer: pointer, Line: f.line, Detail: detail})
}

// in notes what is wrong at a path within the item.
func (f *faults) in(path []string, detail string) {
	if f.full() {
		return
	}
	pointer := jsontext.Pointer(f.item)
	for _, name := range path {
		pointer = pointer.AppendToken(name)
	}
	f.list = append(f.list, fault{Pointer: shortPointer(pointer), Line: f.line, Detail: detail})
}

// whole notes what is wrong with the item as a whole.
func (f *faults) whole(detail string) {
	if !f.full() {
		f.list = append(f.list, fault{Pointer: f.item, Line: f.line, Detail: detail})
	}
}

// header notes what is wrong with a header field.
func (f *faults) header(name, detail string) {
	if !f.full() {
		f.list = append(f.list, fault{Header: name, Detail: detail})
	}
}

// full counts a fault, and reports whether it is one too many to be told.
func (f *faults) full() bool {
	f.count++
	return f.count > maxFaults
}

// refusal says what is wrong with what: one fault in words, or their number.
func (f *faults) refusal(kind problem, what string) *refusal {
	detail := fmt.Sprintf("%d things are wrong with the %s, see errors; nothing was stored.", f.count, what)
	if f.count == 1 {
		only := f.list[0]
		where := only.Pointer
		if only.Header != "" {
			where = only.Header
		}
		if only.Line > 0 {
			where = fmt.Sprintf("line %d, %s", only.Line, where)
		}
		if where != "" {
			where = "'s " + where
		}
		detail = fmt.Sprintf("The %s%s: %s.", what, where, only.Detail)
	}
	return &refusal{kind: kind, detail: detail, faults: f.list}
}
