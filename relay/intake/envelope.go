package intake

import (
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/caddyrelay/caddyrelay/relay"
	"github.com/caddyrelay/caddyrelay/relay/payload"
	"github.com/caddyrelay/caddyrelay/relay/spelling"
)

// envelope is what the JSON form of an event says.
type envelope struct {
	typ                 string
	id, source, subject string
	time                time.Time
	// data is the part of the body that is the value of "data".
	data []byte
}

// members of an envelope, in the order of the documentation.
var members = []string{"type", "data", "id", "source", "subject", "time"}

// maxAttribute bounds source and subject, in bytes: both are sent in headers.
const maxAttribute = 2048

// maxFaults bounds how many faults are listed: the body chooses their number.
const maxFaults = 20

// parseEnvelope reads an envelope in one pass. It tells all that is wrong with it at
// once, so that nobody has to mend one thing after the other.
func parseEnvelope(body []byte) (envelope, *refusal) {
	// The data is one level down, and may be as deep as data that comes by itself.
	if ref := checkText(body, maxDepth+1); ref != nil {
		return envelope{}, ref
	}
	c := payload.Open(body)
	defer c.Close()
	if c.PeekKind() != jsontext.KindBeginObject {
		if ref := checkJSON(body, maxDepth+1); ref != nil {
			return envelope{}, ref
		}
		return envelope{}, refuse(problemEnvelope, `The body is not an object. POST {"type":"order.paid","data":...}, or, if the body is the data, POST it to /v1/events/{type}.`)
	}
	var r envelopeReader
	if !r.read(c) {
		return envelope{}, diagnose(body)
	}
	if !r.typeGiven {
		r.fault("/type", `missing; give it as "type", or POST the data to /v1/events/{type}`)
	}
	if r.data == nil {
		r.fault("/data", "missing; send null if there is none")
	}
	if r.count > 0 {
		return envelope{}, r.refusal()
	}
	return r.envelope, nil
}

// envelopeReader collects the members and what is wrong with them.
type envelopeReader struct {
	envelope
	typeGiven bool // also if it is wrong, so that it is not told as missing too
	faults    []fault
	count     int
}

// read returns false if the text is no JSON.
func (r *envelopeReader) read(c *payload.Cursor) bool {
	if _, err := c.ReadToken(); err != nil {
		return false
	}
	for c.PeekKind() == jsontext.KindString {
		quoted, err := c.Raw()
		if err != nil {
			return false
		}
		value, err := c.Raw()
		if err != nil {
			return false
		}
		r.member(unquoteName(quoted), value)
	}
	if _, err := c.ReadToken(); err != nil {
		return false
	}
	// Only the end may follow.
	_, err := c.ReadToken()
	return err != nil && !isSyntax(err)
}

func (r *envelopeReader) member(name string, value jsontext.Value) {
	if name == "data" {
		r.data = value
		return
	}
	var take func(string) error
	switch name {
	case "type":
		take = r.takeType
	case "id":
		take = r.takeID
	case "source":
		take = func(s string) error { r.source = s; return checkAttribute(s) }
	case "subject":
		take = func(s string) error { r.subject = s; return checkAttribute(s) }
	case "time":
		take = r.takeTime
	default:
		r.unknown(name)
		return
	}
	if value.Kind() == jsontext.KindNull {
		return // as if it were absent: what serialisers make of fields that are not set
	}
	if value.Kind() != jsontext.KindString {
		r.typeGiven = r.typeGiven || name == "type"
		r.fault("/"+name, "must be a string")
		return
	}
	if err := take(payload.Unquote(value)); err != nil {
		r.fault("/"+name, err.Error())
	}
}

func (r *envelopeReader) takeType(s string) error {
	if s == "" {
		return nil // told as missing
	}
	r.typ, r.typeGiven = s, true
	return relay.CheckType(s)
}

func (r *envelopeReader) takeID(s string) error {
	r.id = s
	return checkKeyText(s)
}

func (r *envelopeReader) takeTime(s string) error {
	// UnmarshalText is stricter than Parse.
	if err := r.time.UnmarshalText([]byte(s)); err != nil {
		return fmt.Errorf("%.40q is not RFC 3339, e.g. 2026-11-21T20:23:59Z", s)
	}
	r.time = r.time.UTC()
	return nil
}

func (r *envelopeReader) unknown(name string) {
	if r.count >= maxFaults {
		r.count++ // not told, so no hint is sought: there may be a hundred thousand
		return
	}
	detail := "not a member of the envelope; it has " + strings.Join(members, ", ")
	if near := spelling.Nearest(name, members); near != "" {
		detail = fmt.Sprintf("not a member of the envelope; did you mean %q?", near)
	}
	r.fault(shortPointer(jsontext.Pointer("").AppendToken(name)), detail)
}

func (r *envelopeReader) fault(pointer, detail string) {
	if r.count++; r.count <= maxFaults {
		r.faults = append(r.faults, fault{Pointer: pointer, Detail: detail})
	}
}

func (r *envelopeReader) refusal() *refusal {
	detail := fmt.Sprintf("%d things are wrong with the envelope, see errors; nothing was stored.", r.count)
	if r.count == 1 {
		detail = fmt.Sprintf("The envelope's %s: %s.", r.faults[0].Pointer, r.faults[0].Detail)
	}
	if !r.typeGiven {
		detail += " If the body is itself the data, POST it to /v1/events/{type}."
	}
	return &refusal{kind: problemEnvelope, detail: detail, faults: r.faults}
}

// unquoteName avoids an allocation for the names that are expected.
func unquoteName(quoted jsontext.Value) string {
	for _, name := range members {
		if string(quoted[1:len(quoted)-1]) == name {
			return name
		}
	}
	return payload.Unquote(quoted)
}

func isSyntax(err error) bool {
	var syntax *jsontext.SyntacticError
	return errors.As(err, &syntax)
}

// checkAttribute refuses what no header could carry on.
func checkAttribute(s string) error {
	if len(s) > maxAttribute {
		return fmt.Errorf("has %d bytes; at most %d are allowed", len(s), maxAttribute)
	}
	return checkControls(s)
}

// checkKeyText is for keys that stand in a body.
func checkKeyText(s string) error {
	if n := utf8.RuneCountInString(s); n < 1 || n > maxKey {
		return fmt.Errorf("has %d characters; 1 to %d are allowed", n, maxKey)
	}
	return checkControls(s)
}

// checkControls refuses the characters that CloudEvents 1.0 section 3.2 forbids in
// strings.
func checkControls(s string) error {
	for i, c := range s {
		if c < ' ' || c >= 0x7f && c < 0xa0 {
			return fmt.Errorf("has the control character U+%04X at byte %d", c, i)
		}
	}
	return nil
}
