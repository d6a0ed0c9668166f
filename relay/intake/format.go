package intake

import (
	"errors"
	"fmt"
	"mime"
	"net/http"
	"strings"

	"github.com/caddyrelay/caddyrelay/relay"
)

// submission is a POST on its way to the engine.
type submission struct {
	header http.Header
	// typ is the event type that the path names, or empty.
	typ string
	// contentType is as received.
	contentType string
	// key is the Idempotency-Key, or empty.
	key string
	// only are the names of Relay-Subscriptions, or nil.
	only  []string
	trace traceContext
	body  []byte

	// copies says that events may get copies of what they need of the body, so that both
	// are in memory at once.
	copies bool
	// batch says that the body is many events. The answer is a list then, and whole is the
	// idempotency key of all of them, or nil.
	batch bool
	whole *relay.Key
	// lines has the line of each item of an NDJSON body.
	lines []int

	*errand
}

// errand is what every request needs beside what it says, made with its submission: waiting for
// the engine, and for what that is asked, and the values of the answer's header.
type errand struct {
	forEngine, forStore deadline
	values              [3]string
}

// format turns a submission into the events to be published. There is one for each
// way in which a body can be meant; [Handler.formatOf] chooses by the content type.
type format func(*Handler, *submission) ([]relay.Publication, *refusal)

// begin reads all that can be known, and refused, before the body is.
func (h *Handler) begin(r *http.Request, typ string) (*submission, format, *refusal) {
	made := new(struct {
		submission
		errand errand
	})
	s := &made.submission
	s.header, s.typ, s.errand = r.Header, typ, &made.errand
	if typ != "" {
		if err := relay.CheckType(typ); err != nil {
			return nil, nil, wrongType(err, "in the path")
		}
	}
	parse, ref := s.chooseFormat()
	if ref != nil {
		return nil, nil, ref
	}
	if ref := checkCoding(r.Header); ref != nil {
		return nil, nil, ref
	}
	var err error
	if s.key, err = parseIdempotencyKey(r.Header["Idempotency-Key"]); err != nil {
		return nil, nil, &refusal{
			kind:   problemKey,
			detail: "The header Idempotency-Key " + err.Error() + ".",
			faults: []fault{{Header: "Idempotency-Key", Detail: err.Error()}},
		}
	}
	if s.only, ref = parseNarrowing(r.Header["Relay-Subscriptions"]); ref != nil {
		return nil, nil, ref
	}
	s.trace = parseTrace(r.Header)
	return s, parse, nil
}

// Media types that name a form.
const (
	mediaEvent  = "application/cloudevents+json"
	mediaEvents = "application/cloudevents-batch+json"
	mediaLines  = "application/x-ndjson"
)

// chooseFormat tells how the body is meant.
func (s *submission) chooseFormat() (format, *refusal) {
	binary := s.typ == "" && isBinary(s.header)
	values := s.header["Content-Type"]
	if len(values) == 0 || values[0] == "" {
		if binary {
			return (*Handler).parseBinary, nil // it may be without data
		}
		return nil, s.wrongMedia("The request has no Content-Type.")
	}
	if len(values) > 1 {
		return nil, s.wrongMedia("The request has more than one Content-Type.")
	}
	s.contentType = values[0]
	if len(s.contentType) > maxContentType {
		return nil, s.wrongMedia("The Content-Type is too long.")
	}
	media, err := mediaOf(s.contentType)
	if err != nil && !errors.Is(err, mime.ErrInvalidMediaParameter) {
		return nil, s.wrongMedia("The Content-Type cannot be read.")
	}
	if s.typ != "" {
		if !isJSON(media) {
			return nil, s.notTaken()
		}
		return (*Handler).parseData, nil
	}
	return s.chooseOpen(media, binary)
}

// chooseOpen tells how a body is meant whose type is not in the path. That of CloudEvents
// is named by the content type, so that header fields beside it change nothing (HTTP
// binding 1.0.2, section 3).
func (s *submission) chooseOpen(media string, binary bool) (format, *refusal) {
	switch {
	case media == mediaEvent:
		s.copies = true // data that came as text or base64
		return (*Handler).parseStructured, nil
	case media == mediaEvents:
		s.batch, s.copies = true, true
		return (*Handler).parseArray, nil
	case strings.HasPrefix(media, "application/cloudevents"):
		return nil, s.wrongMedia(fmt.Sprintf("CloudEvents are taken in JSON, not as %.100q.", media))
	case binary && !isSafelisted(media):
		return (*Handler).parseBinary, nil
	case media == mediaLines:
		s.batch, s.copies = true, true
		return (*Handler).parseLines, nil
	case isJSON(media):
		return (*Handler).parseOpen, nil
	}
	return nil, s.notTaken()
}

