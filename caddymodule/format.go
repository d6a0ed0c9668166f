package caddymodule

import (
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/caddyrelay/caddyrelay/relay"
)

// formatNames lists the formats, the default first.
func formatNames(separator string) string {
	names := make([]string, len(relay.Formats))
	for i, f := range relay.Formats {
		names[i] = string(f)
	}
	return strings.Join(names, separator)
}

// checkFormat takes nothing for the default.
func checkFormat(name string) error {
	if name == "" || slices.Contains(relay.Formats, relay.Format(name)) {
		return nil
	}
	return fmt.Errorf("format: there is no %q%s", name, didYouMean(name, strings.Split(formatNames(" "), " ")))
}

// checkTogether judges what only several words tell, once those of defaults are known.
func (s *Settings) checkTogether() error {
	bodiless := s.Method == http.MethodGet || s.Method == http.MethodDelete
	if bodiless && relay.Format(s.Format) == relay.FormatStructured {
		return fmt.Errorf("format structured: the event stands in the body, and %s has none; write: format binary, or another method", s.Method)
	}
	if bodiless && (s.TransformRaw != nil || s.transform != nil) {
		return fmt.Errorf("transform: it makes a body, and %s has none; leave it out, or write another method", s.Method)
	}
	return s.checkCredentials()
}
