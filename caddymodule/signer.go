package caddymodule

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddyrelay/caddyrelay/relay/signature"
)

// signerNamespace holds the guests of sign.
const signerNamespace = "relay.signers"

// SignerProvider is implemented by modules in the namespace relay.signers, whose
// inline key is scheme. For a Caddyfile they also implement
// [github.com/caddyserver/caddy/v2/caddyconfig/caddyfile.Unmarshaler]: the first token
// is the scheme, as in "sign <scheme> ...".
//
// A guest whose configuration deserves a warning, such as a secret in clear, also has
// a method Warnings() []string; they are logged with the names of subscription and scheme.
type SignerProvider interface {
	// NewSigner resolves placeholders of secrets and returns the signer. It is called
	// once, after Provision, and must touch neither network nor disk but for those
	// placeholders. Its errors are shown with the name of the subscription. What it
	// returns may be used until the last attempt has ended, which can be after the
	// guest's Cleanup.
	NewSigner() (signature.Signer, error)
}

// vendorFields are the fields that schemes write, beside those of hmac.
var vendorFields = map[string]string{
	signature.HeaderGitHub:                  "github",
	signature.HeaderStripe:                  "stripe",
	signature.HeaderContentfulSignature:     "contentful",
	signature.HeaderContentfulSignedHeaders: "contentful",
	signature.HeaderContentfulTimestamp:     "contentful",
}

// checkSchemes refuses what would overwrite its own header fields. A scheme stands once,
// but for hmac: that once for each field.
func checkSchemes(raws []json.RawMessage) error {
	seen, fields := make(map[string]bool), make(map[string]bool)
	for _, raw := range raws {
		var guest struct {
			Scheme string `json:"scheme"`
			Header string `json:"header"`
		}
		if err := json.Unmarshal(raw, &guest); err != nil {
			return fmt.Errorf("sign: %w", err)
		}
		if err := checkScheme(guest.Scheme); err != nil {
			return err
		}
		if seen[guest.Scheme] && guest.Scheme != "hmac" {
			return fmt.Errorf("sign %s: stands twice; put all its secrets into one block, each with its time", guest.Scheme)
		}
		seen[guest.Scheme] = true
		if guest.Scheme != "hmac" {
			continue
		}
		field := http.CanonicalHeaderKey(guest.Header)
		if fields[field] {
			return fmt.Errorf("sign hmac: two of them write the field %s; give each its own, or put the secrets into one block", field)
		}
		fields[field] = true
	}
	for field := range fields {
		if scheme := vendorFields[field]; seen[scheme] {
			return fmt.Errorf("sign hmac: the field %s is that of sign %s; give it another", field, scheme)
		}
	}
	return nil
}

// checkScheme refuses a scheme that no module provides.
func checkScheme(scheme string) error { return checkGuest("sign", signerNamespace, scheme) }

// loadSigners loads the guests and makes their signers.
func (s *Settings) loadSigners(ctx caddy.Context) error {
	if len(s.SignRaw) == 0 {
		return nil
	}
	loaded, err := ctx.LoadModule(s, "SignRaw")
	if err != nil {
		return fmt.Errorf("sign: %w", err)
	}
	for _, guest := range loaded.([]any) {
		provider, ok := guest.(SignerProvider)
		if !ok {
			return fmt.Errorf("sign: module %T is no relay signer", guest)
		}
		signer, err := provider.NewSigner()
		if err != nil {
			return fmt.Errorf("sign %s: %w", schemeOf(guest), err)
		}
		s.signers = append(s.signers, signer)
		s.warnOf("sign", guest)
	}
	return nil
}

func schemeOf(guest any) string {
	if m, ok := guest.(caddy.Module); ok {
		return m.CaddyModule().ID.Name()
	}
	return fmt.Sprintf("%T", guest)
}

// knownNames lists the names of a set for people.
func knownNames[T any](set map[string]T) string {
	return strings.Join(slices.Sorted(maps.Keys(set)), " and ")
}
