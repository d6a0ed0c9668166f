package caddymodule

import (
	"errors"
	"fmt"
	"time"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/caddyrelay/caddyrelay/relay/signature"
)

// SigningSecrets are the secrets of one scheme.
type SigningSecrets struct {
	// The secrets. Schemes that can carry several signatures sign with all that are valid
	// at the time of an attempt (standard, standard_ed25519, stripe); the others with the
	// newest of them. So two that overlap are a rotation.
	Secrets []SigningSecret `json:"secrets,omitempty"`
}

// SigningSecret is a secret with the time in which it signs.
type SigningSecret struct {
	// The secret, in the form that its scheme has. It should be a placeholder, `{file.*}`
	// or `{env.*}`.
	Secret string `json:"secret"`

	// The first moment at which it signs, RFC 3339. Default: since ever
	From time.Time `json:"from,omitzero"`

	// The first moment at which it signs no more, RFC 3339. Default: for ever
	Until time.Time `json:"until,omitzero"`
}

// check judges everything but the secrets' own text.
func (s *SigningSecrets) check() error {
	if len(s.Secrets) == 0 {
		return errors.New("secret missing; give it one as: secret <secret>; " + unsetHint)
	}
	return eachOf(s.Secrets, SigningSecret.check)
}

func (s SigningSecret) check() error {
	if s.Secret == "" {
		return errors.New("the secret is empty; " + unsetHint)
	}
	if !s.Until.IsZero() && !s.Until.After(s.From) {
		return fmt.Errorf("secret: it is never valid, since until (%s) is not after from (%s)",
			s.Until.Format(time.RFC3339), s.From.Format(time.RFC3339))
	}
	return nil
}

// resolve returns the secrets with their placeholders replaced.
func (s *SigningSecrets) resolve() ([]signature.TimedSecret, error) {
	if err := s.check(); err != nil {
		return nil, err
	}
	timed := make([]signature.TimedSecret, len(s.Secrets))
	for i, secret := range s.Secrets {
		resolved, err := resolve(secret.Secret)
		if err != nil {
			return nil, fmt.Errorf("secret: %w", err)
		}
		timed[i] = signature.TimedSecret{Secret: resolved, From: secret.From, Until: secret.Until}
	}
	return timed, nil
}

// Warnings implements the optional part of [SignerProvider]: it is about secrets in clear.
func (s *SigningSecrets) Warnings() []string {
	for _, secret := range s.Secrets {
		if !hasPlaceholder(secret.Secret) {
			return []string{literalWarning}
		}
	}
	return nil
}

// UnmarshalCaddyfile reads a secret, or a block of several.
func (s *SigningSecrets) UnmarshalCaddyfile(d *caddyfile.Dispenser) error { return s.parse(d, nil) }

// newSigner makes the signer of a scheme from its secrets.
func newSigner[S signature.Signer](s *SigningSecrets, make func(...signature.TimedSecret) (S, error)) (signature.Signer, error) {
	secrets, err := s.resolve()
	if err != nil {
		return nil, err
	}
	return make(secrets...)
}

// parse reads the line and block of a scheme, whose block may have more words than secret:
//
//	<scheme> <secret>
//
// or
//
//	<scheme> {
//		secret <secret> [from <time>] [until <time>]
//		<more>
//	}
func (s *SigningSecrets) parse(d *caddyfile.Dispenser, more vocabulary) error {
	d.Next()
	scheme := "sign " + d.Val()
	args := d.RemainingArgs()
	block := opensBlock(d)
	switch {
	case len(args) > 1:
		return place(d, fmt.Errorf("%s: more than one secret stands before the block; write: %s <secret>, or several of them in a block, each as: secret <secret>", scheme, scheme))
	case len(args) == 1 && block:
		return place(d, fmt.Errorf("%s: there is a secret both before the block and in it; put all of them into it, each as: secret <secret>", scheme))
	case len(args) == 1:
		s.Secrets = []SigningSecret{{Secret: args[0]}}
	}
	words := vocabulary{
		"secret": {usage: "secret <secret> [from <time>] [until <time>]", least: 1, most: 5, many: true, parse: s.parseSecret},
	}
	for name, w := range more {
		words[name] = w
	}
	err := nestedBlock(d, scheme, words)
	if err != nil {
		return err
	}
	if len(s.Secrets) == 0 && len(more) == 0 {
		return place(d, fmt.Errorf("%s: secret missing; write: %s <secret>; %s", scheme, scheme, unsetHint))
	}
	return placeWithin(d, scheme, s.check())
}

func (s *SigningSecrets) parseSecret(args []string) error {
	secret := SigningSecret{Secret: args[0]}
	times := map[string]*time.Time{"from": &secret.From, "until": &secret.Until}
	for rest := args[1:]; len(rest) > 0; rest = rest[2:] {
		target, ok := times[rest[0]]
		switch {
		case !ok:
			return fmt.Errorf("secret: only %s may follow the secret; write e.g. secret <secret> until 2026-12-31T00:00:00Z", knownNames(times))
		case len(rest) == 1:
			return fmt.Errorf("secret: %q lacks a time; write e.g. %s 2026-12-31T00:00:00Z", rest[0], rest[0])
		case !target.IsZero():
			return fmt.Errorf("secret: %q stands twice", rest[0])
		}
		t, err := time.Parse(time.RFC3339, rest[1])
		if err != nil {
			return fmt.Errorf("secret: %q is no time after %q; write it as RFC 3339 does, e.g. 2026-12-31T00:00:00Z", rest[1], rest[0])
		}
		*target = t
	}
	if err := secret.check(); err != nil {
		return err
	}
	s.Secrets = append(s.Secrets, secret)
	return nil
}
