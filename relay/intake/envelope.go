package intake

import (
	"fmt"
	"strings"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/caddyrelay/caddyrelay/relay"
	"github.com/caddyrelay/caddyrelay/relay/payload"
	"github.com/caddyrelay/caddyrelay/relay/spelling"
)

// members of an envelope, in the order of the documentation.
var members = []string{"type", "data", "id", "source", "subject", "time"}

// parseEnvelope reads a body that is an envelope, in one pass.
func parseEnvelope(body []byte) (draft, *refusal) {
	var o object
	isObject, ref := parseObject(body, &o)
	if ref != nil {
		return draft{}, ref
	}
	if !isObject {
		return draft{}, refuse(problemEnvelope, `The body is not an object. POST {"type":"order.paid","data":...}, or, if the body is the data, POST it to /v1/events/{type}.`)
	}
	var f faults
	d := o.envelope(&f)
	if f.count == 0 {
		d.text = body
		return d, nil
	}
	ref = f.refusal(problemEnvelope, "envelope")
	if o.known[attrSpecVersion] != nil {
		ref.detail += " If it is a CloudEvent, send it as application/cloudevents+json."
	} else if o.given(attrType) == nil {
		ref.detail += " If the body is itself the data, POST it to /v1/events/{type}."
	}
	return draft{}, ref
}

// parseObject reads a body that is one event in JSON. It returns false if the body is
// JSON, but no object.
func parseObject(body []byte, o *object) (bool, *refusal) {
	// The data is one level down, and may be as deep as data that comes by itself.
	if ref := checkText(body, maxDepth+1); ref != nil {
		return false, ref
	}
	c := payload.Open(body)
	defer c.Close()
	if c.PeekKind() != jsontext.KindBeginObject {
		return false, checkJSON(body, maxDepth+1)
	}
	if !o.read(c) || !readEnd(c) {
		return false, diagnose(body)
	}
	return true, nil
}

// envelope takes the object as an envelope. It notes all that is wrong with it.
func (o *object) envelope(f *faults) draft {
	d := draft{kind: relay.KeyEnvelope, contentType: "application/json", data: o.known[attrData], member: attrData}
	for a, value := range o.known {
		if value != nil && !isMember(attribute(a)) {
			o.unknown(f, attributeNames[a])
		}
	}
	for _, m := range o.others {
		o.unknown(f, m.name)
	}
	f.count += o.surplus
	for _, a := range []attribute{attrType, attrID, attrSource, attrSubject, attrTime} {
		o.take(f, &d, a)
	}
	if d.data == nil {
		f.at("data", "missing; send null if there is none")
	}
	return d
}

func isMember(a attribute) bool {
	switch a {
	case attrType, attrData, attrID, attrSource, attrSubject, attrTime:
		return true
	default:
		return false
	}
}

// take sets one attribute of an envelope.
func (o *object) take(f *faults, d *draft, a attribute) {
	value := o.given(a)
	switch {
	case value == nil && a == attrType:
		f.at("type", `missing; give it as "type", or POST the data to /v1/events/{type}`)
	case value == nil:
	case value.Kind() != jsontext.KindString:
		f.at(attributeNames[a], "must be a string")
	default:
		text := payload.Unquote(value)
		if a == attrType && text == "" {
			f.at("type", `missing; give it as "type", or POST the data to /v1/events/{type}`)
		} else if err := d.set(a, text); err != nil {
			f.at(attributeNames[a], err.Error())
		}
	}
}

func (o *object) unknown(f *faults, name string) {
	if f.count >= maxFaults {
		f.count++ // not told, so no hint is sought
		return
	}
	detail := "not a member of the envelope; it has " + strings.Join(members, ", ")
	if near := spelling.Nearest(name, members); near != "" {
		detail = fmt.Sprintf("not a member of the envelope; did you mean %q?", near)
	}
	f.at(name, detail)
}
