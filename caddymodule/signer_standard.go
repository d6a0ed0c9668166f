package caddymodule

import (
	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/caddyrelay/caddyrelay/relay/signature"
)

func init() {
	caddy.RegisterModule(new(StandardSigner))
	caddy.RegisterModule(new(Ed25519Signer))
}

// StandardSigner signs requests as [Standard Webhooks](https://www.standardwebhooks.com)
// says, with HMAC-SHA256 (v1): header fields `webhook-id`, `webhook-timestamp` and
// `webhook-signature`. A secret is base64 of 24 to 64 bytes, usually after `whsec_`.
type StandardSigner struct {
	SigningSecrets
}

// CaddyModule returns the Caddy module information.
func (*StandardSigner) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  signerNamespace + ".standard",
		New: func() caddy.Module { return new(StandardSigner) },
	}
}

// NewSigner implements [SignerProvider].
func (s *StandardSigner) NewSigner() (signature.Signer, error) {
	return newSigner(&s.SigningSecrets, signature.NewStandard)
}

// Ed25519Signer signs requests as [Standard Webhooks](https://www.standardwebhooks.com) says,
// with ed25519 (v1a): receivers get a public key (`whpk_`), with which they can verify but
// not sign. A secret is the private key: base64 of 64 bytes, or of the 32 of the seed, after
// `whsk_`. It may stand beside standard.
type Ed25519Signer struct {
	SigningSecrets
}

// CaddyModule returns the Caddy module information.
func (*Ed25519Signer) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  signerNamespace + ".standard_ed25519",
		New: func() caddy.Module { return new(Ed25519Signer) },
	}
}

// NewSigner implements [SignerProvider].
func (s *Ed25519Signer) NewSigner() (signature.Signer, error) {
	return newSigner(&s.SigningSecrets, signature.NewStandardEd25519)
}

var (
	_ SignerProvider        = (*StandardSigner)(nil)
	_ caddyfile.Unmarshaler = (*StandardSigner)(nil)
	_ SignerProvider        = (*Ed25519Signer)(nil)
	_ caddyfile.Unmarshaler = (*Ed25519Signer)(nil)
)
