// Package cloudevent writes CloudEvents 1.0.2 for HTTP: in binary mode, as header fields
// beside the data, and in structured mode, as JSON around it.
package cloudevent

import (
	"encoding/base64"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/caddyrelay/caddyrelay/relay/payload"
)

// ContentType is that of an event in structured mode.
const ContentType = "application/cloudevents+json"

// specVersion names the specification; patches of it do not show (section 3.1.1).
const specVersion = "1.0"

// Event is a CloudEvent. ID, Source and Type are required.
type Event struct {
	ID, Source, Type string
	Subject          string // may be empty
	Time             time.Time
	// ContentType is that of Data; empty where there is none.
	ContentType string
	Data        []byte
	// Extensions are further attributes, by their names of lower-case letters and digits.
	Extensions map[string]string
}

// attributes calls yield with each attribute but that of the content type, always in the
// same order.
func (e *Event) attributes(yield func(name, value string)) {
	yield("specversion", specVersion)
	yield("id", e.ID)
	yield("source", e.Source)
	yield("type", e.Type)
	if e.Subject != "" {
		yield("subject", e.Subject)
	}
	if !e.Time.IsZero() {
		yield("time", e.Time.UTC().Format(time.RFC3339Nano))
	}
	for _, name := range slices.Sorted(maps.Keys(e.Extensions)) {
		yield(name, e.Extensions[name])
	}
}

// SetHeader adds the attributes to the header of a request in binary mode, whose body is
// Data and whose content type is that of Data (HTTP binding, section 3.1).
func (e *Event) SetHeader(h http.Header) {
	e.attributes(func(name, value string) {
		h[http.CanonicalHeaderKey("ce-"+name)] = []string{escape(value)}
	})
}

// escape writes a value as it may stand in a header field: everything that is not visible
// ASCII, the space, the double quote and the percent sign are escaped as in a URL (HTTP
// binding, section 3.1.3.2).
func escape(value string) string {
	plain := func(c byte) bool { return c > ' ' && c <= '~' && c != '"' && c != '%' }
	at := 0
	for at < len(value) && plain(value[at]) {
		at++
	}
	if at == len(value) {
		return value
	}
	var b strings.Builder
	b.WriteString(value[:at])
	for ; at < len(value); at++ {
		c := value[at]
		if plain(c) {
			b.WriteByte(c)
			continue
		}
		const digits = "0123456789ABCDEF"
		b.Write([]byte{'%', digits[c>>4], digits[c&15]})
	}
	return b.String()
}

// JSON returns the event in structured mode (JSON format, section 3). Data that is JSON is
// embedded byte for byte; other data as data_base64.
func (e *Event) JSON() []byte {
	// Rather too much: growing copies the data.
	out := make([]byte, 0, 512+len(e.Source)+len(e.Subject)+len(e.Data)*4/3)
	member := func(name, value string) {
		separator := byte(',')
		if len(out) == 0 {
			separator = '{'
		}
		out = append(out, separator)
		out = appendQuote(out, name)
		out = append(out, ':')
		out = appendQuote(out, value)
	}
	e.attributes(member)
	if e.ContentType != "" {
		member("datacontenttype", e.ContentType)
	}
	switch {
	case len(e.Data) == 0:
	case payload.IsJSON(e.ContentType) && jsontext.Value(e.Data).IsValid(payload.Lenient...):
		out = append(out, `,"data":`...)
		out = append(out, e.Data...)
	default:
		out = append(out, `,"data_base64":"`...)
		out = base64.StdEncoding.AppendEncode(out, e.Data)
		out = append(out, '"')
	}
	return append(out, '}')
}

// appendQuote appends a JSON string. Bytes that are not UTF-8 become U+FFFD.
func appendQuote(out []byte, s string) []byte {
	out, _ = jsontext.AppendQuote(out, strings.ToValidUTF8(s, "\uFFFD"))
	return out
}
