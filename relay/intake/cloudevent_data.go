package intake

import (
	"encoding/base64"
	"fmt"

	"github.com/go-json-experiment/json/jsontext"
)

// setData takes the data of a CloudEvent in JSON (JSON format 1.0.2, section 3.1.2). JSON
// is taken byte for byte; text of other content types is what its string says, and bytes
// are what their base64 says. Without data the event has none, which is not null.
func (o *object) setData(f *faults, d *draft) {
	data, encoded := o.known[attrData], o.given(attrDataBase64)
	d.member = attrData
	switch {
	case encoded != nil && data != nil:
		f.at("data_base64", "stands beside data; send one of them")
	case encoded != nil:
		o.decodeData(f, d, encoded)
	case data != nil:
		o.plainData(f, d, data)
	}
}

func (o *object) plainData(f *faults, d *draft, data jsontext.Value) {
	if d.contentType == "" {
		d.contentType = "application/json" // implied, and made explicit as the section says
	}
	if isJSONData(d.contentType) {
		d.data = data
		return
	}
	if data.Kind() != jsontext.KindString {
		f.at("data", fmt.Sprintf("must be a string, since datacontenttype is %.100q; or send data_base64", d.contentType))
		return
	}
	text, err := jsontext.AppendUnquote(nil, data)
	if err != nil {
		f.at("data", "has an escape that is no character; send data_base64")
		return
	}
	d.data = text
}

func (o *object) decodeData(f *faults, d *draft, encoded jsontext.Value) {
	d.member = attrDataBase64
	if encoded.Kind() != jsontext.KindString {
		f.at("data_base64", "must be a string")
		return
	}
	text, err := jsontext.AppendUnquote(nil, encoded)
	if err == nil {
		d.data, err = base64.StdEncoding.Strict().AppendDecode(nil, text)
	}
	switch {
	case err != nil:
		f.at("data_base64", "is not base64 (RFC 4648 section 4, with padding)")
	case d.contentType == "":
		d.contentType = "application/octet-stream"
	case isJSONData(d.contentType) && checkJSON(d.data, maxDepth) != nil:
		f.at("data_base64", fmt.Sprintf("does not hold JSON, although datacontenttype is %.100q", d.contentType))
	}
}
