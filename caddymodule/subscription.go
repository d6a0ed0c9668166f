package caddymodule

import (
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"github.com/caddyrelay/caddyrelay/relay"
	"github.com/caddyrelay/caddyrelay/relay/destination"
)

// Subscription is one destination: what it wants, and how it gets it.
type Subscription struct {
	// The name, unique in this configuration: 1 to 63 of a-z, 0-9, `-` and `_`,
	// beginning with a letter or a digit. Deliveries are kept under it: what waits
	// for a name goes to the URL that the name has when the attempt is made.
	Name string `json:"name"`

	// Where deliveries go, by http or https. `{env.*}` and `{file.*}` are replaced
	// when the configuration is loaded. Placeholders of the event may stand in the path and
	// in the query; they are escaped.
	URL string `json:"url"`

	Settings

	// What the subscription comes to, with the defaults.
	effective Settings
	// What was said of it. Loading guests empties the fields that name them.
	configured Settings
}

var namePattern = regexp.MustCompile(`^[a-z0-9][a-z0-9_-]{0,62}$`)

// checkName judges the name of a subscription or region.
func checkName(kind, name string) error {
	switch {
	case name == "":
		return fmt.Errorf("%s: name missing; %s", kind, unsetHint)
	case looksLikeURL(name):
		return fmt.Errorf("%s: name missing before %q; write: %s <name> <url>; %s", kind, shown(name), kind, unsetHint)
	case !namePattern.MatchString(name):
		return fmt.Errorf("%s: %q is no name; use 1 to 63 of a-z, 0-9, - and _, beginning with a letter or a digit", kind, name)
	}
	return nil
}

// shown returns as much of what may be a URL as can be shown: its path can be a secret.
func shown(text string) string {
	start := 0
	if i := strings.Index(text, "://"); i >= 0 {
		start = i + len("://")
	}
	authority, _, more := strings.Cut(text[start:], "/")
	if i := strings.LastIndexByte(authority, '@'); i >= 0 {
		authority = "..." + authority[i:]
	}
	if more {
		authority += "/..."
	}
	return text[:start] + authority
}

// looksLikeURL is true for what can only have been meant as one.
func looksLikeURL(text string) bool {
	return strings.Contains(text, "://") || hasPlaceholder(text)
}

// checkURLForm tells a missing URL from a wrong one. It takes text with placeholders.
func checkURLForm(text string) error {
	switch {
	case text == "":
		return errors.New("URL missing; " + unsetHint)
	case !looksLikeURL(text):
		return fmt.Errorf("%q is no URL, which must begin with https:// or http://; %s", shown(text), unsetHint)
	}
	return nil
}

// check judges the subscription without the rest of the configuration.
func (s *Subscription) check() error {
	if err := checkName("subscription", s.Name); err != nil {
		return err
	}
	err := checkURLForm(s.URL)
	if err == nil {
		err = s.Settings.check()
	}
	return s.wrap(err)
}

// wrap names the subscription in an error.
func (s *Subscription) wrap(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("subscription %q: %w", s.Name, err)
}

// regionError marks an error about the word region.
type regionError struct{ error }

// checkWithin judges the subscription with the rest of the configuration: its region,
// and its URL, which regions and defaults can forbid or allow. It is called again
// with the URL resolved.
func (a *App) checkWithin(s *Subscription, own func() []netip.Addr) error {
	effective := s.Settings.over(a.Defaults)
	region, err := a.regionOf(effective.Region)
	if err != nil {
		return s.wrap(regionError{err})
	}
	if err := effective.checkTogether(); err != nil {
		return s.wrap(err)
	}
	rules, err := effective.rules()
	if err != nil {
		return s.wrap(err)
	}
	rules.Own, rules.Regional = own, a.regional()
	guard, err := destination.New(rules)
	if err != nil {
		return s.wrap(err)
	}
	if err := checkURL(s.URL, guard, region); err != nil {
		return s.wrap(err)
	}
	if effective.WaitFor != nil {
		if err := checkURL(effective.WaitFor.URL, guard, region); err != nil {
			return s.wrap(fmt.Errorf("wait_for: %w", err))
		}
	}
	if token := effective.tokenURL(); token != "" && !hasPlaceholder(token) {
		if err := checkURL(token, guard, region); err != nil {
			return s.wrap(fmt.Errorf("auth oauth2: token_url: %w", err))
		}
	}
	return nil
}

// checkURL judges a URL as it is configured; one that needs the environment is judged when it
// is resolved.
func checkURL(raw string, guard *destination.Guard, region *Region) error {
	marked, err := relay.MarkURL(raw)
	if err != nil || hasPlaceholder(marked) {
		return err
	}
	_, _, err = urlOf(raw, marked, guard, region)
	return err
}

// urlOf judges a URL that is marked, and resolved. It returns its canonical form, and what
// makes it of an event if it has placeholders of one.
func urlOf(raw, marked string, guard *destination.Guard, region *Region) (*url.URL, *relay.URLTemplate, error) {
	u, err := guard.CheckURL(marked)
	if err != nil {
		return nil, nil, err
	}
	var template *relay.URLTemplate
	if relay.HasEventPlaceholder(raw) {
		if template, err = relay.NewURLTemplate(raw, u, guard.CheckURL); err != nil {
			return nil, nil, err
		}
	}
	return u, template, region.checkLiteral(u.Hostname())
}

// resolveURL returns a URL with its placeholders resolved, like urlOf. One that came from a
// placeholder may be a secret: no error holds it.
func resolveURL(raw string, guard *destination.Guard, region *Region) (*url.URL, *relay.URLTemplate, error) {
	marked, err := relay.MarkURL(raw)
	if err != nil {
		return nil, nil, err
	}
	if hasPlaceholder(marked) {
		if marked, err = resolve(marked); err != nil {
			return nil, nil, fmt.Errorf("URL: %w", err)
		}
		// A file may end in more line breaks than the one that Caddy cuts off.
		marked = strings.TrimSpace(marked)
		if hasPlaceholder(marked) {
			return nil, nil, errors.New("URL: what its placeholder holds has a placeholder in it; only the configuration may name those")
		}
	}
	return urlOf(raw, marked, guard, region)
}

// regionOf returns the region of that name, the only one if the name is empty, or nil
// if there is none at all.
func (a *App) regionOf(name string) (*Region, error) {
	names := make([]string, len(a.Regions))
	for i, r := range a.Regions {
		names[i] = r.Name
	}
	switch i := slices.Index(names, name); {
	case i >= 0:
		return a.Regions[i], nil
	case name == "" && len(names) == 0:
		return nil, nil //nolint:nilnil // no region is a valid choice
	case name == "" && len(names) == 1:
		return a.Regions[0], nil
	case name == "":
		return nil, fmt.Errorf("region missing; there are several (%s): say which one deliveries leave from, with: region <name>", strings.Join(names, ", "))
	case len(names) == 0:
		return nil, fmt.Errorf("region: there is no region %q; declare it beside the subscriptions: region %s <ip>", name, name)
	}
	return nil, fmt.Errorf("region: there is no region %q%s", name, didYouMean(name, names))
}
