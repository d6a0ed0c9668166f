package caddymodule

import (
	"errors"
	"fmt"
	"net/http"
	"strings"

	"golang.org/x/net/http/httpguts"

	"github.com/caddyrelay/caddyrelay/relay"
)

// HeaderChange is one change to the header fields of each request.
type HeaderChange struct {
	// What is done: `set` replaces the field, `add` adds a value to it, `remove`
	// takes it away. Default: set
	Op string `json:"op,omitempty"`

	// The name of the field.
	Field string `json:"field"`

	// The value; none for `remove`. `{env.*}` and `{file.*}` are replaced when the
	// configuration is loaded, placeholders of the event (`{event.id}`, `{event.type}`,
	// `{event.source}`, `{event.subject}`, `{event.time}`, `{event.data.<path>}`) for each
	// attempt.
	Value string `json:"value,omitempty"`
}

// SecretHeader is a header field whose value is never shown.
type SecretHeader struct {
	// The name of the field.
	Field string `json:"field"`

	// The value. It should be a placeholder, `{file.*}` or `{env.*}`: what stands here
	// in clear can be read in the configuration. Placeholders of the event are replaced, too.
	Value string `json:"value"`
}

// headerOps are the operations with the sign that they have in a Caddyfile.
var headerOps = map[string]byte{"": '=', "set": '=', "add": '+', "remove": '-'}

func (h HeaderChange) check() error {
	op, ok := headerOps[h.Op]
	switch {
	case !ok:
		return fmt.Errorf("header %s: the operation %q is not possible; write set, add or remove", h.Field, h.Op)
	case op == '-' && h.Value != "":
		return fmt.Errorf("header -%s: a field that is removed has no value; leave out %q", h.Field, h.Value)
	case op != '-' && h.Value == "":
		return fmt.Errorf("header %s: the value is missing; to remove the field, write: header -%s (%s)", h.Field, h.Field, unsetHint)
	}
	if err := checkField(h.Field); err != nil {
		return fmt.Errorf("header: %w", err)
	}
	return checkHeaderText("header", h.Field, h.Value)
}

func (h SecretHeader) check() error {
	if err := checkField(h.Field); err != nil {
		return fmt.Errorf("secret_header: %w", err)
	}
	if h.Value == "" {
		return fmt.Errorf("secret_header %s: the value is missing; %s", h.Field, unsetHint)
	}
	return checkHeaderText("secret_header", h.Field, h.Value)
}

// checkHeaderText judges the placeholders of the event in a value.
func checkHeaderText(word, field, value string) error {
	if _, err := relay.ParseText(value); err != nil {
		return fmt.Errorf("%s %s: %w", word, field, err)
	}
	return nil
}

// Reasons for which fields are not the user's.
const (
	hopByHop  = "it concerns one connection, which the relay looks after itself (RFC 9110, section 7.6.1)"
	fromTrace = "it is taken from the request that brought the event"
)

// reservedFields cannot be changed, each for the reason given.
var reservedFields = map[string]string{
	"Host":                "it follows from the URL, and the address that is dialled with it",
	"Content-Length":      "it follows from the body",
	"Expect":              "the relay would have to wait for an interim response",
	"Connection":          hopByHop,
	"Keep-Alive":          hopByHop,
	"Proxy-Connection":    hopByHop,
	"Proxy-Authenticate":  hopByHop,
	"Proxy-Authorization": hopByHop,
	"Te":                  hopByHop,
	"Trailer":             hopByHop,
	"Transfer-Encoding":   hopByHop,
	"Upgrade":             hopByHop,
	"Traceparent":         fromTrace,
	"Tracestate":          fromTrace,
}

// checkField judges the name of a header field that a subscription wants to change.
func checkField(field string) error {
	if field == "" {
		return errors.New("the name of the field is missing")
	}
	if !httpguts.ValidHeaderFieldName(field) {
		return fmt.Errorf("%q is no name of a header field; it has letters, digits and hyphens, and no colon", field)
	}
	name := http.CanonicalHeaderKey(field)
	reason := reservedFields[name]
	switch {
	case strings.HasPrefix(name, "Webhook-"):
		reason = "webhook-* fields are those of Standard Webhooks, and part of what is signed; see sign"
	case strings.HasPrefix(name, "Relay-"):
		reason = "Relay-* fields are how receivers know what the relay says of a delivery"
	}
	if reason != "" {
		return fmt.Errorf("%s cannot be changed: %s", name, reason)
	}
	return nil
}

// headerRules resolves the values and returns the rules in the order in which they
// apply.
func headerRules(header []HeaderChange, secret []SecretHeader) ([]relay.HeaderRule, error) {
	rules := make([]relay.HeaderRule, 0, len(header)+len(secret))
	for _, h := range header {
		rule, err := headerRule(headerOps[h.Op], h.Field, h.Value)
		if err != nil {
			return nil, fmt.Errorf("header %s: %w", h.Field, err)
		}
		rules = append(rules, rule)
	}
	for _, h := range secret {
		rule, err := headerRule('=', h.Field, h.Value)
		if err != nil {
			return nil, fmt.Errorf("secret_header %s: %w", h.Field, err)
		}
		rule.Secret = true
		rules = append(rules, rule)
	}
	return rules, nil
}

func headerRule(op byte, field, value string) (relay.HeaderRule, error) {
	rule := relay.HeaderRule{Op: op, Field: http.CanonicalHeaderKey(field)}
	if op == '-' {
		return rule, nil
	}
	text, err := relay.ParseText(value)
	if err != nil {
		return rule, err
	}
	// Only what the configuration says is searched for placeholders of Caddy: what an event
	// says is put in later, as it is.
	err = text.Resolve(func(literal string) (string, error) {
		if literal == "" && !text.Fixed() {
			return "", nil
		}
		return headerValue(literal)
	})
	if err != nil {
		return rule, err
	}
	if text.Fixed() {
		rule.Value = text.Literals()
	} else {
		rule.Text = text
	}
	return rule, nil
}

func headerValue(value string) (string, error) {
	resolved, err := resolve(value)
	if err != nil {
		return "", err
	}
	if !httpguts.ValidHeaderFieldValue(resolved) {
		return "", errors.New("the value has a control character in it (a line break, perhaps), which a header field cannot carry")
	}
	return resolved, nil
}
