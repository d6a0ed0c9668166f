package caddymodule

import (
	"fmt"
	"net/http"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/caddyrelay/caddyrelay/relay/signature"
)

func init() { caddy.RegisterModule(new(HMACSigner)) }

// HMACSigner signs requests with a hash and a shared secret, for receivers with a scheme of
// their own. It may stand several times in a subscription, each with its own header field.
// A secret is text of at least 16 characters, which is not decoded. With several the newest
// that is valid signs.
type HMACSigner struct {
	SigningSecrets

	// The name of the field that the signature goes into.
	Header string `json:"header,omitempty"`

	// The hash: sha256, sha512 or sha1. Default: sha256
	Algorithm string `json:"algorithm,omitempty"`

	// How the signature is written: hex or base64. Default: hex
	Encoding string `json:"encoding,omitempty"`

	// What stands before the signature, e.g. `sha256=`. Default: nothing
	Prefix string `json:"prefix,omitempty"`

	// What is signed: the body, or `id.timestamp.body` as in Standard Webhooks (standard).
	// Default: body
	Over string `json:"over,omitempty"`
}

// CaddyModule returns the Caddy module information.
func (*HMACSigner) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  signerNamespace + ".hmac",
		New: func() caddy.Module { return new(HMACSigner) },
	}
}

func (s *HMACSigner) options() signature.HMACOptions {
	return signature.HMACOptions{Header: s.Header, Algorithm: s.Algorithm, Encoding: s.Encoding, Prefix: s.Prefix, Over: s.Over}
}

// probe judges what was read so far; the field's name comes from a line of its own.
func (s *HMACSigner) probe() error {
	options := s.options()
	options.Header = "X-Signature"
	return options.Check()
}

// check judges everything but the secrets' own text.
func (s *HMACSigner) check() error {
	if err := s.options().Check(); err != nil {
		return err
	}
	if err := checkField(s.Header); err != nil {
		return fmt.Errorf("header: %w", err)
	}
	if http.CanonicalHeaderKey(s.Header) == "Content-Type" {
		return fmt.Errorf("header: Content-Type cannot carry a signature; name a field of its own, e.g. header X-Signature")
	}
	return s.SigningSecrets.check()
}

// NewSigner implements [SignerProvider].
func (s *HMACSigner) NewSigner() (signature.Signer, error) {
	if err := s.check(); err != nil {
		return nil, err
	}
	return newSigner(&s.SigningSecrets, func(secrets ...signature.TimedSecret) (*signature.HMAC, error) {
		return signature.NewHMAC(s.options(), secrets...)
	})
}

// UnmarshalCaddyfile reads
//
//	hmac {
//		secret <secret> [from <time>] [until <time>]
//		header <name>
//		algorithm sha256|sha512|sha1
//		encoding hex|base64
//		prefix <text>
//		over body|standard
//	}
func (s *HMACSigner) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	text := func(name, usage string, target *string) word {
		return word{usage: name + " " + usage, least: 1, most: 1, parse: func(args []string) error {
			*target = args[0]
			return s.probe()
		}}
	}
	err := s.parse(d, vocabulary{
		"header": {usage: "header <name>", least: 1, most: 1, parse: func(args []string) error {
			s.Header = args[0]
			return checkField(s.Header)
		}},
		"algorithm": text("algorithm", "sha256|sha512|sha1", &s.Algorithm),
		"encoding":  text("encoding", "hex|base64", &s.Encoding),
		"prefix": {usage: "prefix <text>", least: 1, most: 1, blank: true, parse: func(args []string) error {
			s.Prefix = args[0]
			return s.probe()
		}},
		"over": text("over", "body|standard", &s.Over),
	})
	if err != nil {
		return err
	}
	return placeWithin(d, "sign hmac", s.check())
}

var (
	_ SignerProvider        = (*HMACSigner)(nil)
	_ caddyfile.Unmarshaler = (*HMACSigner)(nil)
)
