package intake

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/caddyrelay/caddyrelay/relay/payload"
)

// maxDepth is how deep the data may nest: 64 is what the filters, templates and
// receivers behind the relay can be expected to read.
const maxDepth = 64

// checkJSON refuses what is not one JSON value in UTF-8 (RFC 8259), has a name twice
// in one object (a filter and a receiver could each see another value of it), or nests
// deeper than limit. The common case is one pass without allocation.
func checkJSON(body []byte, limit int) *refusal {
	if ref := checkText(body, limit); ref != nil {
		return ref
	}
	if jsontext.Value(body).IsValid(payload.Lenient...) {
		return nil
	}
	return diagnose(body)
}

// checkText is what can be judged without a parser: encoding and depth.
func checkText(body []byte, limit int) *refusal {
	if ref := checkEncoding(body); ref != nil {
		return ref
	}
	return checkDepth(body, limit)
}

func checkEncoding(body []byte) *refusal {
	if len(body) == 0 {
		return refuse(problemMalformed, `The body is empty. Send JSON, at least the four letters null.`)
	}
	if !utf8.Valid(body) || body[0] == 0 || len(body) > 1 && body[1] == 0 || bytes.HasPrefix(body, bom8) {
		return wrongEncoding(body)
	}
	return nil
}

func checkDepth(body []byte, limit int) *refusal {
	if at := tooDeep(body, limit); at >= 0 {
		return tooDeepAt(body, limit, at)
	}
	return nil
}

func tooDeepAt(body []byte, limit, at int) *refusal {
	return &refusal{
		kind:   problemDeep,
		detail: fmt.Sprintf("The JSON nests deeper than %d levels at byte %d. Send it flatter, or as a string.", limit, at),
		faults: []fault{{Pointer: endOf(body[:at+1]), Offset: &at, Detail: fmt.Sprintf("deeper than %d levels", limit)}},
	}
}

var (
	bom8    = []byte("\xEF\xBB\xBF")
	bom16le = []byte("\xFF\xFE")
	bom16be = []byte("\xFE\xFF")

	openObject = []byte("{")
	openArray  = []byte("[")
)

// wrongEncoding names what the text is, as far as its first bytes tell (RFC 4627
// section 3: the first two characters of a JSON text are ASCII).
func wrongEncoding(body []byte) *refusal {
	switch {
	case bytes.HasPrefix(body, bom8):
		return refuse(problemEncoding, "The body begins with a byte order mark (EF BB BF). Send JSON in UTF-8 without one.")
	case bytes.HasPrefix(body, bom16le), bytes.HasPrefix(body, bom16be),
		body[0] == 0, len(body) > 1 && body[1] == 0:
		return refuse(problemEncoding, "The body looks like UTF-16 or UTF-32. Send JSON in UTF-8.")
	}
	at := 0
	for rest := body; ; {
		r, size := utf8.DecodeRune(rest)
		if r == utf8.RuneError && size <= 1 {
			break
		}
		at, rest = at+size, rest[size:]
	}
	return &refusal{
		kind:   problemEncoding,
		detail: fmt.Sprintf("The byte 0x%02x at byte %d is not UTF-8. Send JSON in UTF-8.", body[at], at),
		// Most often it is in a string, which the quote ends before it.
		faults: []fault{{Pointer: endOf(append(bytes.Clone(body[:at]), '"')), Offset: &at, Detail: "not UTF-8"}},
	}
}

// tooDeep returns the position of the bracket that opens a level beyond limit, or -1.
// It stops there: a body of a million brackets costs no more than a short one.
func tooDeep(body []byte, limit int) int {
	// Most bodies have fewer brackets than they may have levels; counting is fast.
	if bytes.Count(body, openObject)+bytes.Count(body, openArray) <= limit {
		return -1
	}
	depth := 0
	for i := 0; i < len(body); i++ {
		switch body[i] {
		case '{', '[':
			if depth++; depth > limit {
				return i
			}
		case '}', ']':
			depth--
		case '"':
			if i = endOfString(body, i); i < 0 {
				return -1 // not closed: the parser will say so
			}
		}
	}
	return -1
}

// endOfString returns the position of the quote that closes the string that begins at
// start, or -1.
func endOfString(body []byte, start int) int {
	for from := start + 1; ; {
		n := bytes.IndexByte(body[from:], '"')
		if n < 0 {
			return -1
		}
		end := from + n
		escapes := 0
		for end-1-escapes >= from && body[end-1-escapes] == '\\' {
			escapes++
		}
		if escapes%2 == 0 {
			return end
		}
		from = end + 1
	}
}

// diagnose says what is wrong with a text that is known not to be right.
func diagnose(body []byte) *refusal {
	c := payload.Open(body)
	defer c.Close()
	if _, err := c.ReadValue(); err != nil {
		return syntaxRefusal(body, err)
	}
	rest := body[c.InputOffset():]
	at := len(body) - len(bytes.TrimLeft(rest, " \t\r\n"))
	return &refusal{
		kind:   problemMalformed,
		detail: fmt.Sprintf("There is more at byte %d, after the end of the JSON value. Send one value in a request.", at),
		faults: []fault{{Offset: &at, Detail: "content after the end of the value"}},
	}
}

func syntaxRefusal(body []byte, err error) *refusal {
	var syntax *jsontext.SyntacticError
	if !errors.As(err, &syntax) {
		// io.EOF: there is only white space.
		return refuse(problemMalformed, `The body has no JSON value. Send at least the four letters null.`)
	}
	at := int(syntax.ByteOffset)
	where := fault{Pointer: shortPointer(syntax.JSONPointer), Offset: &at}
	if errors.Is(syntax.Err, jsontext.ErrDuplicateName) {
		where.Detail = "this name stands twice in one object"
		return &refusal{
			kind:   problemDuplicate,
			detail: fmt.Sprintf("An object has the same name twice, at byte %d. Readers would differ on which value counts; send each name once.", at),
			faults: []fault{where},
		}
	}
	where.Detail = strings.TrimPrefix(syntax.Err.Error(), "jsontext: ")
	if errors.Is(syntax.Err, io.ErrUnexpectedEOF) {
		where.Detail = "the body ends within a value"
		at = len(body)
	}
	return &refusal{
		kind:   problemMalformed,
		detail: fmt.Sprintf("The body is not JSON: %s, at byte %d.", where.Detail, at),
		faults: []fault{where},
	}
}

// endOf returns the JSON Pointer (RFC 6901) of the last thing in a text that breaks off.
func endOf(text []byte) string {
	c := payload.Open(text)
	defer c.Close()
	for {
		if _, err := c.ReadToken(); err != nil {
			return shortPointer(c.StackPointer())
		}
	}
}

// shortPointer leaves out a pointer that would make the answer as long as the question.
func shortPointer(p jsontext.Pointer) string {
	const longest = 512
	if len(p) > longest {
		return ""
	}
	return string(p)
}
