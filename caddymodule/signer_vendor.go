package caddymodule

import (
	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/caddyrelay/caddyrelay/relay/signature"
)

func init() {
	caddy.RegisterModule(new(ContentfulSigner))
	caddy.RegisterModule(new(GitHubSigner))
	caddy.RegisterModule(new(StripeSigner))
}

// ContentfulSigner signs requests as Contentful does for its request verification: header
// fields `x-contentful-signature`, `x-contentful-signed-headers` and
// `x-contentful-timestamp`, with HMAC-SHA256 over method, path, header fields and body. A
// secret has 64 characters. With several the newest that is valid signs.
type ContentfulSigner struct {
	SigningSecrets
}

// CaddyModule returns the Caddy module information.
func (*ContentfulSigner) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  signerNamespace + ".contentful",
		New: func() caddy.Module { return new(ContentfulSigner) },
	}
}

// NewSigner implements [SignerProvider].
func (s *ContentfulSigner) NewSigner() (signature.Signer, error) {
	return newSigner(&s.SigningSecrets, signature.NewContentful)
}

// GitHubSigner signs requests as GitHub does: header field `X-Hub-Signature-256`, with
// HMAC-SHA256 over the body. A secret is text of at least 16 characters. With several the
// newest that is valid signs.
type GitHubSigner struct {
	SigningSecrets
}

// CaddyModule returns the Caddy module information.
func (*GitHubSigner) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  signerNamespace + ".github",
		New: func() caddy.Module { return new(GitHubSigner) },
	}
}

// NewSigner implements [SignerProvider].
func (s *GitHubSigner) NewSigner() (signature.Signer, error) {
	return newSigner(&s.SigningSecrets, signature.NewGitHub)
}

// StripeSigner signs requests as Stripe does: header field `Stripe-Signature`, with the time
// and HMAC-SHA256 over time and body. A secret is text of at least 16 characters, which is
// not decoded. All that are valid sign.
type StripeSigner struct {
	SigningSecrets
}

// CaddyModule returns the Caddy module information.
func (*StripeSigner) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  signerNamespace + ".stripe",
		New: func() caddy.Module { return new(StripeSigner) },
	}
}

// NewSigner implements [SignerProvider].
func (s *StripeSigner) NewSigner() (signature.Signer, error) {
	return newSigner(&s.SigningSecrets, signature.NewStripe)
}

var (
	_ SignerProvider        = (*ContentfulSigner)(nil)
	_ caddyfile.Unmarshaler = (*ContentfulSigner)(nil)
	_ SignerProvider        = (*GitHubSigner)(nil)
	_ caddyfile.Unmarshaler = (*GitHubSigner)(nil)
	_ SignerProvider        = (*StripeSigner)(nil)
	_ caddyfile.Unmarshaler = (*StripeSigner)(nil)
)
