package intake

import (
	"strings"
	"testing"
)

func TestTraceContext(t *testing.T) {
	const good = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
	for _, c := range []struct{ name, header, parent, state string }{
		{"none", "", "", ""},
		{"parent", "traceparent: " + good, good, ""},
		{"both", "traceparent: " + good + "\ntracestate: a=1,b=2\ntracestate: c=3", good, "a=1,b=2,c=3"},
		{"later version", "traceparent: 01" + good[2:] + "-extra", "01" + good[2:] + "-extra", ""},
		{"extra in version 00", "traceparent: " + good + "-extra", "", ""},
		{"extra without a dash", "traceparent: 01" + good[2:] + "extra", "", ""},
		{"far too long", "traceparent: 01" + good[2:] + "-" + strings.Repeat("x", 300), "", ""},
		{"version ff", "traceparent: ff" + good[2:], "", ""},
		{"upper case", "traceparent: " + strings.ToUpper(good), "", ""},
		{"zero trace", "traceparent: 00-" + strings.Repeat("0", 32) + good[35:], "", ""},
		{"zero parent", "traceparent: " + good[:36] + strings.Repeat("0", 16) + "-01", "", ""},
		{"short", "traceparent: " + good[:54], "", ""},
		{"no dash", "traceparent: " + strings.Replace(good, "-", "_", 1), "", ""},
		{"no hex", "traceparent: " + strings.Replace(good, "4bf", "4bg", 1), "", ""},
		{"twice", "traceparent: " + good + "\ntraceparent: " + good, "", ""},
		{"state alone", "tracestate: a=1", "", ""},
		{"long state", "traceparent: " + good + "\ntracestate: a=" + strings.Repeat("1", 511), good, ""},
		{"state of other bytes", "traceparent: " + good + "\ntracestate: a=\x80", good, ""},
	} {
		s := newSetup(t)
		s.accept(t, ask{path: "/v1/events/a", header: c.header, body: "1"})
		e := s.engine.last(t).Event
		if e.TraceParent != c.parent || e.TraceState != c.state {
			t.Errorf("%s: %q, %q", c.name, e.TraceParent, e.TraceState)
		}
	}
}
