package caddymodule

import (
	"errors"
	"fmt"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/caddyrelay/caddyrelay/relay/auth"
)

func init() {
	caddy.RegisterModule(new(BasicAuth))
	caddy.RegisterModule(new(BearerAuth))
}

// BasicAuth sends a user name and a password (RFC 7617).
type BasicAuth struct {
	// The name, without a colon. `{env.*}` and `{file.*}` are replaced.
	Username string `json:"username"`

	// The password. It should be a placeholder, `{file.*}` or `{env.*}`.
	Password string `json:"password"`
}

// CaddyModule returns the Caddy module information.
func (*BasicAuth) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  authNamespace + ".basic",
		New: func() caddy.Module { return new(BasicAuth) },
	}
}

// NewAuthorizer implements [AuthProvider].
func (b *BasicAuth) NewAuthorizer(AuthRoute) (auth.Authorizer, error) {
	user, err := resolve(b.Username)
	if err != nil {
		return nil, fmt.Errorf("user: %w", err)
	}
	password, err := resolve(b.Password)
	if err != nil {
		return nil, fmt.Errorf("password: %w", err)
	}
	if strings.Contains(user, ":") {
		return nil, errors.New("user: a colon cannot stand in a user name (RFC 7617, section 2)")
	}
	if isControl := func(r rune) bool { return r < ' ' || r == 0x7f }; strings.ContainsFunc(user+password, isControl) {
		return nil, errors.New("the user or the password has a control character in it (a line break at the end of a file, perhaps): remove it")
	}
	return auth.NewBasic(user, password), nil
}

// Warnings implements the optional part of [AuthProvider].
func (b *BasicAuth) Warnings() []string { return warnLiteral("auth basic", b.Password) }

// UnmarshalCaddyfile reads
//
//	basic <user> <password>
func (b *BasicAuth) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	args, err := authArguments(d, "<user> <password>", 2)
	if err == nil {
		b.Username, b.Password = args[0], args[1]
	}
	return err
}

// BearerAuth sends a token (RFC 6750).
type BearerAuth struct {
	// The token. It should be a placeholder, `{file.*}` or `{env.*}`.
	Token string `json:"token"`
}

// CaddyModule returns the Caddy module information.
func (*BearerAuth) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  authNamespace + ".bearer",
		New: func() caddy.Module { return new(BearerAuth) },
	}
}

// NewAuthorizer implements [AuthProvider].
func (b *BearerAuth) NewAuthorizer(AuthRoute) (auth.Authorizer, error) {
	token, err := resolve(b.Token)
	if err != nil {
		return nil, fmt.Errorf("token: %w", err)
	}
	if strings.ContainsFunc(token, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return nil, errors.New("token: it has white space or another character that no token has (a line break at the end of its file, perhaps): remove it")
	}
	if len(token) > len("bearer ") && strings.EqualFold(token[:len("bearer")], "bearer") && token[len("bearer")] == ' ' {
		return nil, errors.New("token: write it without the word Bearer")
	}
	return auth.NewBearer(token), nil
}

// Warnings implements the optional part of [AuthProvider].
func (b *BearerAuth) Warnings() []string { return warnLiteral("auth bearer", b.Token) }

// UnmarshalCaddyfile reads
//
//	bearer <token>
func (b *BearerAuth) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	args, err := authArguments(d, "<token>", 1)
	if err == nil {
		b.Token = args[0]
	}
	return err
}

// authArguments reads the line of a scheme that has no block.
func authArguments(d *caddyfile.Dispenser, usage string, n int) ([]string, error) {
	d.Next()
	scheme := d.Val()
	args := d.RemainingArgs()
	var err error
	switch {
	case len(args) != n:
		// None of them is shown: any could be a secret.
		err = fmt.Errorf("auth %s: it has %d arguments, but takes %d; write: auth %s %s (%s)", scheme, len(args), n, scheme, usage, unsetHint)
	case opensBlock(d):
		err = fmt.Errorf("auth %s: it takes no block; write: auth %s %s", scheme, scheme, usage)
	}
	return args, place(d, err)
}

// warnLiteral returns a warning about a secret in clear.
func warnLiteral(where, value string) []string {
	if hasPlaceholder(value) {
		return nil
	}
	return []string{where + ": " + literalWarning}
}

var (
	_ AuthProvider          = (*BasicAuth)(nil)
	_ caddyfile.Unmarshaler = (*BasicAuth)(nil)
	_ AuthProvider          = (*BearerAuth)(nil)
	_ caddyfile.Unmarshaler = (*BearerAuth)(nil)
)
