package intake

import (
	"errors"
	"fmt"
	"net/url"
	"time"
	"unicode/utf8"

	"github.com/caddyrelay/caddyrelay/relay"
)

// draft is an event as its sender described it, in whichever form.
type draft struct {
	typ                 string
	id, source, subject string
	time                time.Time
	contentType         string
	// data is a part of the body, unless it came encoded.
	data       []byte
	extensions map[string]string
	// kind is the space in which the id is a key.
	kind relay.KeyKind
	// text is the event as it came: the body, or the item of a batch.
	text []byte
	// member is where the data stands in the text, empty if it is all of it.
	member attribute
}

// maxAttribute bounds source, subject and dataschema, in bytes: they are sent in headers.
const maxAttribute = 2048

// set checks an attribute and keeps it. The value is there, but may be empty.
func (d *draft) set(a attribute, value string) error {
	switch a {
	case attrType:
		d.typ = value
		return relay.CheckType(value)
	case attrID:
		d.id = value
		return checkKeyText(value)
	case attrSource:
		d.source = value
		return checkAttribute(value)
	case attrSubject:
		d.subject = value
		return checkAttribute(value)
	case attrTime:
		return d.setTime(value)
	case attrContentType:
		d.contentType = value
		return checkMedia(value)
	case attrSchema:
		return d.setSchema(value)
	default:
		return errors.New("must not be given")
	}
}

func (d *draft) setTime(value string) error {
	// UnmarshalText is stricter than Parse.
	if err := d.time.UnmarshalText([]byte(value)); err != nil {
		return fmt.Errorf("%.40q is not RFC 3339, e.g. 2026-11-21T20:23:59Z", value)
	}
	d.time = d.time.UTC()
	return nil
}

// setSchema keeps dataschema among the extensions, none of which can have that name:
// the relay has no use for it of its own, and sends it on as it sends those.
func (d *draft) setSchema(value string) error {
	if err := checkAttribute(value); err != nil {
		return err
	}
	if u, err := url.Parse(value); err != nil || !u.IsAbs() {
		return fmt.Errorf("%.100q is no absolute URI", value)
	}
	d.extend(attributeNames[attrSchema], value)
	return nil
}

func (d *draft) extend(name, value string) {
	if d.extensions == nil {
		d.extensions = make(map[string]string)
	}
	d.extensions[name] = value
}

// publication makes the event, with its idempotency key.
func (h *Handler) publication(s *submission, d *draft) (relay.Publication, *refusal) {
	event := &relay.Event{
		Type:        d.typ,
		Source:      d.source,
		Subject:     d.subject,
		SourceID:    d.id,
		Time:        d.time,
		ContentType: d.contentType,
		Data:        d.data,
		Extensions:  d.extensions,
		TraceParent: s.trace.parent,
		TraceState:  s.trace.state,
		Only:        s.only,
	}
	key, text, ref := h.keyOf(s, d)
	if ref != nil {
		return relay.Publication{}, ref
	}
	if key != nil {
		// Before the default is filled in: a reload that changes it must not turn the
		// repeat of a request into a conflict.
		key.Sum = digest(event, text)
	}
	if event.Source == "" {
		event.Source = h.source
	}
	return relay.Publication{Event: event, Key: key}, nil
}

// single is a publication that is a whole request.
func (h *Handler) single(s *submission, d *draft) ([]relay.Publication, *refusal) {
	if h.catalogue.HasSchema(d.typ) {
		var f faults
		if h.checkSchema(d, &f); f.count > 0 {
			return nil, f.refusal(problemSchema, "data")
		}
	}
	p, ref := h.publication(s, d)
	if ref != nil {
		return nil, ref
	}
	return []relay.Publication{p}, nil
}

// checkSchema holds the data against the schema of its type, and notes where it is wrong.
func (h *Handler) checkSchema(d *draft, f *faults) {
	var at []string
	if d.member != 0 {
		at = []string{attributeNames[d.member]}
	}
	switch {
	case d.data == nil:
		f.in(at, fmt.Sprintf("missing; %s has a schema", d.typ))
		return
	case !isJSONData(d.contentType):
		f.in(at, fmt.Sprintf("must be JSON, not %.100q: %s has a schema", d.contentType, d.typ))
		return
	}
	for _, wrong := range h.catalogue.Check(d.typ, d.data) {
		if d.member == attrDataBase64 {
			// No pointer leads into what is encoded.
			f.in(at, wrong.Detail)
			continue
		}
		f.in(append(at[:len(at):len(at)], wrong.Path...), wrong.Detail)
	}
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
