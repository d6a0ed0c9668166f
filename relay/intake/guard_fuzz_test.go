package intake

import (
	"net/http"
	"regexp"
	"strings"
	"testing"
)

func FuzzNarrowing(f *testing.F) {
	for _, s := range []string{"a, b", ",", "", "a,,a", " \t", "a\x00,b"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, value string) {
		names, ref := parseNarrowing([]string{value})
		if (ref == nil) == (len(names) == 0) {
			t.Fatalf("%q: %q, %v: an application that means nobody would reach everybody", value, names, ref)
		}
		seen := make(map[string]bool)
		for _, name := range names {
			if name == "" || seen[name] || strings.Contains(name, ",") || strings.Trim(name, " \t") != name || !strings.Contains(value, name) {
				t.Fatalf("%q from %q", names, value)
			}
			seen[name] = true
		}
	})
}

// The grammar of version 00, from W3C Trace Context section 3.2.
var traceParent00 = regexp.MustCompile(`^00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}$`)

func FuzzTrace(f *testing.F) {
	f.Add("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", "congo=t61rcWkgMzE,rojo=00f067aa0ba902b7")
	f.Add("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more", "")
	f.Add("01-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more", "a=\n")
	f.Add("ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", "")
	f.Add("00-00000000000000000000000000000000-00f067aa0ba902b7-01", "")
	f.Fuzz(func(t *testing.T, parent, state string) {
		c := parseTrace(http.Header{"Traceparent": {parent}, "Tracestate": {state}})
		if c.parent == "" {
			if c.state != "" {
				t.Fatal("a state without a parent")
			}
			if traceParent00.MatchString(parent) && !strings.Contains(parent, strings.Repeat("0", 16)) {
				t.Fatalf("%q is left out", parent)
			}
			return
		}
		if c.parent != parent || strings.HasPrefix(parent, "00-") && !traceParent00.MatchString(parent) || strings.HasPrefix(parent, "ff") {
			t.Fatalf("%q from %q", c.parent, parent)
		}
		// They become header fields of deliveries.
		if strings.ContainsAny(c.parent+c.state, "\r\n\x00") || len(c.state) > maxTraceState || len(c.parent) > maxTraceParent {
			t.Fatalf("%q cannot be a header field", c)
		}
	})
}
