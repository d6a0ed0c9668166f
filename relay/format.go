package relay

import (
	"cmp"

	"github.com/caddyrelay/caddyrelay/relay/cloudevent"
	"github.com/caddyrelay/caddyrelay/relay/contentful"
)

// Format says what goes on the wire.
type Format string

// Formats.
const (
	// FormatData sends the data as it was received.
	FormatData Format = "data"
	// FormatBinary sends the data with the attributes of a CloudEvent beside it.
	FormatBinary Format = "binary"
	// FormatStructured sends a CloudEvent as JSON, with the data in it.
	FormatStructured Format = "structured"
	// FormatContentful sends the data with the fields and the content type of Contentful.
	FormatContentful Format = "contentful"
	// FormatPhraseanet sends the data with the agent and the content type of Phraseanet.
	FormatPhraseanet Format = "phraseanet"
)

// Formats lists all formats, the default first.
var Formats = []Format{FormatData, FormatBinary, FormatStructured, FormatContentful, FormatPhraseanet}

// anonymous is the source of events whose sender named none: a CloudEvent must have one. It
// is a URI reference, as it has to be.
const anonymous = "caddy-relay"

// phraseanetVersion is the version of Phraseanet whose requests are imitated.
const phraseanetVersion = "4.1"

// write gives a message the form of a format.
func (f Format) write(m *message, j *job, a Attempt) {
	e := j.event
	switch f {
	case FormatData:
	case FormatBinary:
		event := cloudEventOf(e, m)
		event.SetHeader(m.header)
	case FormatStructured:
		event := cloudEventOf(e, m)
		m.body, m.contentType = event.JSON(), cloudevent.ContentType
	case FormatContentful:
		call := contentful.Call{Event: e.ID, Webhook: j.sub.Name, Type: e.Type, Time: e.When(), Attempt: a.Number, Body: e.Data}
		call.SetHeader(m.header)
		m.expect(contentful.ContentType)
	case FormatPhraseanet:
		m.header[fieldUserAgent] = []string{"Phraseanet/" + phraseanetVersion + " (" + j.plan.userAgent[0] + ")"}
		m.expect("application/json")
	}
}

// expect sets the content type that receivers of a system expect, unless the configuration
// has named one.
func (m *message) expect(contentType string) {
	if !m.typed {
		m.contentType = contentType
	}
}

// cloudEventOf describes an event with the body of a message as a CloudEvent: under the
// sender's identifier if there is one, so that it is the same event on both sides.
func cloudEventOf(e *Event, m *message) cloudevent.Event {
	return cloudevent.Event{
		ID: cmp.Or(e.SourceID, e.ID), Source: cmp.Or(e.Source, anonymous), Type: e.Type, Subject: e.Subject, Time: e.When(),
		ContentType: m.contentType, Data: m.body, Extensions: e.Extensions,
	}
}
