package intake

import (
	"errors"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/caddyrelay/caddyrelay/relay"
)

// cePrefix begins the header fields that carry attributes, in canonical form.
const cePrefix = "Ce-"

// isBinary reports whether a header carries a CloudEvent: any attribute that each of
// them has, so that one that is forgotten is told as missing.
func isBinary(header http.Header) bool {
	return header["Ce-Specversion"] != nil || header["Ce-Id"] != nil || header["Ce-Source"] != nil || header["Ce-Type"] != nil
}

// isSafelisted reports whether a web page may send a content type to another origin
// without asking (Fetch, section 2.2.2).
func isSafelisted(media string) bool {
	return media == "text/plain" || media == "application/x-www-form-urlencoded" || media == "multipart/form-data"
}

// parseBinary reads a CloudEvent whose attributes stand in header fields and whose data
// is the body (HTTP binding 1.0.2, section 3.1).
func (h *Handler) parseBinary(s *submission) ([]relay.Publication, *refusal) {
	var f faults
	d := binaryEvent(s.header, &f)
	if f.count > 0 {
		return nil, f.refusal(problemCloudEvent, "CloudEvent")
	}
	d.contentType, d.text = s.contentType, s.body
	switch {
	case len(s.body) == 0:
		return h.single(s, &d) // the event has no data
	case s.contentType == "":
		return nil, s.wrongMedia("The request has no Content-Type.")
	case isJSONData(s.contentType):
		if ref := checkJSON(s.body, maxDepth); ref != nil {
			return nil, ref
		}
	}
	d.data = s.body
	return h.single(s, &d)
}

// fields are the header fields of the attributes, in canonical form; none for the data.
var fields = func() (all [attrData]string) {
	for a := range all {
		all[a] = http.CanonicalHeaderKey(cePrefix + attributeNames[a])
	}
	return all
}()

// binaryEvent takes the attributes from a header. It notes all that is wrong with them.
func binaryEvent(header http.Header, f *faults) draft {
	e := cloudEvent{draft: draft{kind: relay.KeyCloudEvent}}
	for field, values := range header {
		if !strings.HasPrefix(field, cePrefix) {
			continue
		}
		if err := e.setField(field, values); err != nil {
			f.header(shortName(strings.ToLower(field)), err.Error())
		}
	}
	// The header has no order, and its faults shall be told in the same one each time.
	slices.SortFunc(f.list, func(a, b fault) int { return strings.Compare(a.Header, b.Header) })
	for _, a := range required {
		if !e.seen[a] {
			f.header("ce-"+attributeNames[a], "missing")
		}
	}
	return e.draft
}

// setField takes one header field, whose name is canonical.
func (e *cloudEvent) setField(field string, values []string) error {
	a := attribute(slices.Index(fields[:], field))
	if a >= 0 {
		e.seen[a] = true
	}
	if len(values) != 1 {
		return errors.New("stands more than once; send each attribute once")
	}
	value, err := decodeField(values[0])
	switch {
	case err != nil:
		return err
	case a < 0:
		return e.setExtension(strings.ToLower(field[len(cePrefix):]), value)
	case a == attrContentType:
		return errors.New("stands beside Content-Type, which carries this attribute; leave it out")
	}
	return e.setAttribute(a, value)
}

// decodeField returns the attribute that the value of a header field stands for: first
// out of its quotes, if it has any, then out of percent-encoding, once (HTTP binding
// 1.0.2, section 3.1.3.2).
func decodeField(value string) (string, error) {
	value, err := unquoteField(value)
	if err != nil {
		return "", err
	}
	if value = percentDecode(value); !utf8.ValidString(value) {
		return "", errors.New("is not UTF-8, percent-encoded")
	}
	return value, nil
}

// percentDecode leaves a % as it is that no two hexadecimal digits follow: the SDK for
// Go, among others, does not encode.
func percentDecode(value string) string {
	if strings.IndexByte(value, '%') < 0 {
		return value
	}
	text := make([]byte, 0, len(value))
	for i := 0; i < len(value); i++ {
		if value[i] == '%' && i+2 < len(value) {
			if b, err := strconv.ParseUint(value[i+1:i+3], 16, 8); err == nil {
				text = append(text, byte(b))
				i += 2
				continue
			}
		}
		text = append(text, value[i])
	}
	return string(text)
}

// unquoteField takes a value out of its double quotes (RFC 9110 section 5.6.4). Those
// that merely begin with one are left as they are: senders seldom quote.
func unquoteField(value string) (string, error) {
	if len(value) < 2 || value[0] != '"' || value[len(value)-1] != '"' {
		return value, nil
	}
	inner := value[1 : len(value)-1]
	if strings.IndexByte(inner, '\\') < 0 {
		return inner, nil
	}
	text := make([]byte, 0, len(inner))
	for i := 0; i < len(inner); i++ {
		if inner[i] == '\\' {
			if i++; i == len(inner) {
				return "", errors.New("ends in a backslash within quotes")
			}
		}
		text = append(text, inner[i])
	}
	return string(text), nil
}

// shortName leaves out most of a name that would make the answer as long as the question.
func shortName(name string) string {
	const longest = 64
	if len(name) > longest {
		return name[:longest] + "..."
	}
	return name
}
