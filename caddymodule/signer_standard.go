package caddymodule

import (
	"errors"
	"fmt"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/caddyrelay/caddyrelay/relay/signature"
)

func init() { caddy.RegisterModule(new(StandardSigner)) }

// StandardSigner signs requests as [Standard Webhooks](https://www.standardwebhooks.com)
// says, with HMAC-SHA256: header fields `webhook-id`, `webhook-timestamp` and
// `webhook-signature`.
type StandardSigner struct {
	// The secrets. All that are valid at the time of an attempt sign it, so that two
	// that overlap are a rotation: receivers may know either.
	Secrets []SigningSecret `json:"secrets,omitempty"`
}

// SigningSecret is a secret with the time in which it signs.
type SigningSecret struct {
	// The secret: base64 of 24 to 64 bytes, usually after `whsec_`. It should be a
	// placeholder, `{file.*}` or `{env.*}`.
	Secret string `json:"secret"`

	// The first moment at which it signs, RFC 3339. Default: since ever
	From time.Time `json:"from,omitzero"`

	// The first moment at which it signs no more, RFC 3339. Default: for ever
	Until time.Time `json:"until,omitzero"`
}

// CaddyModule returns the Caddy module information.
func (*StandardSigner) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  signerNamespace + ".standard",
		New: func() caddy.Module { return new(StandardSigner) },
	}
}

// check judges everything but the secrets' own text.
func (s *StandardSigner) check() error {
	if len(s.Secrets) == 0 {
		return errors.New("secret missing; write: sign standard <secret>; " + unsetHint)
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

// NewSigner implements [SignerProvider].
func (s *StandardSigner) NewSigner() (signature.Signer, error) {
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
	return signature.NewStandard(timed...)
}

// Warnings implements the optional part of [SignerProvider].
func (s *StandardSigner) Warnings() []string {
	for _, secret := range s.Secrets {
		if !hasPlaceholder(secret.Secret) {
			return []string{"sign standard: " + literalWarning}
		}
	}
	return nil
}

// UnmarshalCaddyfile reads
//
//	standard <secret>
//
// or
//
//	standard {
//		secret <secret> [from <time>] [until <time>]
//	}
func (s *StandardSigner) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next()
	args := d.RemainingArgs()
	block := opensBlock(d)
	switch {
	case len(args) > 1:
		return place(d, errors.New("sign standard: more than one secret stands before the block; write: sign standard <secret>, or several of them in a block, each as: secret <secret>"))
	case len(args) == 1 && block:
		return place(d, errors.New("sign standard: there is a secret both before the block and in it; put all of them into it, each as: secret <secret>"))
	case len(args) == 1:
		s.Secrets = []SigningSecret{{Secret: args[0]}}
	}
	err := nestedBlock(d, "sign standard", vocabulary{
		"secret": {usage: "secret <secret> [from <time>] [until <time>]", least: 1, most: 5, many: true, parse: s.parseSecret},
	})
	if err == nil {
		if err = s.check(); err != nil {
			err = fmt.Errorf("sign standard: %w", err)
		}
	}
	return place(d, err)
}

func (s *StandardSigner) parseSecret(args []string) error {
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

var (
	_ SignerProvider        = (*StandardSigner)(nil)
	_ caddyfile.Unmarshaler = (*StandardSigner)(nil)
)
