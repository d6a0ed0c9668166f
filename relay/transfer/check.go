package transfer

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
	"unicode"

	"github.com/caddyrelay/caddyrelay/relay"
)

// What intake and configuration take; see there.
var (
	subscriptionName = regexp.MustCompile(`^[a-z0-9][a-z0-9_-]{0,62}$`)
	extensionName    = regexp.MustCompile(`^[a-z0-9]+$`)
)

// check refuses what no relay has written: an export is a file, and may come from anybody. What
// stands in the fields of a request or in the output of a command must not break out of it.
func (v *event) check() error {
	if err := relay.CheckTypeForm(v.Type); err != nil {
		return err
	}
	for _, text := range []struct {
		name, value string
		refused     func(rune) bool
	}{
		{"source", v.Source, unicode.IsControl},
		{"subject", v.Subject, unicode.IsControl},
		{"source_id", v.SourceID, unicode.IsControl},
		{"content_type", v.ContentType, isNoField},
		{"traceparent", v.TraceParent, isNoField},
		{"tracestate", v.TraceState, isNoField},
	} {
		if err := checkText(text.name, text.value, text.refused); err != nil {
			return err
		}
	}
	for name, value := range v.Extensions {
		if !extensionName.MatchString(name) {
			return fmt.Errorf("%q is no name of an extension", name)
		}
		if err := checkText(name, value, unicode.IsControl); err != nil {
			return err
		}
	}
	seen := make(map[string]bool, len(v.Deliveries))
	for i := range v.Deliveries {
		name := v.Deliveries[i].Subscription
		switch {
		case name == "":
			return errors.New("a delivery has no subscription")
		case !subscriptionName.MatchString(name):
			return fmt.Errorf("%q is no name of a subscription", name)
		case seen[name]:
			return fmt.Errorf("there are two deliveries for %q", name)
		}
		seen[name] = true
	}
	return nil
}

func checkText(name, value string, refused func(rune) bool) error {
	if at := strings.IndexFunc(value, refused); at >= 0 {
		return fmt.Errorf("%s has a control character at byte %d", name, at)
	}
	return nil
}

// isNoField reports what no header field has in it (RFC 9110, section 5.5). What came in one may
// have all the rest.
func isNoField(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f }