func (s *submission) notTaken() *refusal {
	return s.wrongMedia(fmt.Sprintf("The Content-Type %q is not taken.", s.contentType))
}

// maxContentType bounds what is stored with the event, in bytes. A record has little
// room beside the data.
const maxContentType = 255

// mediaOf returns the media type of a content type. Those that are sent most, as they are
// sent most, cost nothing.
func mediaOf(contentType string) (string, error) {
	switch contentType {
	case "application/json", mediaEvent, mediaEvents, mediaLines:
		return contentType, nil
	}
	media, _, err := mime.ParseMediaType(contentType)
	return media, err
}

// isJSON reports whether a media type is JSON or built on it (RFC 6839 section 3.1).
func isJSON(media string) bool {
	return media == "application/json" || strings.HasSuffix(media, "+json")
}

// wrongMedia says what to send instead. The mend for curl is in it, since its -d sends
// a form unless told otherwise.
func (s *submission) wrongMedia(what string) *refusal {
	mend := ` Send the data as application/json, e.g. curl --json '{"order":42}' http://localhost:4665/v1/events/order.paid`
	accepted := "application/json"
	if s.typ == "" {
		mend += `, or POST {"type":"order.paid","data":{"order":42}} to /v1/events`
		accepted = strings.Join([]string{accepted, mediaEvent, mediaEvents, mediaLines}, ", ")
	}
	return &refusal{
		kind:   problemMediaType,
		detail: what + mend + ".",
		faults: []fault{{Header: "Content-Type", Detail: "application/json or a type that ends in +json is needed"}},
		field:  "Accept", // RFC 9110 section 15.5.16
		value:  accepted,
	}
}

// checkCoding refuses compressed bodies: they would have to be signed as received and
// matched as unpacked.
func checkCoding(header http.Header) *refusal {
	for _, coding := range header["Content-Encoding"] {
		if coding != "" && !strings.EqualFold(strings.TrimSpace(coding), "identity") {
			return &refusal{
				kind:   problemCoding,
				detail: fmt.Sprintf("The Content-Encoding %.100q is not taken: data is kept, signed and delivered byte for byte. Send the body as it is.", coding),
				faults: []fault{{Header: "Content-Encoding", Detail: "not taken"}},
				field:  "Accept-Encoding",
				value:  "identity",
			}
		}
	}
	return nil
}

func wrongType(err error, where string) *refusal {
	return refuse(problemType, "Wrong type "+where+": "+err.Error()+".")
}

// parseData takes the body as the data of an event whose type is known.
func (h *Handler) parseData(s *submission) ([]relay.Publication, *refusal) {
	if ref := checkJSON(s.body, maxDepth); ref != nil {
		return nil, ref
	}
	return h.data(s, s.typ)
}

// data is the body as the data of an event. It was checked before.
func (h *Handler) data(s *submission, typ string) ([]relay.Publication, *refusal) {
	return h.single(s, &draft{typ: typ, contentType: s.contentType, data: s.body, text: s.body})
}

// parseOpen takes a body whose type is not in the path: where a locator finds one, the
// body is the data, otherwise it is an envelope.
func (h *Handler) parseOpen(s *submission) ([]relay.Publication, *refusal) {
	if len(h.typeFrom) > 0 {
		// A path leads somewhere only in a body that is right.
		if ref := checkJSON(s.body, maxDepth+1); ref != nil {
			return nil, ref
		}
		if typ := findType(h.typeFrom, s.header, s.body); typ != "" {
			if err := relay.CheckType(typ); err != nil {
				return nil, wrongType(err, "where type_from or accept found it")
			}
			if ref := checkDepth(s.body, maxDepth); ref != nil {
				return nil, ref
			}
			return h.data(s, typ)
		}
	}
	d, ref := parseEnvelope(s.body)
	if ref != nil {
		if ref.kind == problemEnvelope && len(h.typeFrom) > 0 {
			ref.detail += " No type was found at " + places(h.typeFrom) + " either."
		}
		return nil, ref
	}
	return h.single(s, &d)
}

func places(finders []finder) string {
	names := make([]string, len(finders))
	for i, f := range finders {
		names[i] = f.locator.String()
	}
	return strings.Join(names, ", ")
}
