package intake

import (
	"net/http"
	"strings"
)

// parseNarrowing reads Relay-Subscriptions: names, separated by commas. It is nil if
// there is no such header. One without a name is refused: an application that means
// nobody must not reach everybody.
func parseNarrowing(values []string) ([]string, *refusal) {
	if len(values) == 0 {
		return nil, nil
	}
	var names []string
	seen := make(map[string]bool)
	for _, value := range values {
		for name := range strings.SplitSeq(value, ",") {
			if name = strings.Trim(name, " \t"); name != "" && !seen[name] {
				seen[name] = true
				names = append(names, name)
			}
		}
	}
	if names == nil {
		return nil, &refusal{
			kind:   problemNarrowing,
			detail: "The header Relay-Subscriptions names no subscription. Leave it out to reach all that match.",
			faults: []fault{{Header: "Relay-Subscriptions", Detail: "empty"}},
		}
	}
	return names, nil
}

// traceContext is the W3C trace context of a request.
type traceContext struct{ parent, state string }

// maxTraceParent leaves room for what later versions add. In bytes.
const maxTraceParent = 256

// maxTraceState is what the standard asks everyone to pass on (section 3.3.1.5); what
// is longer is left out.
const maxTraceState = 512

// parseTrace reads traceparent and tracestate (W3C Trace Context, section 3). What is
// not valid is ignored, as the standard says: a broken tracer must not lose events.
func parseTrace(header http.Header) traceContext {
	parents := header["Traceparent"]
	if len(parents) != 1 || !isTraceParent(parents[0]) {
		return traceContext{}
	}
	c := traceContext{parent: parents[0]}
	if state := strings.Join(header["Tracestate"], ","); len(state) <= maxTraceState && isPrintable(state) {
		c.state = state
	}
	return c
}

// isTraceParent checks version-traceid-parentid-flags. Versions above 00 may carry more
// behind a further dash.
func isTraceParent(s string) bool {
	const length = 2 + 1 + 32 + 1 + 16 + 1 + 2
	if len(s) < length || len(s) > maxTraceParent || s[2] != '-' || s[35] != '-' || s[52] != '-' {
		return false
	}
	version, trace, parent, flags := s[:2], s[3:35], s[36:52], s[53:55]
	if !isLowerHex(version) || !isLowerHex(trace) || !isLowerHex(parent) || !isLowerHex(flags) {
		return false
	}
	if version == "ff" || strings.Trim(trace, "0") == "" || strings.Trim(parent, "0") == "" {
		return false
	}
	return len(s) == length || version != "00" && s[length] == '-' && isPrintable(s)
}

func isLowerHex(s string) bool {
	for i := range len(s) {
		if c := s[i]; (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return true
}

func isPrintable(s string) bool {
	for i := range len(s) {
		if c := s[i]; (c < ' ' || c > '~') && c != '\t' {
			return false
		}
	}
	return true
}
