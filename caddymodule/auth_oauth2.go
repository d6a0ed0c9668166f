package caddymodule

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/caddyrelay/caddyrelay/relay/auth"
)

func init() { caddy.RegisterModule(new(OAuth2Auth)) }

// OAuth2Auth sends tokens that a server issues to the relay as its client (RFC 6749, section
// 4.4, client credentials). A token is kept until shortly before it ends, or until the
// endpoint refuses it with 401. It is asked for from the subscription's region.
type OAuth2Auth struct {
	// Where tokens are issued, by https or http. The destination guard judges it.
	TokenURL string `json:"token_url,omitempty"`

	// The name of the client. `{env.*}` and `{file.*}` are replaced.
	ClientID string `json:"client_id,omitempty"`

	// Its secret. It should be a placeholder, `{file.*}` or `{env.*}`.
	ClientSecret string `json:"client_secret,omitempty"`

	// What the token is to allow.
	Scopes []string `json:"scopes,omitempty"`

	// The API that the token is for, where the server wants to know.
	Audience string `json:"audience,omitempty"`
}

// CaddyModule returns the Caddy module information.
func (*OAuth2Auth) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  authNamespace + ".oauth2",
		New: func() caddy.Module { return new(OAuth2Auth) },
	}
}

// check judges everything but what placeholders hold.
func (o *OAuth2Auth) check() error {
	for _, required := range []struct{ name, value, example string }{
		{"token_url", o.TokenURL, "https://login.example.com/oauth/token"},
		{"client_id", o.ClientID, "relay"},
		{"client_secret", o.ClientSecret, "{file./run/secrets/oauth}"},
	} {
		if required.value == "" {
			return fmt.Errorf("%s missing; write e.g. %s %s; %s", required.name, required.name, required.example, unsetHint)
		}
	}
	for _, scope := range o.Scopes {
		if strings.ContainsAny(scope, " \t\r\n\"\\") || scope == "" {
			return fmt.Errorf("scopes: %q is no scope; write them one after the other, without quotes (RFC 6749, section 3.3)", scope)
		}
	}
	if !looksLikeURL(o.TokenURL) {
		return fmt.Errorf("token_url: %q is no URL, which must begin with https:// or http://", shown(o.TokenURL))
	}
	return nil
}

// tokenURL is where tokens are asked for, as it is written; empty without oauth2, and once its
// guest is loaded, which judges it then.
func (s *Settings) tokenURL() string {
	var guest struct {
		Scheme   string `json:"scheme"`
		TokenURL string `json:"token_url"`
	}
	if s.AuthRaw == nil || json.Unmarshal(s.AuthRaw, &guest) != nil || guest.Scheme != "oauth2" {
		return ""
	}
	return guest.TokenURL
}

// NewAuthorizer implements [AuthProvider].
func (o *OAuth2Auth) NewAuthorizer(r AuthRoute) (auth.Authorizer, error) {
	if err := o.check(); err != nil {
		return nil, err
	}
	resolved := make(map[string]string)
	for name, value := range map[string]string{"token_url": o.TokenURL, "client_id": o.ClientID, "client_secret": o.ClientSecret, "audience": o.Audience} {
		if value == "" {
			continue // the audience may be left out
		}
		text, err := resolve(value)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		if strings.TrimSpace(text) != text {
			return nil, fmt.Errorf("%s: it begins or ends with white space (a line break at the end of a file, perhaps): remove it", name)
		}
		resolved[name] = text
	}
	u, err := r.CheckURL(resolved["token_url"])
	if err != nil {
		return nil, fmt.Errorf("token_url: %w", err)
	}
	return auth.NewOAuth2(auth.OAuth2Options{
		TokenURL: u, ClientID: resolved["client_id"], ClientSecret: resolved["client_secret"],
		Scopes: o.Scopes, Audience: resolved["audience"], Transport: r.Transport, UserAgent: r.UserAgent,
	}), nil
}

// Warnings implements the optional part of [AuthProvider].
func (o *OAuth2Auth) Warnings() []string {
	var all []string
	if !hasPlaceholder(o.ClientSecret) {
		all = append(all, "client_secret: "+literalWarning)
	}
	if strings.HasPrefix(strings.ToLower(o.TokenURL), "http://") {
		all = append(all, "token_url is not https: whoever is on the way can read the secret and the tokens")
	}
	return all
}

// UnmarshalCaddyfile reads
//
//	oauth2 {
//		token_url <url>
//		client_id <id>
//		client_secret <secret>
//		scopes <scope>...
//		audience <audience>
//	}
func (o *OAuth2Auth) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next()
	if args := d.RemainingArgs(); len(args) > 0 {
		return place(d, errors.New("auth oauth2: it takes no arguments; its options stand in a block, each on a line of its own"))
	}
	text := func(name, usage string, target *string) word {
		return word{usage: name + " " + usage, least: 1, most: 1, parse: func(args []string) error {
			*target = args[0]
			return nil
		}}
	}
	err := nestedBlock(d, "auth oauth2", vocabulary{
		"token_url":     text("token_url", "<url>", &o.TokenURL),
		"client_id":     text("client_id", "<id>", &o.ClientID),
		"client_secret": text("client_secret", "<secret>", &o.ClientSecret),
		"audience":      text("audience", "<audience>", &o.Audience),
		"scopes": {usage: "scopes <scope>...", least: 1, most: -1, many: true, parse: func(args []string) error {
			o.Scopes = append(o.Scopes, args...)
			return nil
		}},
	})
	if err != nil {
		return err
	}
	return placeWithin(d, "auth oauth2", o.check())
}

var (
	_ AuthProvider          = (*OAuth2Auth)(nil)
	_ caddyfile.Unmarshaler = (*OAuth2Auth)(nil)
)
