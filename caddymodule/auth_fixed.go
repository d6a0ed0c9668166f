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
	if err == nil {
		err = checkUserName(user)
	}
	if err != nil {
		return nil, fmt.Errorf("user: %w", err)
	}
	password, err := resolve(b.Password)
	if err == nil {
		err = checkPassword(password)
	}
	if err != nil {
		return nil, fmt.Errorf("password: %w", err)
	}
	return auth.NewBasic(user, password), nil
}

func checkUserName(name string) error {
	if strings.Contains(name, ":") {
		return errors.New("a colon cannot stand in a user name (RFC 7617, section 2)")
	}
	return checkPassword(name)
}

// checkPassword refuses control characters, as RFC 7617, section 2, does.
func checkPassword(text string) error {
	if strings.ContainsFunc(text, func(r rune) bool { return r < ' ' || r == 0x7f }) {
		return errors.New("it has a control character in it (a line break at the end of a file, perhaps): remove it")
	}
	return nil
}

// checkText judges a text while the Caddyfile is read. What a placeholder stands for is judged
// when it is resolved.
func checkText(name, text string, check func(string) error) error {
	switch {
	case text == "":
		return fmt.Errorf("%s: it is empty; %s", name, unsetHint)
	case hasPlaceholder(text):
		return nil
	}
	if err := check(text); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}

// Warnings implements the optional part of [AuthProvider].
func (b *BasicAuth) Warnings() []string { return warnLiteral(b.Password) }

// UnmarshalCaddyfile reads
//
//	basic <user> <password>
func (b *BasicAuth) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	args, err := authArguments(d, "<user> <password>", 2)
	if err != nil {
		return err
	}
	b.Username, b.Password = args[0], args[1]
	if err = checkText("user", b.Username, checkUserName); err == nil {
		err = checkText("password", b.Password, checkPassword)
	}
	return placeWithin(d, "auth basic", err)
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
	if err == nil {
		err = checkBearer(token)
	}
	if err != nil {
		return nil, fmt.Errorf("token: %w", err)
	}
	return auth.NewBearer(token), nil
}

func checkBearer(token string) error {
	if scheme, _, ok := strings.Cut(token, " "); ok && strings.EqualFold(scheme, "bearer") {
		return errors.New("write it without the word Bearer")
	}
	if strings.ContainsFunc(token, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return errors.New("it has white space or another character that no token has (a line break at the end of its file, perhaps): remove it")
	}
	return nil
}

// Warnings implements the optional part of [AuthProvider].
func (b *BearerAuth) Warnings() []string { return warnLiteral(b.Token) }

// UnmarshalCaddyfile reads
//
//	bearer <token>
func (b *BearerAuth) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	args, err := authArguments(d, "<token>", 1)
	if err != nil {
		return err
	}
	b.Token = args[0]
	return placeWithin(d, "auth bearer", checkText("token", b.Token, checkBearer))
}

// authArguments reads the line of a scheme that has no block.
func authArguments(d *caddyfile.Dispenser, usage string, n int) ([]string, error) {
	d.Next()
	scheme := "auth " + d.Val()
	return word{usage: scheme + " " + usage, least: n, most: n}.line(d, scheme)
}

// warnLiteral returns a warning about a secret in clear.
func warnLiteral(value string) []string {
	if hasPlaceholder(value) {
		return nil
	}
	return []string{literalWarning}
}

var (
	_ AuthProvider          = (*BasicAuth)(nil)
	_ caddyfile.Unmarshaler = (*BasicAuth)(nil)
	_ AuthProvider          = (*BearerAuth)(nil)
	_ caddyfile.Unmarshaler = (*BearerAuth)(nil)
)
