package caddymodule

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddyrelay/caddyrelay/relay/auth"
)

// authNamespace holds the guests of auth.
const authNamespace = "relay.auth"

// AuthProvider is implemented by modules in the namespace relay.auth, whose inline key is
// scheme. For a Caddyfile they also implement
// [github.com/caddyserver/caddy/v2/caddyconfig/caddyfile.Unmarshaler]: the first token is the
// scheme, as in "auth <scheme> ...".
//
// A guest whose configuration deserves a warning, such as a secret in clear, also has a
// method Warnings() []string; they are logged with the names of subscription and scheme.
type AuthProvider interface {
	// NewAuthorizer resolves placeholders of secrets and returns what puts credentials into
	// requests. It is called after Provision, at most once for equal configurations on equal
	// routes, and must touch neither network nor disk but for those placeholders. Its errors
	// are shown with the name of the subscription. What it returns may be used until the last
	// attempt has ended, which can be after the guest's Cleanup.
	NewAuthorizer(AuthRoute) (auth.Authorizer, error)
}

// AuthRoute is how a guest of auth reaches the servers that it asks.
type AuthRoute struct {
	// Transport makes requests as deliveries are made: from the subscription's region, to
	// where its destination guard allows.
	Transport http.RoundTripper
	// CheckURL judges a URL as that of the subscription is judged.
	CheckURL func(raw string) (*url.URL, error)
	// UserAgent is that of deliveries.
	UserAgent string
}

// loadAuth loads the guest.
func (s *Settings) loadAuth(ctx caddy.Context) error {
	if s.AuthRaw == nil {
		return nil
	}
	s.authKey = string(s.AuthRaw)
	loaded, err := ctx.LoadModule(s, "AuthRaw")
	if err != nil {
		return fmt.Errorf("auth: %w", err)
	}
	provider, ok := loaded.(AuthProvider)
	if !ok {
		return fmt.Errorf("auth: module %T is no relay authorizer", loaded)
	}
	s.auth = provider
	s.warnOf("auth", loaded)
	return nil
}

// credentials are an authorizer with the servers that it asks.
type credentials struct {
	auth.Authorizer
	servers []*url.URL
}

// credentials returns those of the settings; equal ones on equal routes share them, and so
// their tokens. Without any the authorizer is nil.
func (t *transports) credentials(s *Settings, r route) (credentials, error) {
	if s.auth == nil {
		return credentials{}, nil
	}
	// The servers that are asked know nothing of the endpoint's certificates.
	r = r.withoutTLS()
	key := r.key() + s.authKey
	if found, ok := t.authorizers[key]; ok {
		return found, nil
	}
	connector := t.get(r)
	var servers []*url.URL
	check := func(raw string) (*url.URL, error) {
		u, err := r.guard.CheckURL(raw)
		if err == nil {
			err = r.region.checkLiteral(u.Hostname())
			servers = append(servers, u)
		}
		return u, err
	}
	made, err := s.auth.NewAuthorizer(AuthRoute{Transport: connector.transport, CheckURL: check, UserAgent: userAgent()})
	if err != nil {
		return credentials{}, fmt.Errorf("auth %s: %w", schemeOf(s.auth), err)
	}
	t.authorizers[key] = credentials{made, servers}
	return t.authorizers[key], nil
}

// checkCredentials refuses two ways to fill the same field.
func (s *Settings) checkCredentials() error {
	if s.AuthRaw == nil && s.auth == nil {
		return nil
	}
	sets := func(field string) bool { return http.CanonicalHeaderKey(field) == "Authorization" }
	if slices.ContainsFunc(s.Header, func(h HeaderChange) bool { return sets(h.Field) && h.Op != "remove" }) ||
		slices.ContainsFunc(s.SecretHeader, func(h SecretHeader) bool { return sets(h.Field) }) {
		return errors.New("auth: a header line sets Authorization, too; leave out one of them")
	}
	return nil
}
