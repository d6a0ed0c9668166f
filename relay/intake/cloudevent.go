package intake

import (
	"errors"
	"fmt"
	"mime"
	"net/url"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/caddyrelay/caddyrelay/relay"
	"github.com/caddyrelay/caddyrelay/relay/payload"
)

// specVersion is the version of CloudEvents that is taken; patches of it do not show
// (CloudEvents 1.0.2 section 3.1.1).
const specVersion = "1.0"

// required are the attributes that each CloudEvent has (section 3.1.1), in the order in
// which they are told as missing.
var required = []attribute{attrSpecVersion, attrID, attrSource, attrType}

// Bounds of extensions. Together with the other attributes they leave the record of an
// event within what its store keeps safe.
const (
	maxExtensions     = maxOthers
	maxExtensionBytes = 8 << 10
)

// cloudEvent is a CloudEvent that is being put together, from JSON or from header fields.
type cloudEvent struct {
	draft
	seen     [attributeCount]bool
	extended int // bytes of extensions
}

// setAttribute checks an attribute of the specification and keeps it.
func (e *cloudEvent) setAttribute(a attribute, value string) error {
	if a == attrSpecVersion {
		if value != specVersion {
			return fmt.Errorf("%.40q is not taken; it must be %q", value, specVersion)
		}
		return nil
	}
	if value == "" {
		return errors.New("is empty; an attribute has a value, or is left out")
	}
	if err := e.set(a, value); err != nil {
		return err
	}
	if a == attrSource {
		if _, err := url.Parse(value); err != nil {
			return fmt.Errorf("%.100q is no URI reference (RFC 3986), e.g. /shop or https://shop.example.com", value)
		}
	}
	return nil
}

// setExtension checks an extension attribute and keeps it.
func (e *cloudEvent) setExtension(name, value string) error {
	if err := checkExtensionName(name); err != nil {
		return err
	}
	if err := checkControls(value); err != nil {
		return err
	}
	if e.extended += len(name) + len(value); e.extended > maxExtensionBytes {
		return fmt.Errorf("the extensions have more than %d bytes in all; put what is long into the data", maxExtensionBytes)
	}
	if len(e.extensions) >= maxExtensions {
		return fmt.Errorf("there are more than %d extensions", maxExtensions)
	}
	e.extend(name, value)
	return nil
}

// checkExtensionName holds a name against the naming rules of section 3.1.
func checkExtensionName(name string) error {
	for i := range len(name) {
		if c := name[i]; (c < 'a' || c > 'z') && (c < '0' || c > '9') {
			return errors.New("is no name of an attribute: those have lower-case letters and digits only, a-z and 0-9")
		}
	}
	if name == "" {
		return errors.New("an attribute has no name")
	}
	if name == attributeNames[attrData] {
		return errors.New("no attribute may be named data; it is the body")
	}
	return nil
}

// checkMedia is for a content type that stands in a body, and later in a header field.
func checkMedia(value string) error {
	if len(value) > maxContentType {
		return fmt.Errorf("has %d bytes; at most %d are allowed", len(value), maxContentType)
	}
	if media, _, err := mime.ParseMediaType(value); err != nil || !strings.Contains(media, "/") || !isPrintable(value) {
		return fmt.Errorf("%.100q is no media type, e.g. application/json", value)
	}
	return nil
}

// isJSONData reports whether a content type declares data that is JSON (JSON format
// 1.0.2, section 3.1.1). Empty, it does. What does is checked, since matching relies on it.
func isJSONData(contentType string) bool { return payload.IsJSON(contentType) }

// parseStructured reads a body that is a CloudEvent in JSON.
func (h *Handler) parseStructured(s *submission) ([]relay.Publication, *refusal) {
	var o object
	isObject, ref := parseObject(s.body, &o)
	if ref != nil {
		return nil, ref
	}
	if !isObject {
		return nil, refuse(problemCloudEvent, `The body is not an object. A CloudEvent is {"specversion":"1.0","id":...,"source":...,"type":...,"data":...}.`)
	}
	var f faults
	d := o.cloudEvent(&f)
	if f.count > 0 {
		return nil, f.refusal(problemCloudEvent, "CloudEvent")
	}
	return h.single(s, &d)
}

// cloudEvent takes the object as a CloudEvent. It notes all that is wrong with it.
func (o *object) cloudEvent(f *faults) draft {
	e := cloudEvent{draft: draft{kind: relay.KeyCloudEvent}}
	for a := range attrData {
		if value := o.given(a); value != nil {
			e.seen[a] = true
			if value.Kind() != jsontext.KindString {
				f.at(attributeNames[a], "must be a string")
			} else if err := e.setAttribute(a, payload.Unquote(value)); err != nil {
				f.at(attributeNames[a], err.Error())
			}
		}
	}
	for _, m := range o.others {
		text, given, err := extensionText(m.value)
		if given && err == nil {
			err = e.setExtension(m.name, text)
		}
		if err != nil {
			f.at(m.name, err.Error())
		}
	}
	if o.surplus > 0 {
		f.whole(fmt.Sprintf("there are more than %d extensions", maxExtensions))
	}
	for _, a := range required {
		if !e.seen[a] {
			f.at(attributeNames[a], "missing")
		}
	}
	o.setData(f, &e.draft)
	return e.draft
}

// extensionText returns the value of an extension as the text that it is in a header
// field: the canonical form of section 3.3. null is as good as absent.
func extensionText(value jsontext.Value) (text string, given bool, err error) {
	switch value.Kind() {
	case jsontext.KindNull:
		return "", false, nil
	case jsontext.KindString:
		return payload.Unquote(value), true, nil
	case jsontext.KindTrue, jsontext.KindFalse:
		return string(value), true, nil
	case jsontext.KindNumber:
		n, err := strconv.ParseInt(string(value), 10, 32)
		if err != nil {
			return "", true, fmt.Errorf("the number %.40s is not whole, or needs more than 32 bits; send it as a string", value)
		}
		return strconv.FormatInt(n, 10), true, nil
	default:
		return "", true, errors.New("must be a string, a boolean or a whole number; put what has parts into the data")
	}
}
